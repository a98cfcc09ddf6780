"""Percentile intervals of weighted means. A question's games, turns and samples stay together: they are one cluster."""

from collections.abc import Sequence

import numpy as np

from moaa.scoring.logistic import Floats

SEED = 20250503
CHUNK_CELLS = 1 << 22
"""Numbers drawn at a time: 32 MiB, whatever the resamples and clusters."""


def interval(
    sums: Sequence[float], weights: Sequence[float], *, resamples: int, confidence: float
) -> tuple[float, float] | None:
    """Of sum(sums) ÷ sum(weights), clusters drawn with replacement; None with fewer than two clusters.

    `sums[i]` is the sum of a cluster's values, each times its weight, and `weights[i]` the sum of its weights. Draws
    come from a fixed seed.

    Raises:
        ValueError: the lengths differ, or a weight is not above 0.
    """
    parts_KS = np.array([sums, weights], dtype=np.float64).T if len(sums) == len(weights) else None  # noqa: N806
    if parts_KS is None or any(weight <= 0 for weight in weights):
        raise ValueError(f"{len(sums)} sums and {len(weights)} weights; every cluster needs a weight above 0")
    count = len(parts_KS)
    if count < 2:
        return None
    rng = np.random.default_rng(SEED)
    means = np.empty(resamples)
    step = max(1, CHUNK_CELLS // count)
    for start in range(0, resamples, step):
        rounds = min(step, resamples - start)
        means[start : start + rounds] = _means(parts_KS[rng.integers(0, count, size=(rounds, count))])
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _means(drawn_RKS: Floats) -> Floats:  # noqa: N803  R rounds, K clusters, S sum and weight
    totals_RS = drawn_RKS.sum(axis=1)  # noqa: N806
    means: Floats = totals_RS[:, 0] / totals_RS[:, 1]
    return means
