"""Style control: win rates against one baseline if all answers had the same length, headers, lists and bold text.

Bradley-Terry with style: logit P(model m wins game i) = b_m + sum_k w_k z_ik, fitted over the games of all models at
once, since w is the judge's taste and no single model shows it. z_ik is (model's - baseline's) ÷ (sum + 1) of count k.

Source: Arena-Hard (`utils_math.py` of arena-hard-auto at efc012e), after the style control of Chatbot Arena.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, assert_never

import numpy as np
from numpy.typing import NDArray

from moaa.benchmark.arena_labels import Game
from moaa.benchmark.style import Style
from moaa.scoring.logistic import Floats, Prior, cluster_contributions, fit, sigmoid

RIDGE = 1e-6
"""Precision of the prior for each unit of weight. The authors' fit has L2 with C = 1, which moves rates by less than
0.1 points at 500 questions."""


class Taste(NamedTuple):
    """Logits for one standard deviation of each difference: above 0, the judge likes more of it."""

    length: float
    headers: float
    items: float
    bold: float


class Level(StrEnum):
    """The style at which rates are read."""

    BASELINE = "baseline"
    """Both answers in the same style: what a reader takes "controlled" to mean."""
    FIELD = "field"
    """The models' average difference from the baseline, as published (features are centred without an intercept). It
    orders models, but for one model alone it is nearly the raw rate, and it moves with the models that take part."""


@dataclass(frozen=True)
class Played:
    """A game and how both answers look."""

    game: Game
    model: Style
    baseline: Style


@dataclass(frozen=True)
class StyleControlled:
    rates: Mapping[str, float]
    """By model, between 0 and 1."""
    contributions: Mapping[str, Sequence[float]]
    """By model, one for each question that anybody played; their mean is the rate. Resample these for its interval."""
    taste: Taste


def style_controlled(played: Mapping[str, Sequence[Played]], level: Level) -> StyleControlled:
    """Win rates by model at equal style; `played` is by model.

    A count that differs in no game, or by the same in every game, has no term: its taste is 0.

    Raises:
        ValueError: a model has no game.
    """
    if not played or any(not games for games in played.values()):
        raise ValueError("style control needs a game of every model")
    names = list(played)
    listed = [(place, one) for place, name in enumerate(names) for one in played[name]]
    own_GM = np.zeros((len(listed), len(names)))  # noqa: N806  G games, M models, K counts
    own_GM[np.arange(len(listed)), [place for place, _ in listed]] = 1
    weights_G = np.array([float(one.game.weight) for _, one in listed])  # noqa: N806
    differences_GK = np.array([_difference(one) for _, one in listed])  # noqa: N806
    style_GK, used = _scaled(differences_GK, weights_G, level)  # noqa: N806
    x_GC = np.concatenate([own_GM, style_GK], axis=1)  # noqa: N806
    y_G = np.array([one.game.score for _, one in listed])  # noqa: N806
    prior = Prior(np.zeros(x_GC.shape[1]), np.full(x_GC.shape[1], RIDGE * weights_G.sum()))
    found = fit(x_GC, y_G, prior, weights_G)
    rates = sigmoid(found.weights_C[: len(names)])
    taste = np.where(used, found.weights_C[len(names) :], 0.0)
    numbers = {question: k for k, question in enumerate(dict.fromkeys(one.game.question for _, one in listed))}
    cluster_G = np.array([numbers[one.game.question] for _, one in listed])  # noqa: N806
    alone_MC = np.eye(len(names), x_GC.shape[1])  # noqa: N806  each model at equal style
    parts = [cluster_contributions(found, cluster_G, at_C).tolist() for at_C in alone_MC]
    return StyleControlled(
        dict(zip(names, map(float, rates), strict=True)),
        dict(zip(names, parts, strict=True)),
        Taste(*map(float, taste)),
    )


def _difference(one: Played) -> list[float]:
    return [(own - other) / (own + other + 1) for own, other in zip(one.model, one.baseline, strict=True)]


def _scaled(differences_GK: Floats, weights_G: Floats, level: Level) -> tuple[Floats, NDArray[np.bool_]]:  # noqa: N803
    """Differences in standard deviations, and which of them vary at all; the others are 0."""
    mean_K = np.average(differences_GK, axis=0, weights=weights_G)  # noqa: N806
    spread_K = np.sqrt(np.average((differences_GK - mean_K) ** 2, axis=0, weights=weights_G))  # noqa: N806
    used = spread_K > 1e-12
    match level:
        case Level.BASELINE:
            centred = differences_GK
        case Level.FIELD:
            centred = differences_GK - mean_K
        case _:
            assert_never(level)
    return np.where(used, centred / np.where(used, spread_K, 1.0), 0.0), used
