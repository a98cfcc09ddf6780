"""How much a promotion has to show: how sure it must be, which questions it reads, how small a gain they can show.

Pure and without numpy, so that the plan forecasts by the same figures as the gate decides by.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, sqrt
from statistics import NormalDist

from moaa.api import MoAASpec
from moaa.benchmark.measures import measure_of

FRESH_QUESTIONS = 1000
"""Each iteration's gate reads questions of its own where every iteration gets this many: enough to show a gain of three
points with four samples a question, of five with one. With fewer, all iterations read all of them."""
QUESTION_VARIANCE, ANSWER_VARIANCE = 0.15**2, 0.2
"""Of the difference between two students' scores of a question, until it is measured: what one of them is better at,
and what differs from answer to answer, where they agree on four questions in five with one answer each."""
POWER = 0.8
"""How often a gain of the least size that is forecast passes."""


@dataclass(frozen=True)
class Trial:
    """One iteration's promotion."""

    level: float
    """Error rate of each one-sided bound on a gain (`level_of`)."""
    iteration: int
    shares: Mapping[str, int]
    """By benchmark, into how many shares its questions are dealt; one that is not named is read whole."""
    objective: frozenset[str]
    """Benchmarks that no judge scores: what a student knows, which it must not forget."""
    seed: int

    def reads(self, benchmark: str, question: str) -> bool:
        """Whether this iteration's gate reads the question. A question is dealt by its own id, whatever others there
        are, so one that has no score moves no other."""
        shares = self.shares.get(benchmark, 1)
        if shares == 1:
            return True
        dealt = hashlib.sha256(f"{self.seed}/{benchmark}/{question}".encode()).digest()
        return int.from_bytes(dealt[:8]) % shares == (self.iteration - 1) % shares


def trial_of(spec: MoAASpec, iteration: int, sizes: Mapping[str, int]) -> Trial:
    """`sizes` are the questions of the selection benchmarks, as stage-data counted them."""
    listed = spec.evaluation.selection
    return Trial(
        level=level_of(spec),
        iteration=iteration,
        shares={b.name: shares_of(sizes[b.name], spec.iterations) for b in listed if b.name in sizes},
        objective=frozenset(b.name for b in listed if measure_of(b, student=spec.student).judge is None),
        seed=spec.seed,
    )


def level_of(spec: MoAASpec) -> float:
    """Error rate of each end of each comparison's interval: 1 - confidence, split evenly over candidates, declared
    iterations and both ends.

    So a run whose candidates are all no better than the start promotes one of them with a probability of at most half
    of 1 - confidence, whatever depends on what: previous scores that all comparisons share, two candidates of one
    training, questions that are read again. With confidence 0.95, two candidates and five iterations each end has
    0.0025, a bound of 99.75 %. Iterations that are added to a run that has closed some come on top: their shares are
    those of the new number, and what the closed ones spent is spent.

    Source: Bonferroni's inequality (Dunn 1961, doi 10.1080/01621459.1961.10482090). Holm's procedure would promote no
    more often: its first step is the same.
    """
    return float((1 - spec.evaluation.confidence) / (2 * candidates_of(spec) * spec.iterations))


def candidates_of(spec: MoAASpec) -> int:
    """Students that an iteration makes."""
    return sum(part is not None for part in (spec.training.sft, spec.training.dpo, spec.training.average))


def shares_of(questions: int, iterations: int) -> int:
    """Shares a selection benchmark is dealt into: one an iteration where each gets FRESH_QUESTIONS, else one."""
    return iterations if questions >= iterations * FRESH_QUESTIONS else 1


def least_gain(questions: float, level: float, *, samples: int) -> float:
    """The smallest gain, in points of score between 0 and 1, that passes in POWER of the cases.

    (t + z) × spread ÷ √questions, the least detectable difference of a paired one-sided test. Source: Miller 2024
    (arXiv 2411.00640), §5.

    Raises:
        ValueError: as `t_quantile`: one question shows nothing.
    """
    return (t_quantile(level, questions - 1) + NormalDist().inv_cdf(POWER)) * _spread(samples) / sqrt(questions)


def questions_for(gain: float, level: float, *, samples: int) -> int:
    """Questions that show a gain of this size in POWER of the cases, by the normal approximation."""
    z = NormalDist().inv_cdf(1 - level) + NormalDist().inv_cdf(POWER)
    return ceil((z * _spread(samples) / gain) ** 2)


def _spread(samples: int) -> float:
    """Assumed standard deviation of a question's difference, each score the mean of `samples` answers: 0.47 for one,
    0.27 for four."""
    return sqrt(QUESTION_VARIANCE + ANSWER_VARIANCE / samples)


def t_quantile(level: float, freedom: float) -> float:
    """The value that Student's t exceeds with probability `level`: within 0.01 % of the exact one from 19 degrees of
    freedom and a level of 0.0001 on.

    Raises:
        ValueError: no freedom, or a level that is not between 0 and 1.
    Source: Abramowitz and Stegun 1964, 26.7.5.
    """
    if freedom <= 0 or not 0 < level < 1:
        raise ValueError(f"t has no quantile for {freedom} degrees of freedom and a level of {level}")
    z = NormalDist().inv_cdf(1 - level)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom ** (k + 1) for k, term in enumerate(terms))
