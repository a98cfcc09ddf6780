"""Counting verdicts: what two orders say together, panels, and that parts of a table add up to the whole."""

import random

import pytest

from moaa.judge.ranking import BY_RULE, orders_score, panel_score
from moaa.rows import Comparison, RankingRow
from moaa.run.tally import Orders, Tally, margin, matrix, orders, skipped_cells, tally_pairs, tally_rankings
from tests.unit.report_world import pair_of, ranking, rankings


def row(*comparisons: Comparison, outcome: str = "pair", points: list[float | None] | None = None) -> RankingRow:
    samples = ["short", "a longer answer", "third"]
    return RankingRow(
        id="r1", messages=[], samples=samples, points=points or [1.0, 0.5, 0.0], comparisons=list(comparisons),
        outcome=outcome,
    )  # fmt: skip


def comparison(
    a: int, b: int, forward: int | None, backward: int | None, votes: list[list[int | None]] | None = None
) -> Comparison:
    score = panel_score(votes, least=1) if votes else orders_score(forward, backward)
    return Comparison(
        a=a,
        b=b,
        criteria=["Accuracy"],
        chosen=True,
        score=score,
        forward=forward,
        backward=backward,
        votes=votes or [],
    )


@pytest.mark.parametrize(
    ("forward", "backward", "expected"),
    [
        (1, 1, Orders(agreed=1)),
        (0, 0, Orders(agreed=1)),
        (1, 0, Orders(first=1)),
        (0, 1, Orders(second=1)),
        (None, 1, Orders(missing=1)),
        (0, None, Orders(missing=1)),
        (None, None, Orders(missing=1)),
    ],
)
def test_two_orders_say_together(forward: int | None, backward: int | None, expected: Orders) -> None:
    assert orders(forward, backward) == expected


def test_consistency_leaves_missing_verdicts_out() -> None:
    assert Orders(agreed=3, first=1, missing=6).consistency == 0.75
    assert Orders(missing=6).consistency is None, "no valid comparison is not a consistency of 0"


def test_a_ranking_is_counted() -> None:
    tally = tally_rankings([row(comparison(0, 1, 1, 1), comparison(0, 2, 1, 0), comparison(1, 2, None, 1))])
    assert tally.verdicts == Orders(agreed=1, first=1, missing=1)
    assert tally.failed_verdicts == 1, "of six verdicts one is missing"
    assert tally.criteria == {"Accuracy": 3}
    assert tally.outcomes == {"pair": 1}


def test_criteria_that_no_judge_chose_are_not_counted_as_chosen() -> None:
    given: Comparison = {**comparison(0, 1, 1, 1), "chosen": False}
    assert tally_rankings([row(given, comparison(0, 2, 1, 0))]).criteria == {"Accuracy": 1}
    assert tally_rankings([row(given)]).criteria == {}


def test_judges_of_a_panel_are_counted_by_themselves() -> None:
    votes: list[list[int | None]] = [[1, 1], [0, 0], [1, 0]]
    tally = tally_rankings([row(comparison(0, 1, 1, 1, votes))])
    assert tally.judges == (Orders(agreed=1), Orders(agreed=1), Orders(first=1))
    assert tally.compared == (1, 1, 0), "an undecided judge can neither side with the panel nor against it"
    assert tally.sided == (1, 0, 0)


def test_judges_of_a_panel_are_compared_with_one_another_where_both_are_certain() -> None:
    first: list[list[int | None]] = [[1, 1], [0, 0], [1, 1]]  # alike: one of three pairs
    second: list[list[int | None]] = [[1, 1], [1, 1], [0, 1]]  # the last follows the order
    third: list[list[int | None]] = [[1, 1], [None, 1], [None, None]]
    tally = tally_rankings([row(*(comparison(0, 1, 1, 1, votes) for votes in (first, second, third)))])
    assert (tally.met, tally.alike) == (4, 2)
    assert (tally_rankings([row(comparison(0, 1, 1, 1))]).met, Tally().met) == (0, 0)


