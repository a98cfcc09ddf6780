"""Logistic regression on soft labels with a Gaussian prior, and what every row contributes to its mean prediction."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NEWTON_STEPS = 200
TOLERANCE = 1e-10
"""Of the gradient's largest part, for each unit of the rows' weight."""


@dataclass(frozen=True)
class Prior:
    """Gaussian, independent for each column. It keeps weights finite where one side wins everything."""

    mean_C: Floats  # noqa: N815  R rows, C columns
    precision_C: Floats  # noqa: N815
    """1 ÷ variance; above 0."""


@dataclass(frozen=True)
class Fit:
    """The weights of highest posterior, and what they were found from."""

    x_RC: Floats  # noqa: N815
    y_R: Floats  # noqa: N815
    row_weights_R: Floats  # noqa: N815
    prior: Prior
    weights_C: Floats  # noqa: N815


def fit(x_RC: Floats, y_R: Floats, prior: Prior, row_weights_R: Floats | None = None) -> Fit:  # noqa: N803
    """Weights w that minimise sum_i r_i (log(1 + exp(x_i w)) - y_i x_i w) + sum_c precision_c (w_c - mean_c)² / 2.

    `y_R` are in [0, 1]; `row_weights_R` are 1 unless given. Damped Newton steps: the loss is strictly convex, so that
    halving a step until the loss falls ends at the one minimum.

    Raises:
        ValueError: there is no row, or shapes differ.
    """
    rows = np.ones(len(y_R)) if row_weights_R is None else row_weights_R
    if not len(y_R) or x_RC.shape != (len(y_R), len(prior.mean_C)) or rows.shape != y_R.shape:
        raise ValueError(f"a fit needs rows of equal number: {x_RC.shape} features, {y_R.shape} labels")
    now = Fit(x_RC, y_R, rows, prior, prior.mean_C.copy())
    loss = _loss(now, now.weights_C)
    weights = now.weights_C
    for _ in range(NEWTON_STEPS):
        gradient = _gradient(now, weights)
        if np.abs(gradient).max() < TOLERANCE * rows.sum():
            break
        step = np.linalg.solve(_hessian(now, weights), gradient)
        while (new := _loss(now, weights - step)) > loss and np.abs(step).max() > TOLERANCE:
            step = step / 2
        weights, loss = weights - step, new
    return Fit(x_RC, y_R, rows, prior, weights)


def sigmoid(z: Floats) -> Floats:
    """1 ÷ (1 + exp(-z)), without overflow."""
    p: Floats = np.exp(-np.logaddexp(0, -z))
    return p


def contributions(found: Fit, at_QC: Floats) -> Floats:  # noqa: N803  Q questions
    """Values whose mean is the mean prediction over `at_QC`, and whose spread is its uncertainty, fit included.

    Question q is row q of the fit as well; rows after these (of other runs) belong to nobody. A value is the prediction
    less the question's influence on the weights (infinitesimal jackknife). It may leave [0, 1].

    Source: Jaeckel 1972; Efron and Tibshirani 1993, §11.
    """
    count = len(at_QC)
    p_Q = sigmoid(at_QC @ found.weights_C)  # noqa: N806
    slope_C = (p_Q * (1 - p_Q)) @ at_QC  # noqa: N806  of the sum over questions
    gradients_RC = _gradients(found, found.weights_C)  # noqa: N806
    rest_C = gradients_RC[count:].sum(axis=0) + _prior_gradient(found, found.weights_C)  # noqa: N806
    own_QC = gradients_RC[:count] + rest_C / count  # noqa: N806  they sum to 0 at the minimum
    values_Q: Floats = p_Q - own_QC @ np.linalg.solve(_hessian(found, found.weights_C), slope_C)  # noqa: N806
    return values_Q


def cluster_contributions(found: Fit, cluster_R: NDArray[np.int64], at_C: Floats) -> Floats:  # noqa: N803
    """Values by cluster whose mean is the prediction at `at_C`, as `contributions`; `cluster_R` numbers the rows'
    clusters from 0 on, none left out. Shape (clusters,)."""
    p = sigmoid(at_C @ found.weights_C)
    moved_C = np.linalg.solve(_hessian(found, found.weights_C), p * (1 - p) * at_C)  # noqa: N806
    own_K = np.bincount(cluster_R, weights=_gradients(found, found.weights_C) @ moved_C)  # noqa: N806  K clusters
    rest = float(_prior_gradient(found, found.weights_C) @ moved_C)
    values_K: Floats = p - (len(own_K) * own_K + rest)  # noqa: N806
    return values_K


def _gradients(found: Fit, weights_C: Floats) -> Floats:  # noqa: N803
    p_R = sigmoid(found.x_RC @ weights_C)  # noqa: N806
    return found.x_RC * (found.row_weights_R * (p_R - found.y_R))[:, None]


def _prior_gradient(found: Fit, weights_C: Floats) -> Floats:  # noqa: N803
    return found.prior.precision_C * (weights_C - found.prior.mean_C)


def _gradient(found: Fit, weights_C: Floats) -> Floats:  # noqa: N803
    total: Floats = _gradients(found, weights_C).sum(axis=0)
    return total + _prior_gradient(found, weights_C)


def _hessian(found: Fit, weights_C: Floats) -> Floats:  # noqa: N803
    p_R = sigmoid(found.x_RC @ weights_C)  # noqa: N806
    spread_R = found.row_weights_R * p_R * (1 - p_R)  # noqa: N806
    return (found.x_RC * spread_R[:, None]).T @ found.x_RC + np.diag(found.prior.precision_C)


def _loss(found: Fit, weights_C: Floats) -> float:  # noqa: N803
    z_R = found.x_RC @ weights_C  # noqa: N806
    rows = found.row_weights_R @ (np.logaddexp(0, z_R) - found.y_R * z_R)
    return float(rows + found.prior.precision_C @ (weights_C - found.prior.mean_C) ** 2 / 2)
