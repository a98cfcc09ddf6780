"""MT-Bench: the mean of all turns' grades, by turn and by category. A grade is 1 to 10.

Source: Zheng et al. 2023 (arXiv 2306.05685); FastChat at 0e6d3e4b. A turn without a readable grade is left out of every
mean, as there (-1), and counted. The interval is over questions, whose turns stay together.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from moaa.benchmark.mt_bench import HIGHEST, LOWEST
from moaa.scoring.bootstrap import interval

K = TypeVar("K")


@dataclass(frozen=True)
class Grade:
    question: str
    category: str
    turn: int
    """1 or 2."""
    grade: float | None
    """None: the judge's reply could not be read."""


@dataclass(frozen=True)
class MtBench:
    score: float
    low: float | None
    """None with fewer than two questions."""
    high: float | None
    by_turn: Mapping[int, float]
    by_category: Mapping[str, float]
    turns: int
    """That the score rests on."""
    missing: int
    """Turns without a grade."""


def mt_bench(grades: Sequence[Grade], *, resamples: int, confidence: float) -> MtBench:
    """The benchmark's figures. A turn or category whose grades are all missing has no entry.

    Raises:
        ValueError: no turn has a grade, a grade is outside 1 to 10, or a turn is there twice.
    """
    known = [(one, one.grade) for one in grades if one.grade is not None]
    _check(grades)
    if not known:
        raise ValueError(f"none of {len(grades)} turns has a grade")
    clusters = _grouped(known, lambda one: one.question)
    found = interval(
        [sum(cluster) for cluster in clusters.values()],
        [float(len(cluster)) for cluster in clusters.values()],
        resamples=resamples,
        confidence=confidence,
    )
    low, high = found or (None, None)
    return MtBench(
        score=_mean([grade for _, grade in known]),
        low=low,
        high=high,
        by_turn={turn: _mean(found) for turn, found in sorted(_grouped(known, lambda one: one.turn).items())},
        by_category={name: _mean(found) for name, found in _grouped(known, lambda one: one.category).items()},
        turns=len(known),
        missing=len(grades) - len(known),
    )


def _check(grades: Sequence[Grade]) -> None:
    seen: set[tuple[str, int]] = set()
    for one in grades:
        if one.grade is not None and not LOWEST <= one.grade <= HIGHEST:
            raise ValueError(f"question {one.question}, turn {one.turn}: grade {one.grade} is outside 1 to 10")
        if (one.question, one.turn) in seen:
            raise ValueError(f"question {one.question}, turn {one.turn}: graded twice")
        seen.add((one.question, one.turn))


def _grouped(known: Sequence[tuple[Grade, float]], key: Callable[[Grade], K]) -> dict[K, list[float]]:
    groups: dict[K, list[float]] = defaultdict(list)
    for one, grade in known:
        groups[key(one)].append(grade)
    return groups


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
