"""How sure a promotion must be, and which questions it reads."""

from collections import Counter
from typing import Any

import pytest

from moaa.api import MoAA
from moaa.plan.evidence import (
    FRESH_QUESTIONS,
    Trial,
    least_gain,
    level_of,
    questions_for,
    shares_of,
    t_quantile,
    trial_of,
)
from tests.plan_helpers import tree


@pytest.mark.parametrize(
    ("level", "freedom", "value"),
    [  # printed tables
        (0.05, 19, 1.7291), (0.025, 499, 1.9647), (0.005, 19, 2.8609), (0.005, 99, 2.6264),
        (0.001, 29, 3.3962), (0.0005, 19, 3.8834), (0.0001, 19, 4.5899),
    ],
)  # fmt: skip
def test_quantiles_of_t_are_those_of_the_tables(level: float, freedom: float, value: float) -> None:
    assert t_quantile(level, freedom) == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize(("level", "freedom"), [(0.0, 9), (1.0, 9), (0.05, 0)])
def test_no_quantile(level: float, freedom: float) -> None:
    with pytest.raises(ValueError, match="has no quantile"):
        t_quantile(level, freedom)


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        pytest.param({"spec__iterations": 5}, 0.0025, id="two candidates in five iterations"),
        pytest.param({"spec__iterations": 1}, 0.0125, id="two candidates"),
        pytest.param({"spec__iterations": 4, "spec__training__sft": None}, 0.00625, id="dpo alone"),
        pytest.param({"spec__evaluation__confidence": "0.9"}, 0.025, id="another confidence"),
    ],
)
def test_candidates_and_iterations_share_one_error_rate(changes: dict[str, Any], level: float) -> None:
    assert level_of(MoAA.model_validate(tree(**changes)).spec) == level


def dealt(shares: int, iteration: int, *, seed: int = 3) -> Trial:
    return Trial(level=0.01, iteration=iteration, shares={"m": shares}, objective=frozenset(), seed=seed)


def test_every_question_selects_in_one_iteration() -> None:
    names = [f"q{i}" for i in range(6000)]
    readers = {name: [i for i in range(1, 6) if dealt(5, i).reads("m", name)] for name in names}
    assert all(len(found) == 1 for found in readers.values())
    counts = Counter(found[0] for found in readers.values())
    assert all(abs(count - 1200) < 150 for count in counts.values()), counts
    assert [name for name in names if dealt(5, 1, seed=4).reads("m", name)] != [
        name for name in names if dealt(5, 1).reads("m", name)
    ]


def test_without_enough_questions_every_iteration_reads_all() -> None:
    assert shares_of(5 * FRESH_QUESTIONS, 5) == 5
    assert shares_of(5 * FRESH_QUESTIONS - 1, 5) == 1
    assert all(dealt(1, i).reads("m", "q") and dealt(1, i).reads("other", "q") for i in (1, 2, 3))


def test_a_trial_knows_shares_and_what_no_judge_scores() -> None:
    judge = {"method": "Single", "aggregator": {"model": "agg"}}
    judged = {"name": "w", "type": "Pairwise", "source": "s3://d/w.jsonl", "judge": judge}
    exact = {"name": "code", "type": "ExactMatch", "source": "s3://d/c.jsonl"}
    owner = MoAA.model_validate(tree(spec__evaluation={"selection": [judged, exact]}, spec__iterations=2))
    trial = trial_of(owner.spec, 2, {"w": 2000, "code": 164})
    assert trial == Trial(0.00625, 2, {"w": 2, "code": 1}, frozenset({"code"}), owner.spec.seed)


def test_the_least_gain_is_the_textbook_one() -> None:
    """One-sided 2.5 %, power 80 %: (1.96 + 0.84) × √(0.15² + 0.2 ÷ samples) ÷ √questions."""
    assert least_gain(1000, 0.025, samples=1) == pytest.approx(2.8016 * 0.4717 / 1000**0.5, rel=2e-3)
    assert least_gain(1000, 0.025, samples=4) == pytest.approx(2.8016 * 0.2693 / 1000**0.5, rel=2e-3)
    assert least_gain(4000, 0.025, samples=4) == pytest.approx(least_gain(1000, 0.025, samples=4) / 2, rel=2e-3)


def test_as_many_questions_as_a_gain_takes_show_it() -> None:
    needed = questions_for(0.03, 0.0025, samples=4)
    assert least_gain(needed, 0.0025, samples=4) == pytest.approx(0.03, rel=5e-3)
