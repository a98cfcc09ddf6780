"""Arena-Hard on made-up games, against Bradley-Terry ratings fitted as published."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moaa.benchmark.arena_labels import Game, Label, Version, game, games_of, is_labelled, label_of, win_rate
from moaa.scoring.arena_hard import Unit, arena_hard
from moaa.scoring.logistic import Prior, fit

HOW = {"resamples": 400, "confidence": 0.95}
Verdicts = dict[str, tuple[Label | None, Label | None]]


@pytest.mark.parametrize(
    ("reply", "v0_1", "v2_0"),
    [
        ("My verdict is [[A>B]].", Label.A_BETTER, Label.A_BETTER),
        ("[[B>>A]]", Label.B_MUCH, Label.B_MUCH),
        ("[[A=B]] … so, finally, [[A=B]]", Label.EQUAL, Label.EQUAL),
        ("First [[A>B]], then again [[A>>B]]", None, Label.A_MUCH),
        ("A>B", None, None),
        ("[[A<B]]", None, Label.B_BETTER),
        ("[[B<<A]]", None, Label.A_MUCH),
        ("[[B=A]]", None, Label.EQUAL),
        ("So [[a>b]].", None, Label.A_BETTER),
        ("So [A>B].", None, Label.A_BETTER),
        ("[A] is worse: [[B>A]]", Label.B_BETTER, Label.B_BETTER),
        ("[[A>>>B]]", None, None),
        ("", None, None),
    ],
)
def test_labels(reply: str, v0_1: Label | None, v2_0: Label | None) -> None:
    assert (label_of(reply, Version.V0_1), label_of(reply, Version.V2_0)) == (v0_1, v2_0)


@pytest.mark.parametrize(("reply", "ended"), [("A is better", False), ("[[A>B]] [[B>A]]", True), ("[A>B]", False)])
def test_a_judgement_without_any_label_has_not_ended(reply: str, ended: bool) -> None:
    assert is_labelled(reply) is ended


@pytest.mark.parametrize(
    ("label", "score", "weight"),
    [
        (Label.A_MUCH, 1.0, 3),
        (Label.A_BETTER, 1.0, 1),
        (Label.EQUAL, 0.5, 1),
        (Label.B_BETTER, 0.0, 1),
        (Label.B_MUCH, 0.0, 3),
    ],
)
def test_a_label_speaks_of_the_model_in_either_place(label: Label, score: float, weight: int) -> None:
    assert game("q", label, model_is_a=True) == Game("q", score, weight)
    assert game("q", label, model_is_a=False) == Game("q", 1 - score, weight)


def test_a_question_by_hand() -> None:
    """Game 1 (A is the baseline) says B is much better, game 2 (A is the model) says B is better: 3 won, 1 lost."""
    found = arena_hard({"q": (Label.B_MUCH, Label.B_BETTER)}, Version.V0_1, **HOW)  # type: ignore[arg-type]
    assert (found.rate, found.questions, found.games, found.dropped) == (0.75, 1, 2, 0)
    assert (found.low, found.high) == (None, None)


def test_a_missing_label_costs_a_game_or_the_question() -> None:
    verdicts: Verdicts = {"a": (Label.B_BETTER, None), "b": (Label.A_BETTER, Label.EQUAL), "c": (None, None)}
    games, dropped = games_of(verdicts, Version.V0_1)
    assert ([g.score for g in games], dropped) == ([1.0, 0.0, 0.5], 3)
    games, dropped = games_of(verdicts, Version.V2_0)
    assert ([g.score for g in games], dropped) == ([0.0, 0.5], 4)
    with pytest.raises(ValueError, match="no game has a label"):
        arena_hard({"c": (None, None)}, Version.V0_1, resamples=10, confidence=0.9)


labels = st.sampled_from(list(Label))


@settings(max_examples=40)
@given(st.lists(st.tuples(labels, labels), min_size=1, max_size=40))
def test_the_weighted_mean_is_the_published_rating_turned_into_a_win_rate(pairs: list[tuple[Label, Label]]) -> None:
    """As published: every battle twice (a draw once for each side), ratings by logistic regression in base 10, scale
    400, the baseline at 1000, win rate 1 / (1 + 10^(-difference / 400))."""
    games, _ = games_of({str(i): pair for i, pair in enumerate(pairs)}, Version.V0_1)
    rate = win_rate(games)
    if not 0 < rate < 1:
        return  # an infinite rating
    won = [
        score for g in games for _ in range(g.weight) for score in ((0.0, 1.0) if g.score == 0.5 else (g.score,) * 2)
    ]
    x = np.full((len(won), 1), math.log(10))
    rating = 400 * float(fit(x, np.array(won), Prior(np.zeros(1), np.full(1, 1e-12))).weights_C[0]) + 1000
    assert 1 / (1 + 10 ** ((1000 - rating) / 400)) == pytest.approx(rate, abs=1e-8)


def test_swapping_model_and_baseline_mirrors_the_rate() -> None:
    rng = np.random.default_rng(2)
    drawn = rng.choice(list(Label), size=(60, 2))
    there: Verdicts = {str(i): (Label(a), Label(b)) for i, (a, b) in enumerate(drawn)}
    back: Verdicts = {str(i): (Label(b), Label(a)) for i, (a, b) in enumerate(drawn)}
    rates = [win_rate(games_of(v, Version.V0_1)[0]) for v in (there, back)]
    assert sum(rates) == pytest.approx(1)


def test_intervals_over_questions_are_wider_than_over_games_that_agree() -> None:
    """Two equal games a question are one piece of news: intervals over games are 1/sqrt(2) as wide."""
    rng = np.random.default_rng(4)
    verdicts: Verdicts = {}
    for i in range(400):
        won = rng.random() < 0.4
        verdicts[str(i)] = (Label.B_BETTER, Label.A_BETTER) if won else (Label.A_BETTER, Label.B_BETTER)
    widths = []
    for unit in Unit:
        found = arena_hard(verdicts, Version.V0_1, resamples=2000, confidence=0.95, unit=unit)
        assert found.low is not None
        assert found.high is not None
        assert found.low < found.rate < found.high
        widths.append(found.high - found.low)
    expected = 2 * 1.96 * math.sqrt(0.4 * 0.6 / 400)
    assert widths[0] == pytest.approx(expected, rel=0.1)
    assert widths[1] / widths[0] == pytest.approx(1 / math.sqrt(2), rel=0.1)
