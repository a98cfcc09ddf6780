"""Means, intervals and differences of scores. numpy only; every draw comes from a fixed seed.

Questions are what is resampled: a row's score is already the mean over its samples, and samples of one question are not
independent. Differences are paired by question. Over several benchmarks a figure is the mean of the benchmarks' means,
and each benchmark is resampled by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Scores = Mapping[str, float]
"""Score of each question by its row id."""

SEED = 20250503
CHUNK_CELLS = 1 << 22
"""Numbers drawn at a time: 32 MiB, whatever the resamples and questions."""
RIDGE = 1e-6
"""Keeps the length fit finite when one side wins everything; moves an ordinary fit by less than 1e-5."""
NEWTON_STEPS = 200
TOLERANCE = 1e-10


@dataclass(frozen=True)
class Estimate:
    """A mean with its percentile bootstrap interval."""

    mean: float
    low: float | None
    """None with fewer than two questions in a benchmark: one question shows no spread."""
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


def lc_win_rate(scores: Sequence[float], lengths: Sequence[float], baseline_lengths: Sequence[float]) -> float | None:
    """Win rate if both answered at the same length: the length term and bias of AlpacaEval 2 LC, fitted offline.

    logit P(win_i) = w * tanh(d_i / std(d)) + b with d_i = baseline length - own length in characters; the result is
    sigmoid(b). AlpacaEval's question difficulty and its two gamed baselines are left out, so that no data is needed;
    on public annotations it lands within about half a point of the library's figure.

    `scores` are in [0, 1] (soft labels). None when every answer is longer, or shorter, by the same amount: then length
    and skill cannot be separated. With no length difference anywhere it is the plain win rate.

    Raises:
        ValueError: lengths of the arguments differ, there is no row, or a score is outside [0, 1].
    Source: Dubois et al. 2024 (arXiv 2404.04475); alpaca_eval `metrics/glm_winrate.py`.
    """
    y = np.asarray(scores, dtype=np.float64)
    difference = np.asarray(baseline_lengths, dtype=np.float64) - np.asarray(lengths, dtype=np.float64)
    if y.size == 0 or y.shape != difference.shape:
        raise ValueError(f"{y.size} scores and {difference.size} length differences; one of each a row is needed")
    if y.min() < 0 or y.max() > 1:
        raise ValueError(f"scores from {y.min()} to {y.max()}; a win rate needs them in [0, 1]")
    if not difference.any():
        return float(y.mean())
    spread = float(difference.std(ddof=1)) if y.size > 1 else 0.0
    if spread == 0.0:
        return None
    bias = _logistic(np.stack([np.tanh(difference / spread), np.ones_like(y)], axis=1), y)[1]
    return float(1 / (1 + np.exp(-bias)))


def _logistic(x_RC: Floats, y_R: Floats) -> Floats:  # noqa: N803  R rows, C columns
    """Ridge logistic regression with soft labels by damped Newton steps (IRLS); mean loss, ridge RIDGE.

    The loss is strictly convex, so that halving a step until the loss falls always ends at the one minimum.
    """
    weights = np.zeros(x_RC.shape[1])
    loss = _loss(x_RC, y_R, weights)
    for _ in range(NEWTON_STEPS):
        p_R = 1 / (1 + np.exp(-(x_RC @ weights)))  # noqa: N806
        gradient = x_RC.T @ (p_R - y_R) / len(y_R) + RIDGE * weights
        if np.abs(gradient).max() < TOLERANCE:
            break
        hessian = (x_RC * (p_R * (1 - p_R))[:, None]).T @ x_RC / len(y_R) + RIDGE * np.eye(len(weights))
        step = np.linalg.solve(hessian, gradient)
        while (new := _loss(x_RC, y_R, weights - step)) > loss and np.abs(step).max() > TOLERANCE:
            step = step / 2
        weights, loss = weights - step, new
    return weights


def _loss(x_RC: Floats, y_R: Floats, weights: Floats) -> float:  # noqa: N803
    z_R = x_RC @ weights  # noqa: N806
    return float(np.mean(np.logaddexp(0, z_R) - y_R * z_R) + RIDGE / 2 * weights @ weights)
