"""Rankings and pairs of a row's samples, and a row through all of its comparisons."""

from contextlib import suppress
from itertools import combinations, permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moaa.asking.asker import Asker
from moaa.client.ledgered import Calls
from moaa.errors import ModelAbsent
from moaa.judge.methods import method_of
from moaa.judge.outcomes import why_no_pairs
from moaa.judge.ranking import orders_score, rank
from moaa.rows import Comparison, RankingRow
from tests.unit.calls_scripted import MemoryLedger, ScriptedCaller, ScriptedClients
from tests.unit.judge_scripted import CHOICE, PROMPTS, by_quality, judge, judge_row, row, user

# Ranking


def outcome(outcome: str, *comparisons: Comparison) -> RankingRow:
    return RankingRow(id="x", messages=[], samples=[], points=[], comparisons=list(comparisons), outcome=outcome)


@pytest.mark.parametrize(
    ("rows", "failures", "expected"),
    [
        ([], {"refused": 3}, ["of 3 prompts that were judged", "(failed as refused: 3)"]),
        (["tie"], {}, ["of 1 prompts", "(best and worst drew: 1)", "samples and temperature of spec.training.dpo"]),
        (
            ["equal-texts", "tie", "equal-texts"],
            {},
            ["same text: 2, best and worst drew: 1", "raise spec.training.dpo.temp"],
        ),
        (
            ["too-few-verdicts"],
            {"empty": 1},
            ["few verdicts could be read: 1, failed as empty: 1", "form they are asked"],
        ),
    ],
)
def test_prompts_without_a_pair_are_counted_with_the_remedy_of_most(
    rows: list[str], failures: dict[str, int], expected: list[str]
) -> None:
    said = why_no_pairs([outcome(name) for name in rows], failures)
    assert [part for part in expected if part not in said] == []


def test_ties_of_judges_that_follow_the_order_say_so() -> None:
    by_order, held = judged(0, 1, 1, 0), judged(0, 1, 1, 1)
    panel = judged(0, 1, None, None) | {"votes": [[1, 0], [1, 1], [None, 0]]}
    said = why_no_pairs([outcome("tie", by_order, by_order, held), outcome("tie", panel)], {})
    assert "3 of 5 comparisons changed with the order of the answers); most verdicts follow the order" in said
    assert "most verdicts follow the order" not in why_no_pairs([outcome("tie", by_order, held)], {})


def judged(a: int, b: int, forward: int | None, backward: int | None) -> Comparison:
    score = orders_score(forward, backward)
    return Comparison(a=a, b=b, criteria=[], chosen=False, score=score, forward=forward, backward=backward, votes=[])


def test_the_best_is_chosen_and_the_worst_rejected() -> None:
    made = rank(["x", "y", "z"], [judged(0, 1, 0, 0), judged(0, 2, 1, 1), judged(1, 2, 1, 1)])
    assert made.points == (0.5, 1.0, 0.0)
    assert (made.outcome, made.chosen, made.rejected) == ("pair", 1, 2)


def test_disagreeing_orders_are_half_a_point_each() -> None:
    made = rank(["x", "y"], [judged(0, 1, 1, 0)])
    assert made.points == (0.5, 0.5)
    assert (made.outcome, made.chosen) == ("tie", None)


def test_draws_go_to_the_head_to_head_winner_then_to_the_lower_index() -> None:
    # 0 and 1 have two points each of three; 1 beat 0. 2 and 3 have one each; 3 lost to 2.
    games = [
        judged(0, 1, 0, 0),
        judged(0, 2, 1, 1),
        judged(0, 3, 1, 1),
        judged(1, 2, 1, 1),
        judged(1, 3, 0, 0),
        judged(2, 3, 1, 1),
    ]
    made = rank(["w", "x", "y", "z"], games)
    assert made.points == (2 / 3, 2 / 3, 1 / 3, 1 / 3)
    assert (made.chosen, made.rejected) == (1, 3)
    level = [judged(0, 1, 1, 0), judged(0, 2, 1, 1), judged(0, 3, 1, 1), judged(1, 2, 1, 1), judged(1, 3, 1, 1)]
    made = rank(["w", "x", "y", "z"], [*level, judged(2, 3, 0, 1)])
    assert (made.chosen, made.rejected) == (0, 2)


