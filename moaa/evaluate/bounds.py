"""Bounds on a gain: paired differences of two students, with the questions as clusters. Pure.

A question's samples and the turns of its conversation are one score before they come here, so they stay together: what
varies is the question. Student's t is used in place of a bootstrap because the levels are small (0.0025 and the like):
a bootstrap of 2,000 draws knows such a quantile from ten of them, and t holds its level as well
(benchmarks/gates.md). Source: Miller 2024 (arXiv 2411.00640), clustered standard errors of paired differences.
"""

from collections.abc import Sequence
from math import sqrt

import numpy as np

from moaa.api.evaluation import MIN_QUESTIONS
from moaa.evaluate.statistics import Estimate
from moaa.plan.evidence import t_quantile


def bounded(benchmarks: Sequence[Sequence[float]], level: float) -> Estimate:
    """Mean over benchmarks of their mean differences, all of the same weight; each end is passed with probability
    `level`. No ends with fewer than MIN_QUESTIONS questions in a benchmark: too few to know how they vary.

    Raises:
        ValueError: a benchmark has no question.
    """
    groups = [np.asarray(differences, dtype=np.float64) for differences in benchmarks]
    if not groups or any(group.size == 0 for group in groups):
        raise ValueError("a gain needs at least one question in every benchmark")
    mean, rows = float(np.mean([group.mean() for group in groups])), sum(group.size for group in groups)
    if any(group.size < MIN_QUESTIONS for group in groups):
        return Estimate(mean, None, None, rows)
    variances = [float(group.var(ddof=1)) / group.size for group in groups]
    whole = sum(variances)
    if whole == 0:
        return Estimate(mean, mean, mean, rows)
    # Welch and Satterthwaite's degrees of freedom of a sum of means.
    freedom = whole**2 / sum(v**2 / (group.size - 1) for v, group in zip(variances, groups, strict=True))
    reach = t_quantile(level, freedom) * sqrt(whole) / len(groups)
    return Estimate(mean, mean - reach, mean + reach, rows)
