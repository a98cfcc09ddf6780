"""AlpacaEval 2: the raw and the length-controlled win rate against fixed baseline answers.

The length-controlled rate (LC) needs the difficulty of every question and the verdicts on two gamed runs of the
baseline (verbose and concise). Both stand in one file of AlpacaEval's authors, which the user brings; without it there
is no LC, only `moaa.scoring.length.lc_estimate`.

Source: Dubois et al. 2024 (arXiv 2404.04475), `length_controlled_v1`. The authors' library fits with an L1 penalty
chosen by cross-validation. This fit has a ridge instead, which moves the figure by less than 0.2 points on every public
model tried (benchmarks/official.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moaa.scoring.length import Subject
from moaa.scoring.logistic import Floats, Prior, contributions, fit, sigmoid

GAMED_WEIGHT = 0.1
"""Of a row of a gamed run: the authors' lambda of 0.2, shared by two runs."""
RIDGE = 1e-6
"""Precision of the prior for each unit of the rows' weight: it only keeps a clean sweep finite."""


@dataclass(frozen=True)
class WinRate:
    """Verdicts without regard to length."""

    rate: float
    """Mean score, between 0 and 1."""
    standard_error: float
    """Standard deviation of the scores ÷ square root of their number; not a number with one score."""
    discrete: float
    """Wins and half the draws ÷ number; a score above ½ is a win."""
    wins: int
    losses: int
    draws: int


@dataclass(frozen=True)
class Gamed:
    """The verdict on one answer of a gamed run of the baseline."""

    question: str
    score: float
    relative_length: float
    """(Baseline's length - own length) ÷ the sample standard deviation of these differences over its run."""


@dataclass(frozen=True)
class Known:
    """What the authors' file says of the official questions, baseline and judge; wrong for any other."""

    difficulty: Mapping[str, float]
    """By question."""
    gamed: Sequence[Gamed]


@dataclass(frozen=True)
class LengthControlled:
    rate: float
    """Between 0 and 1."""
    standard_error: float
    """As published: of the predictions' mean, the fit taken as certain. The spread of `contributions` is wider."""
    contributions: Mapping[str, float]
    """By question; their mean is `rate` (`moaa.scoring.logistic.contributions`)."""
    weights: tuple[float, float, float]
    """Of length, difficulty and the model itself."""


def score_of(preference: float) -> float:
    """An annotation's `preference` as a score: 1 (baseline) … 2 (model) gives 0 … 1; 0 stands for a draw, as 1.5 does.

    Raises:
        ValueError: it is something else.
    """
    if preference == 0:
        return 0.5
    if not 1 <= preference <= 2:
        raise ValueError(f"preference {preference}; AlpacaEval's are 0 (a draw) or between 1 and 2")
    return preference - 1


def win_rate(scores: Sequence[float]) -> WinRate:
    """Raises ValueError: there is no score."""
    values = np.asarray(scores, dtype=np.float64)
    if not values.size:
        raise ValueError("a win rate needs at least one score")
    wins, losses = int((values > 0.5).sum()), int((values < 0.5).sum())
    draws = values.size - wins - losses
    discrete = (wins + draws / 2) / values.size
    return WinRate(float(values.mean()), _standard_error(values), discrete, wins, losses, draws)


def length_controlled(subject: Subject, known: Known) -> LengthControlled:
    """The win rate if every answer were as long as the baseline's.

    logit P(win_i) = w_length tanh(d_i) + w_difficulty gamma_i + w_model [own row], with d_i = (baseline's length - own
    length) ÷ sample standard deviation of these. Rows of the gamed runs have weight 0.1 and no model term. The rate is
    the mean over questions of sigmoid(w_difficulty gamma_i + w_model).

    Difficulty is taken by question. The authors' library takes it by the position of the row, so that for a model that
    lacks a question the two differ.

    Raises:
        ValueError: there is no row, a question has no difficulty, or the differences of length have no spread.
    """
    own = list(subject)
    unknown = [name for name in (*own, *(row.question for row in known.gamed)) if name not in known.difficulty]
    if unknown or not own:
        what = f"{len(unknown)} questions have no difficulty, the first is {unknown[0]!r}" if unknown else "no row"
        raise ValueError(f"{what}: length control needs the official questions and their file")
    x_RC = np.concatenate([_own_rows(subject, known), _gamed_rows(known)])  # noqa: N806  R rows, C columns
    y_R = np.array([subject[name].score for name in own] + [row.score for row in known.gamed])  # noqa: N806
    row_weights_R = np.array([1.0] * len(own) + [GAMED_WEIGHT] * len(known.gamed))  # noqa: N806
    prior = Prior(np.zeros(3), np.full(3, RIDGE * row_weights_R.sum()))
    found = fit(x_RC, y_R, prior, row_weights_R)
    at_QC = x_RC[: len(own)] * [0.0, 1.0, 1.0]  # noqa: N806  no difference of length
    length, difficulty, model = map(float, found.weights_C)
    predictions = predicted([known.difficulty[name] for name in own], difficulty=difficulty, model=model)
    values = contributions(found, at_QC)
    return LengthControlled(
        float(predictions.mean()),
        _standard_error(predictions),
        dict(zip(own, map(float, values), strict=True)),
        (length, difficulty, model),
    )


def predicted(gamma: Sequence[float], *, difficulty: float, model: float) -> Floats:
    """P(win) of every question at equal length, from its difficulty and two fitted weights; their mean is the rate."""
    return sigmoid(difficulty * np.asarray(gamma, dtype=np.float64) + model)


def _own_rows(subject: Subject, known: Known) -> Floats:
    difference = np.array([row.baseline_length - row.length for row in subject.values()])
    spread = float(difference.std(ddof=1)) if len(difference) > 1 else 0.0
    if spread == 0:
        raise ValueError(
            f"every answer differs from the baseline's by {difference[0]:g} characters: length and skill cannot be "
            "told apart. The baseline against itself is 50 % by definition"
        )
    gamma = np.array([known.difficulty[name] for name in subject])
    return np.stack([np.tanh(difference / spread), gamma, np.ones(len(difference))], axis=1)


def _gamed_rows(known: Known) -> Floats:
    rows = [(np.tanh(row.relative_length), known.difficulty[row.question], 0.0) for row in known.gamed]
    return np.array(rows, dtype=np.float64).reshape(len(rows), 3)


def _standard_error(values: Floats) -> float:
    return float(values.std(ddof=1) / np.sqrt(values.size)) if values.size > 1 else float("nan")