def test_equal_texts_share_the_point_unjudged() -> None:
    made = rank(["x", "x", "y"], [judged(0, 2, 1, 1), judged(1, 2, 1, 1)])
    assert made.points == (0.75, 0.75, 0.0)
    assert (made.chosen, made.rejected) == (0, 2)
    assert rank(["x", "x"], []).outcome == "equal-texts"
    # The same text judged differently: best and worst read the same.
    odd = rank(["x", "x", "y"], [judged(0, 2, 1, 1), judged(1, 2, 0, 0)])
    assert odd.points == (0.75, 0.25, 0.5)
    assert odd.outcome == "equal-texts"


def test_too_few_valid_comparisons_drop_the_prompt() -> None:
    texts = ["w", "x", "y", "z"]
    games = [judged(a, b, 1, 1) for a, b in combinations(range(4), 2)]
    one_failed = [judged(0, 1, None, 1), *games[1:]]
    made = rank(texts, one_failed)
    assert (made.outcome, made.points[0]) == ("pair", 1.0)
    two_failed = [judged(0, 1, None, 1), judged(0, 2, None, None), *games[2:]]
    made = rank(texts, two_failed)
    assert made.outcome == "too-few-verdicts"
    assert made.points[0] is None
    assert made.points[3] == 0.0
    assert rank(["x", "y"], [judged(0, 1, None, None)]).outcome == "too-few-verdicts"


def test_a_ranking_refuses_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="needs two"):
        rank(["x"], [])
    with pytest.raises(ValueError, match="samples 0 to 1"):
        rank(["x", "y"], [judged(0, 2, 1, 1)])


outcomes = st.sampled_from([0, 1, None])


@st.composite
def contests(draw: st.DrawFn) -> tuple[list[str], list[Comparison]]:
    n = draw(st.integers(2, 5))
    texts = draw(st.lists(st.sampled_from("abcdefg"), min_size=n, max_size=n))
    games = [judged(a, b, draw(outcomes), draw(outcomes)) for a, b in combinations(range(n), 2) if texts[a] != texts[b]]
    return texts, games


@settings(deadline=None)
@given(contests(), st.randoms())
def test_a_ranking_does_not_depend_on_numbering_or_order(contest: tuple[list[str], list[Comparison]], rng: Any) -> None:
    texts, games = contest
    made = rank(texts, games)
    new = list(range(len(texts)))
    rng.shuffle(new)  # sample i becomes sample new[i]
    moved_texts = [texts[new.index(i)] for i in range(len(texts))]
    moved = []
    for game in games:
        a, b, forward, backward = new[game["a"]], new[game["b"]], game["forward"], game["backward"]
        if a > b:
            a, b = b, a
            forward, backward = (None if o is None else 1 - o for o in (forward, backward))
        moved.append(judged(a, b, forward, backward))
    rng.shuffle(moved)
    again = rank(moved_texts, moved)
    assert [again.points[new[i]] for i in range(len(texts))] == list(made.points)
    if made.outcome in ("tie", "too-few-verdicts"):
        assert again.outcome == made.outcome
    if made.outcome == "pair":
        assert made.chosen is not None
        assert made.rejected is not None
        assert made.points[made.chosen] == max(p for p in made.points if p is not None)
        assert made.points[made.rejected] == min(p for p in made.points if p is not None)
        assert texts[made.chosen] != texts[made.rejected]


@settings(deadline=None)
@given(contests())
def test_points_stay_in_range_and_a_full_contest_shares_them_all(contest: tuple[list[str], list[Comparison]]) -> None:
    texts, games = contest
    points = rank(texts, games).points
    assert all(p is None or 0 <= p <= 1 for p in points)
    if all(g["score"] is not None for g in games):
        assert sum(p for p in points if p is not None) == pytest.approx(len(texts) / 2)


# Rows


async def test_a_row_of_five_is_ranked_by_ten_comparisons() -> None:
    caller = ScriptedCaller(by_quality)
    made, pair = await judge_row(row(*(f"answer {i}" for i in (3, 5, 1, 4, 2))), judge(), Asker(caller, PROMPTS))
    assert len(caller.asked) == 10 * (1 + 2 * 4)
    assert made["points"] == [0.5, 1.0, 0.0, 0.75, 0.25]
    assert made["outcome"] == "pair"
    assert len(made["comparisons"]) == 10
    assert pair == {
        "id": "r",
        "messages": user("Q"),
        "chosen": "answer 5",
        "rejected": "answer 1",
        "chosen_points": 1.0,
        "rejected_points": 0.0,
    }


