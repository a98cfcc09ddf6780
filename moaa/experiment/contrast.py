"""Scores of several seeds as one figure, and an arm minus the first arm, question by question.

A question's seeds stay together: what is resampled are questions, each with its mean over seeds. So an interval says
how sure a difference is for these trained students on other questions like these; how much another training would
differ is seen from the differences by seed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from moaa.evaluate.statistics import Estimate, Scores, mean_estimate
from moaa.experiment.schema import Difference, Finding

SeedScores = Mapping[int, Scores]
"""Score of every question, by seed."""
TAIL_DRAWS = 20
"""Resamples beyond each end of the corrected interval, at least: fewer leave its ends to chance."""
MAX_RESAMPLES = 100_000


@dataclass(frozen=True)
class Level:
    """How intervals are drawn."""

    confidence: float
    resamples: int
    compared: int
    """Differences that are looked at together, at least one."""

    @property
    def corrected(self) -> float:
        """Confidence at which all differences hold together (Bonferroni)."""
        return 1 - (1 - self.confidence) / self.compared

    def estimate(self, values: list[float], *, is_corrected: bool = False) -> Estimate:
        """Mean and interval. Raises ValueError: there is no value."""
        if not is_corrected:
            return mean_estimate(values, resamples=self.resamples, confidence=self.confidence)
        needed = ceil(2 * TAIL_DRAWS / (1 - self.corrected))
        resamples = min(max(self.resamples, needed), MAX_RESAMPLES)
        return mean_estimate(values, resamples=resamples, confidence=self.corrected)


def over_seeds(scores: SeedScores) -> list[float]:
    """Every question's mean over the seeds that have it, in the order of ids."""
    found: dict[str, list[float]] = {}
    for one in scores.values():
        for row_id, score in one.items():
            found.setdefault(row_id, []).append(score)
    return [sum(found[row_id]) / len(found[row_id]) for row_id in sorted(found)]


def difference(arm: SeedScores, first: SeedScores, level: Level) -> Difference | None:
    """The arm minus the first arm; None where no seed has a question of both."""
    by_seed: dict[int, Scores] = {}
    for seed in sorted(arm.keys() & first.keys()):
        shared = arm[seed].keys() & first[seed].keys()
        if shared:
            by_seed[seed] = {row_id: arm[seed][row_id] - first[seed][row_id] for row_id in shared}
    if not by_seed:
        return None
    values = over_seeds(by_seed)
    plain, corrected = level.estimate(values), level.estimate(values, is_corrected=True)
    return Difference(
        value=plain.mean,
        low=plain.low,
        high=plain.high,
        n=plain.rows,
        by_seed={seed: sum(one.values()) / len(one) for seed, one in by_seed.items()},
        finding=_finding(corrected) if any(values) else Finding.EQUAL,
    )


def _finding(corrected: Estimate) -> Finding:
    if corrected.low is None or corrected.high is None:
        return Finding.UNKNOWN
    if corrected.low > 0:
        return Finding.BETTER
    return Finding.WORSE if corrected.high < 0 else Finding.WITHIN_NOISE
