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


def lc_scores(
    scores: Sequence[float], lengths: Sequence[float], baseline_lengths: Sequence[float]
) -> list[float] | None:
    """What every question contributes to `lc_win_rate`: their mean is that figure, so that it can be paired and drawn.

    The figure less its question's influence on it (infinitesimal jackknife): sigmoid(b) - sigmoid'(b) * (H^-1 g_i)_b,
    with H the Hessian and g_i the question's gradient of the fit's loss. Values may leave [0, 1]. None as there.

    Raises:
        ValueError: as `lc_win_rate`.
    Source: Jaeckel 1972; Efron and Tibshirani 1993, §11.
    """
    fit = _length_fit(scores, lengths, baseline_lengths)
    if fit is None:
        return None
    x_RC, y_R, weights = fit  # noqa: N806  R rows, C columns
    if x_RC.shape[1] == 1:
        return list(map(float, y_R))
    p_R = 1 / (1 + np.exp(-(x_RC @ weights)))  # noqa: N806
    gradients_RC = x_RC * (p_R - y_R)[:, None] + RIDGE * weights  # noqa: N806
    hessian = (x_RC * (p_R * (1 - p_R))[:, None]).T @ x_RC / len(y_R) + RIDGE * np.eye(len(weights))
    rate = float(1 / (1 + np.exp(-weights[1])))
    values_R = rate - rate * (1 - rate) * np.linalg.solve(hessian, gradients_RC.T)[1]  # noqa: N806
    return list(map(float, values_R))


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
    fit = _length_fit(scores, lengths, baseline_lengths)
    if fit is None:
        return None
    x_RC, y_R, weights = fit  # noqa: N806  R rows, C columns
    return float(y_R.mean()) if x_RC.shape[1] == 1 else float(1 / (1 + np.exp(-weights[1])))


def _length_fit(
    scores: Sequence[float], lengths: Sequence[float], baseline_lengths: Sequence[float]
) -> tuple[Floats, Floats, Floats] | None:
    """Design (length term and constant), scores and fitted weights; the constant alone where no length differs, None
    where every length differs by the same."""
    y = np.asarray(scores, dtype=np.float64)
    difference = np.asarray(baseline_lengths, dtype=np.float64) - np.asarray(lengths, dtype=np.float64)
    if y.size == 0 or y.shape != difference.shape:
        raise ValueError(f"{y.size} scores and {difference.size} length differences; one of each a row is needed")
    if y.min() < 0 or y.max() > 1:
        raise ValueError(f"scores from {y.min()} to {y.max()}; a win rate needs them in [0, 1]")
    if not difference.any():
        return np.ones((y.size, 1)), y, np.zeros(1)
    spread = float(difference.std(ddof=1)) if y.size > 1 else 0.0
    if spread == 0.0:
        return None
    design = np.stack([np.tanh(difference / spread), np.ones_like(y)], axis=1)
    return design, y, _logistic(design, y)


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