async def test_any_order_of_the_samples_gives_the_same_pair() -> None:
    for order in permutations((1, 2, 3)):
        _, pair = await judge_row(
            row(*(f"answer {i}" for i in order)), judge("Panel"), Asker(ScriptedCaller(by_quality), PROMPTS)
        )
        pair_row = pair
        assert pair_row is not None
        assert (pair_row["chosen"], pair_row["rejected"]) == ("answer 3", "answer 1")


async def test_equal_samples_are_not_judged() -> None:
    caller = ScriptedCaller(by_quality)
    made, pair = await judge_row(row("answer 1", "answer 1"), judge(), Asker(caller, PROMPTS))
    assert (made["outcome"], caller.asked, pair) == ("equal-texts", [], None)


async def test_a_judge_that_follows_the_order_gives_no_pair() -> None:
    caller = ScriptedCaller(lambda asked: CHOICE if asked.path.endswith("criteria") else "[[A]]")
    made, pair = await judge_row(row("answer 1", "answer 2", "answer 3"), judge("Single"), Asker(caller, PROMPTS))
    assert (made["outcome"], made["points"]) == ("tie", [0.5, 0.5, 0.5])
    assert pair is None


async def test_every_call_that_can_be_made_is_made_before_the_row_waits() -> None:
    caller = ScriptedCaller(by_quality, absent=["j1"])
    with pytest.raises(ModelAbsent):
        await judge_row(row("answer 1", "answer 2", "answer 3"), judge(), Asker(caller, PROMPTS))
    assert len(caller.asked) == 3 * (1 + 2 * 2)


async def test_a_resumed_row_sends_nothing_twice_and_reads_the_same() -> None:
    digests = {name: name * 4 for name in ("j0", "j1", "j2", "agg")}

    def text(model: str, request: Any, number: int) -> str:
        content = request.messages[0]["content"]
        if content.startswith("CRITERIA"):
            return CHOICE
        return f"evaluation {request.seed}" if content.startswith("JUDGE") else f"[[{'AB'[request.seed % 2]}]]"

    samples = row("answer 1", "answer 2", "answer 3")
    ledger = MemoryLedger()
    # One model at a time, as with schedule InTurn: the row waits until each has had its turn.
    sent = 0
    made: RankingRow | None = None
    for served in ("agg", "j0", "j1", "j2", "agg"):
        clients = ScriptedClients(absent=[m for m in digests if m != served], answer=text)
        with suppress(ModelAbsent):
            made, _ = await judge_row(samples, judge(), Asker(Calls(clients, ledger, digests, 3, {}).of("r"), PROMPTS))
        sent += len(clients.requests)
    together = ScriptedClients(answer=text)
    fresh, _ = await judge_row(
        samples, judge(), Asker(Calls(together, MemoryLedger(), digests, 3, {}).of("r"), PROMPTS)
    )
    assert made == fresh
    assert sent == len(together.requests) == 27


async def test_win_rates_score_an_answer_against_the_baseline() -> None:
    async def score(answer: str, baseline: str, caller: ScriptedCaller) -> float | None:
        found = await method_of(judge("Single")).duel("Q", answer, baseline, Asker(caller, PROMPTS).at("s0"))
        return 0.5 if found is None else found.comparison["score"]

    caller = ScriptedCaller(by_quality)
    assert await score("answer 2", "answer 1", caller) == 1.0
    assert "s0/c0-1/ab/single" in caller.paths
    assert await score("answer 1", "answer 2", ScriptedCaller(by_quality)) == 0.0
    idle = ScriptedCaller(by_quality)
    assert await score("answer 1", "answer 1", idle) == 0.5
    assert idle.asked == []
    order = ScriptedCaller(lambda asked: CHOICE if asked.path.endswith("criteria") else "[[B]]")
    assert await score("answer 2", "answer 1", order) == 0.5
    assert await score("answer 2", "answer 1", ScriptedCaller(lambda _: "?")) is None
