"""Means, intervals and differences of scores. numpy only; every draw comes from a fixed seed.

Questions are what is resampled: a row's score is already the mean over its samples, and samples of one question are not
independent. Differences are paired by question. Over several benchmarks a figure is the mean of the benchmarks' means,
and each benchmark is resampled by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moaa.scoring.logistic import Floats

Scores = Mapping[str, float]
"""Score of each question by its row id."""

SEED = 20250503
CHUNK_CELLS = 1 << 22
"""Numbers drawn at a time: 32 MiB, whatever the resamples and questions."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its percentile bootstrap interval."""

    mean: float
    low: float | None
    """None with too few questions in a benchmark to show a spread: one, or in the gate fewer than MIN_QUESTIONS."""
    high: float | None
    rows: int
    """Questions it rests on."""


def mean_estimate(scores: Sequence[float], *, resamples: int, confidence: float) -> Estimate:
    """Mean of independent questions' scores. Raises ValueError: there are none."""
    return mean_of_means([scores], resamples=resamples, confidence=confidence)


def mean_of_means(benchmarks: Sequence[Sequence[float]], *, resamples: int, confidence: float) -> Estimate:
    """Mean over benchmarks of their means, all of the same weight. Raises ValueError: one is empty."""
    groups = [np.asarray(scores, dtype=np.float64) for scores in benchmarks]
    if not groups or any(group.size == 0 for group in groups):
        raise ValueError("a mean needs at least one score in every benchmark")
    mean = float(np.mean([group.mean() for group in groups]))
    rows = sum(group.size for group in groups)
    if any(group.size < 2 for group in groups):
        return Estimate(mean, None, None, rows)
    rng = np.random.default_rng(SEED)
    draws = np.mean([_bootstrap_means(group, resamples, rng) for group in groups], axis=0)
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(mean, float(low), float(high), rows)


def _bootstrap_means(values: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """Means of `resamples` draws with replacement, shape (resamples,)."""
    means = np.empty(resamples)
    step = max(1, CHUNK_CELLS // values.size)
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        means[start : start + count] = values[rng.integers(0, values.size, size=(count, values.size))].mean(axis=1)
    return means


def paired(candidate: Scores, previous: Scores) -> list[float]:
    """Differences candidate - previous over the questions that both have a score for, in the order of ids."""
    return [candidate[row_id] - previous[row_id] for row_id in sorted(candidate.keys() & previous.keys())]


def gain(
    candidate: Mapping[str, Scores], previous: Mapping[str, Scores], *, resamples: int, confidence: float
) -> Estimate:
    """Mean over benchmarks of the paired differences.

    Raises:
        ValueError: the benchmarks differ, or one has no question in common.
    """
    if candidate.keys() != previous.keys():
        raise ValueError(f"benchmarks differ: {sorted(candidate)} and {sorted(previous)}")
    differences = {name: paired(candidate[name], previous[name]) for name in sorted(candidate)}
    if lone := [name for name, values in differences.items() if not values]:
        raise ValueError(f"benchmark {lone[0]}: no question has a score for both students")
    return mean_of_means(list(differences.values()), resamples=resamples, confidence=confidence)
