"""`lc_estimate`: a win rate at equal length without AlpacaEval's data, for any questions, baseline and judge.

AlpacaEval's length control learns how much its judge likes length, and how hard each question is, from many models.
A run has no such data. So the slope is held near what official fits have, and difficulty is read off the other subjects
that were judged on the same questions. The figure is an estimate and never AlpacaEval's LC; benchmarks/official.md says
how far it is off. Show the raw rate and both mean lengths beside it.

The slope is that of AlpacaEval's judge. Where a judge does not care for length, it flatters short answers: by some 15
points where they are 30 % shorter. So a decision must not rest on it alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, assert_never

import numpy as np

from moaa.scoring.logistic import Floats, Prior, contributions, fit

SLOPE = -1.5
"""Of tanh((baseline's length - own length) ÷ scale). 199 official fits have mean -1.51, standard deviation 0.39."""
SLOPE_DEVIATION = 0.1
"""Of the prior around it: a fixed slope in all but name. With 0.4, errors against official LC double."""
JUDGE_DEVIATION = 1.5
"""Of a prior that some 50 verdicts outweigh, so that the slope is the judge's own: as wide as the slope is steep. For
decisions, which must not rest on what another judge likes. With 0.8, more padded students pass before a judge
that goes by the ratio of the lengths."""
FREE = 1e-4
"""Precision of the other terms' prior: it only keeps a clean sweep finite."""
MOST_LOGIT = 5.0
"""A verdict of 0 or 1 counts as this many logits in a question's difficulty."""
RATIO = 1.5
"""The ratio of lengths that counts for as much as a difference of one scale counts at most."""
LEAST_SCALE = 0.25
"""Of the baseline's mean length. Lengths are measured by their spread, as AlpacaEval does. Where all answers are about
as long, that would make a word more in each count like a whole standard deviation. Public models have 0.33 to 0.74."""


class Judged(NamedTuple):
    """One answer against the baseline's."""

    score: float
    """In [0, 1], 1: it wins. May be soft, or a mean over samples."""
    length: float
    """Characters."""
    baseline_length: float


Subject = Mapping[str, Judged]
"""One model's answers, by question."""


class Taste(StrEnum):
    """What of the lengths a judge goes by."""

    DIFFERENCE = "Difference"
    """tanh of the difference over its scale, as AlpacaEval fits it: far longer is liked no more than longer."""
    RATIO = "Ratio"
    """The logarithm of the ratio. Answers that are all longer by one ratio stand apart from skill only here."""


@dataclass(frozen=True)
class LcEstimate:
    rate: float
    """Between 0 and 1."""
    contributions: Mapping[str, float]
    """By question; their mean is `rate` (`moaa.scoring.logistic.contributions`). Pair and resample these."""
    others: int
    """Subjects that difficulty was read off; with 0 every question counts as equally hard."""


def lc_estimate(
    subject: Subject,
    others: Sequence[Subject],
    *,
    slope_deviation: float = SLOPE_DEVIATION,
    taste: Taste = Taste.DIFFERENCE,
) -> LcEstimate:
    """The win rate if every answer were as long as the baseline's, by a fixed slope and estimated difficulty.

    logit P(win_i) = w r_i + w_difficulty gamma_i + b, with r_i the relative length by `taste` and w from a prior of
    mean SLOPE and `slope_deviation`. gamma_i is the mean over `others` of logit(score) - SLOPE r_i, standardised over
    questions. Each subject counts from its own mean, so that one that lacks questions does not shift the rest; a
    question that no other answered counts as average. The rate is the mean over questions of
    sigmoid(w_difficulty gamma_i + b).

    Without any difference of length it is the raw win rate.

    Raises:
        ValueError: there is no row, or a score is outside [0, 1].
    """
    names = list(subject)
    y_Q = np.array([subject[name].score for name in names])  # noqa: N806  Q questions
    if not names or y_Q.min() < 0 or y_Q.max() > 1:
        found = f"scores from {y_Q.min()} to {y_Q.max()}" if names else "no row"
        raise ValueError(f"{found}: a win rate needs scores in [0, 1]")
    telling = [effort for other in others if (effort := _ease(other, names, taste))]
    columns = [_relative_length(subject, names, taste), np.ones(len(names))]
    gamma = _standardised(telling, names) if telling else None
    if gamma is not None:
        columns.append(gamma)
    x_QC = np.stack(columns, axis=1)  # noqa: N806
    mean = np.array([SLOPE, *[0.0] * (len(columns) - 1)])
    precision = np.array([slope_deviation**-2, *[FREE] * (len(columns) - 1)])
    at_QC = x_QC * (np.arange(len(columns)) > 0)  # noqa: N806  no difference of length
    values = contributions(fit(x_QC, y_Q, Prior(mean, precision)), at_QC)
    return LcEstimate(
        float(values.mean()),
        dict(zip(names, map(float, values), strict=True)),
        len(telling) if gamma is not None else 0,
    )


def _relative_length(subject: Subject, names: Sequence[str], taste: Taste) -> Floats:
    """By what of the lengths the judge goes; positive where the baseline is longer."""
    own = np.array([subject[name].length for name in names])
    baseline = np.array([subject[name].baseline_length for name in names])
    match taste:
        case Taste.DIFFERENCE:
            difference = baseline - own
            spread = float(difference.std(ddof=1)) if len(names) > 1 else 0.0
            scale = max(spread, LEAST_SCALE * float(baseline.mean())) or 1.0
            relative: Floats = np.tanh(difference / scale)
        case Taste.RATIO:  # an empty answer counts as one character
            relative = np.log(np.maximum(baseline, 1) / np.maximum(own, 1)) / np.log(RATIO)
        case _:
            assert_never(taste)
    return relative


def _ease(other: Subject, names: Sequence[str], taste: Taste) -> Mapping[str, float]:
    """How easily the subject won each of the questions, in logits from its mean; empty where that tells nothing, as of
    the baseline itself."""
    shared = [name for name in names if name in other]
    if not shared:
        return {}
    scores = np.array([other[name].score for name in shared])
    bound = 1 / (1 + np.exp(-MOST_LOGIT))
    clipped = np.clip(scores, 1 - bound, bound)
    logits = np.log(clipped / (1 - clipped)) - SLOPE * _relative_length(other, shared, taste)
    if np.ptp(logits) == 0:
        return {}
    return dict(zip(shared, logits - logits.mean(), strict=True))


def _standardised(telling: Sequence[Mapping[str, float]], names: Sequence[str]) -> Floats | None:
    """Mean ease of each question over those that answered it, with mean 0 and standard deviation 1; None where all
    come out equal."""
    means = [[ease[name] for ease in telling if name in ease] for name in names]
    gamma = np.array([float(np.mean(found)) if found else 0.0 for found in means])
    spread = gamma.std()
    return None if spread == 0 else (gamma - gamma.mean()) / spread