def test_pairs_are_measured() -> None:
    first = pair_of(ranking(0, random.Random(1)))
    first |= {"chosen": "long answer", "rejected": "short", "chosen_points": 0.75, "rejected_points": 0.25}
    tally = tally_pairs([first])
    assert (tally.pairs, tally.margin, tally.chosen_chars, tally.rejected_chars) == (1, 0.5, 11, 5)
    assert tally.longer_chosen == 1


def test_samples_are_the_extremes_and_the_first_dropped_prompt() -> None:
    clear, close = row(points=[1.0, 0.5, 0.0]), row(points=[0.6, 0.5, 0.4])
    dropped = row(outcome="tie", points=[0.5, 0.5, 0.5])
    equal = row(outcome="equal-texts", points=[None, None, None])
    tally = tally_rankings([equal, close, dropped, clear])
    assert (tally.clearest, tally.closest, tally.dropped) == (clear, close, dropped)


@pytest.mark.parametrize("outcome", BY_RULE)
def test_a_prompt_that_a_rule_dropped_is_an_example_of_one_without_a_pair(outcome: str) -> None:
    dropped = row(points=[1.0, 0.5, 0.0], outcome=outcome)
    tally = tally_rankings([row(outcome="equal-texts"), dropped])
    assert (tally.dropped, tally.clearest, tally.outcomes[outcome]) == (dropped, None, 1)


def test_skipped_orders_are_counted_and_are_no_failures() -> None:
    half: Comparison = {**comparison(0, 1, 1, None), "score": None, "skipped": ["ba"]}
    failed: Comparison = {**comparison(1, 2, None, None), "score": None, "skipped": ["ab"]}
    none: Comparison = {**comparison(0, 3, None, None), "score": None, "skipped": ["ab", "ba"]}
    ranking = row(half, failed, none, comparison(0, 2, 1, 1))
    tally = tally_rankings([ranking])
    assert (tally.verdicts, tally.single_verdicts, tally.skipped_verdicts) == (Orders(agreed=1), 2, 4)
    assert tally.failed_verdicts == 1, "the one that was asked and gave nothing"
    doubled = tally + tally
    assert (doubled.single_verdicts, doubled.skipped_verdicts) == (4, 8)
    assert matrix(ranking) == {(0, 2): 1, (2, 0): 0}
    assert skipped_cells(ranking) == {
        (0, 1): "(1)", (1, 0): "(0)", (1, 2): "", (2, 1): "", (0, 3): "–", (3, 0): "–",
    }  # fmt: skip


def test_agreement_with_a_reward_model_is_counted_where_both_decide() -> None:
    draw: Comparison = {**comparison(0, 2, 1, 0)}
    ranking: RankingRow = {**row(comparison(0, 1, 1, 1), draw, comparison(1, 2, 1, 1)), "scores": [2.0, 1.0, 3.0]}
    tally = tally_rankings([ranking, ranking, row(comparison(0, 1, 1, 1))])
    assert (tally.seconded, tally.opposed) == (2, 2)
    level: RankingRow = {**ranking, "scores": [1.0, 1.0, None]}
    assert (tally_rankings([level]).seconded, tally_rankings([level]).opposed) == (0, 0)


def test_the_matrix_mirrors_itself() -> None:
    table = matrix(row(comparison(0, 1, 1, 1), comparison(0, 2, 1, 0), comparison(1, 2, None, 1)))
    assert table == {(0, 1): 1, (1, 0): 0, (0, 2): 0.5, (2, 0): 0.5}


def test_a_margin_needs_two_scored_samples() -> None:
    assert margin(row(points=[1.0, None, 0.25])) == 0.75
    assert margin(row(points=[None, None, 1.0])) == 0


ROWS = rankings(1)[:24]


@pytest.mark.parametrize("cut", [0, 1, 7, 23, 24])
def test_shards_add_up_to_the_table(cut: int) -> None:
    pairs = [pair_of(r) for r in ROWS if r["outcome"] == "pair"]
    whole = tally_rankings(ROWS)
    parts = tally_rankings(ROWS[:cut]) + tally_rankings(ROWS[cut:])
    assert parts == whole
    assert (tally_pairs(pairs[:cut]) + tally_pairs(pairs[cut:])).margin == pytest.approx(tally_pairs(pairs).margin)
    assert Tally() + whole == whole == whole + Tally()
