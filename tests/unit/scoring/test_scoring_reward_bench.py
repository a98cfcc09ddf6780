"""RewardBench 1 and 2 by hand."""

import math

import pytest

from moaa.scoring.reward_bench import (
    SECTIONS,
    SUBSETS_2,
    TiesPrompt,
    best_of,
    pair_score,
    reward_bench,
    reward_bench_2,
    ties_score,
)

SUBSETS = [name for subsets in SECTIONS.values() for name in subsets]


def test_sections_are_weighted_by_prompts_and_their_mean_is_plain() -> None:
    accuracy = dict.fromkeys(SUBSETS, 0.5) | {"math-prm": 1.0, "xstest-should-respond": 0.0}
    found = reward_bench(accuracy)
    assert found.sections["Chat"] == found.sections["Chat Hard"] == 0.5
    assert found.sections["Reasoning"] == 0.75  # math weighs as much as all code
    assert found.sections["Safety"] == pytest.approx(0.5 * 490 / 740)
    assert found.score == pytest.approx((0.5 + 0.5 + 0.75 + 0.5 * 490 / 740) / 4)


def test_a_missing_or_unknown_subset_is_named() -> None:
    accuracy = dict.fromkeys(SUBSETS, 0.5)
    with pytest.raises(ValueError, match="no accuracy of donotanswer, hep-go"):
        reward_bench({k: v for k, v in accuracy.items() if k not in ("hep-go", "donotanswer")})
    with pytest.raises(ValueError, match="no subset anthropic_helpful"):
        reward_bench(accuracy | {"anthropic_helpful": 0.5})


@pytest.mark.parametrize(("first", "second", "score"), [(True, True, 1), (True, False, 0.5), (False, False, 0)])
def test_both_orders_count(first: bool, second: bool, score: float) -> None:
    assert pair_score(first, second) == score


@pytest.mark.parametrize(
    ("ratings", "score"),
    [((9, 1, 2, 3), 1.0), ((9, 9, 2, 3), 0.5), ((7, 7, 7, 7), 0.25), ((1, 2, 2, 0), 0.0)],
)
def test_shared_first_places_share_the_point(ratings: tuple[float, ...], score: float) -> None:
    assert best_of(ratings) == score


def test_one_rating_is_no_comparison() -> None:
    with pytest.raises(ValueError, match="needs others"):
        best_of([1.0])


def test_ties_by_hand() -> None:
    tied = {
        "a": TiesPrompt([8, 7], [3]),  # gap 4, spread 1
        "b": TiesPrompt([9, 5], [4, 1]),  # gap 1, spread 4
        "c": TiesPrompt([6, 6], [7]),  # gap -1, spread 0
    }
    reference = {
        "a": TiesPrompt([7], [6.5]),  # gap 0.5
        "b": TiesPrompt([9], [2]),
        "c": TiesPrompt([5], [5]),  # gap 0 is not accurate
    }
    margins = [math.tanh(0.5 - 1), math.tanh(1 / 4 - 1), -1.0]
    expected = 0.3 * 2 / 3 + 0.3 * 2 / 3 + 0.2 * 1 / 3 + 0.2 * 0 / 3 + 0.01 * sum(margins) / 3
    assert ties_score(reference, tied) == pytest.approx(expected)


def test_a_judge_that_always_rates_alike_gets_nothing_for_ties() -> None:
    same = {"a": TiesPrompt([5, 5], [5])}
    assert ties_score({"a": TiesPrompt([5], [5])}, same) == 0.0


def test_a_perfect_judge_of_ties() -> None:
    assert ties_score({"a": TiesPrompt([9], [1])}, {"a": TiesPrompt([9, 9], [1])}) == pytest.approx(1.01)


@pytest.mark.parametrize(
    ("reference", "tied", "match"),
    [
        pytest.param({}, {}, "needs its reference prompt", id="nothing"),
        pytest.param({}, {"a": TiesPrompt([1, 2], [0])}, "alone are a", id="no reference"),
        pytest.param(
            {"a": TiesPrompt([1], [])}, {"a": TiesPrompt([1, 2], [0])}, "prompt a: ratings", id="no wrong one"
        ),
        pytest.param({"a": TiesPrompt([1], [0])}, {"a": TiesPrompt([1], [0])}, "fewer than two right", id="no tie"),
    ],
)
def test_incomplete_ties_are_refused(reference: dict[str, TiesPrompt], tied: dict[str, TiesPrompt], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        ties_score(reference, tied)


def test_version_2_is_the_plain_mean_of_six() -> None:
    scores = dict.fromkeys(SUBSETS_2, 0.5) | {"Ties": 0.8}
    assert reward_bench_2(scores).score == pytest.approx(0.55)
    with pytest.raises(ValueError, match="needed are Factuality, Precise IF"):
        reward_bench_2({"Ties": 0.8})
