"""Style counts, and style control on games whose judge has a known taste."""

import math

import numpy as np
import pytest

from moaa.benchmark.arena_labels import Game, win_rate
from moaa.benchmark.style import Style, style_of
from moaa.scoring.logistic import sigmoid
from moaa.scoring.style import Level, Played, style_controlled

PLAIN = Style(99, 0, 0, 0)


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("plain words, 2 * 3 * 4", (0, 0, 0)),
        ("# One\n\n## Two\n####### seven\n#none", (2, 0, 0)),
        ("1. a\n2. b\n- c\n  * d\n+ e\n-no\n3.no", (0, 5, 0)),
        ("**a b** and __c__, **not\nhere**", (0, 0, 2)),
        ("```\n# code\n- code\n**code**\n```\n# text", (1, 0, 0)),
    ],
)
def test_style_counts(text: str, counts: tuple[int, int, int]) -> None:
    assert style_of(text, length=7) == Style(7, *counts)


def played(skill: float, *, longer: float, seed: int, taste: float = 3.0, count: int = 600) -> list[Played]:
    """Games of a judge that adds `taste` logits times the length feature; hard verdicts."""
    rng = np.random.default_rng(seed)
    games = []
    for i in range(count):
        length = int(99 * math.exp(longer + rng.normal(0, 0.4)))
        feature = (length - 99) / (length + 100)
        won = rng.random() < sigmoid(np.array(skill + taste * feature))
        games.append(Played(Game(str(i), float(won), 1), Style(length, 0, 0, 0), PLAIN))
    return games


FIELD = {"long": played(0.0, longer=0.8, seed=1), "short": played(0.0, longer=-0.8, seed=2)}


def test_models_of_equal_skill_are_equal_at_equal_style() -> None:
    raw = {name: win_rate(one.game for one in games) for name, games in FIELD.items()}
    assert raw["long"] - raw["short"] > 0.4
    found = style_controlled(FIELD, Level.BASELINE)
    assert found.rates["long"] == pytest.approx(0.5, abs=0.06)
    assert found.rates["short"] == pytest.approx(0.5, abs=0.06)
    assert found.taste.length > 0.8
    assert found.taste[1:] == (0, 0, 0)


def test_at_the_field_level_one_model_alone_keeps_its_raw_rate() -> None:
    alone = {"long": FIELD["long"]}
    raw = win_rate(one.game for one in FIELD["long"])
    assert style_controlled(alone, Level.FIELD).rates["long"] == pytest.approx(raw, abs=0.03)
    assert style_controlled(alone, Level.BASELINE).rates["long"] == pytest.approx(0.5, abs=0.08)
    both = style_controlled(FIELD, Level.FIELD).rates
    assert both["long"] == pytest.approx(both["short"], abs=0.08)


def test_a_strong_verdict_weighs_three_games() -> None:
    games = [Played(Game("a", 1.0, 3), PLAIN, PLAIN), Played(Game("b", 0.0, 1), PLAIN, PLAIN)]
    assert style_controlled({"m": games}, Level.BASELINE).rates["m"] == pytest.approx(0.75, abs=1e-5)


def test_the_published_penalty_moves_little() -> None:
    """The authors' default, L2 with C = 1 over doubled battles and ratings of both sides in units of ln 10: a precision
    of 1 / (4 ln² 10) on a model's logit and of ½ on the taste. Promised in `moaa.scoring.style.RIDGE`."""
    from moaa.scoring.logistic import Prior, fit

    games = played(0.7, longer=0.3, seed=5, count=1000)
    z = np.array([(g.model.length - 99) / (g.model.length + 100) for g in games])
    x = np.stack([np.ones(len(z)), z / z.std()], axis=1)
    y = np.array([g.game.score for g in games])
    penalised = fit(x, y, Prior(np.zeros(2), np.array([1 / (4 * math.log(10) ** 2), 0.5]))).weights_C[0]
    ours = style_controlled({"m": games}, Level.BASELINE).rates["m"]
    assert float(sigmoid(np.array(penalised))) == pytest.approx(ours, abs=1e-3)


def test_every_model_needs_a_game() -> None:
    with pytest.raises(ValueError, match="a game of every model"):
        style_controlled({"m": []}, Level.BASELINE)


def test_contributions_by_question_have_the_rate_s_uncertainty() -> None:
    """Without any difference of style they are those of a weighted mean: rate + (its question's games less what the
    rate expects of them) ÷ the mean weight of a question."""
    games = [Game("a", 1.0, 3), Game("a", 0.0, 1), Game("b", 0.5, 1), Game("b", 0.0, 1), Game("c", 1.0, 1)]
    found = style_controlled({"m": [Played(one, PLAIN, PLAIN) for one in games]}, Level.BASELINE)
    rate, weight = 4.5 / 7, 7 / 3
    assert found.rates["m"] == pytest.approx(rate, abs=1e-4)
    expected = [rate + (won - rate * played) / weight for won, played in ((3, 4), (0.5, 2), (1, 1))]
    assert found.contributions["m"] == pytest.approx(expected, abs=1e-4)


def test_the_spread_of_contributions_is_that_of_rates_over_samples_of_questions() -> None:
    """Both games of a question are alike, and the judge pays for length: over 80 draws of 200 questions the rates
    spread by about what the contributions of one draw say."""
    rates, told = [], []
    for seed in range(80):
        games = [one for one in played(0.3, longer=0.3, seed=seed, count=200) for _ in range(2)]
        found = style_controlled({"m": games}, Level.BASELINE)
        rates.append(found.rates["m"])
        told.append(np.std(found.contributions["m"], ddof=1) / math.sqrt(200))
    assert np.mean(found.contributions["m"]) == pytest.approx(found.rates["m"], abs=1e-6)
    assert np.mean(told) == pytest.approx(np.std(rates), rel=0.2)
