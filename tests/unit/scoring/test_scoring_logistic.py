"""The fit against closed forms, and contributions against refits."""

import numpy as np
import pytest

from moaa.scoring.logistic import Floats, Prior, contributions, fit, sigmoid

LOOSE = Prior(np.zeros(2), np.full(2, 1e-9))


def rows(count: int, seed: int) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    x = np.stack([rng.normal(size=count), np.ones(count)], axis=1)
    return x, (rng.random(count) < sigmoid(x @ np.array([0.8, -0.5]))).astype(float)


def test_soft_labels_of_a_model_give_its_weights_back() -> None:
    x, _ = rows(50, 1)
    weights = np.array([0.7, -1.2])
    assert fit(x, sigmoid(x @ weights), LOOSE).weights_C == pytest.approx(weights, abs=1e-6)


def test_a_row_of_weight_three_is_three_rows() -> None:
    x, y = rows(40, 2)
    times = np.arange(40) % 3 + 1
    weighted = fit(x, y, LOOSE, times.astype(float)).weights_C
    assert fit(np.repeat(x, times, axis=0), np.repeat(y, times), LOOSE).weights_C == pytest.approx(weighted, abs=1e-7)


def test_a_tight_prior_holds_a_weight() -> None:
    x, y = rows(200, 3)
    held = fit(x, y, Prior(np.array([-1.5, 0.0]), np.array([1e9, 1e-9])))
    assert held.weights_C[0] == pytest.approx(-1.5, abs=1e-6)
    assert sigmoid(x @ held.weights_C).mean() == pytest.approx(y.mean(), abs=1e-6)  # the free constant fits the mean


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_a_clean_sweep_stays_finite(label: float) -> None:
    x, y = rows(30, 4)
    found = fit(x, np.full_like(y, label), Prior(np.zeros(2), np.full(2, 1e-4)))
    assert np.isfinite(found.weights_C).all()
    assert sigmoid(x @ found.weights_C).mean() == pytest.approx(label, abs=1e-3)


def test_contributions_average_to_the_mean_prediction() -> None:
    x, y = rows(60, 5)
    at = x * [0.0, 1.0]
    found = fit(np.concatenate([x, x[:10]]), np.concatenate([y, y[:10]]), LOOSE, np.array([1.0] * 60 + [0.1] * 10))
    assert contributions(found, at).mean() == pytest.approx(sigmoid(at @ found.weights_C).mean(), abs=1e-12)


def test_contributions_tell_what_leaving_a_row_out_does() -> None:
    """Leave one out: figure - figure without q is about (contribution_q - figure) / count."""
    x, y = rows(200, 6)
    at = x * [0.0, 1.0]
    found = fit(x, y, LOOSE)
    figure = sigmoid(at @ found.weights_C).mean()
    values = contributions(found, at)
    for q in range(0, 200, 23):
        kept = np.arange(200) != q
        without = sigmoid(at[kept] @ fit(x[kept], y[kept], LOOSE).weights_C).mean()
        assert figure - without == pytest.approx((values[q] - figure) / 200, rel=0.1, abs=5e-5)


def test_rows_have_to_match() -> None:
    x, y = rows(5, 7)
    with pytest.raises(ValueError, match="rows of equal number"):
        fit(x, y[:4], LOOSE)
    with pytest.raises(ValueError, match="rows of equal number"):
        fit(x[:0], y[:0], LOOSE)
