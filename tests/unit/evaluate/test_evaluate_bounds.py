"""Bounds against figures by hand, what forgets, and how often chance passes."""

import numpy as np
import pytest

from moaa.evaluate.bounds import bounded
from moaa.evaluate.forgetting import forgotten
from moaa.evaluate.statistics import Estimate


def test_a_bound_by_hand() -> None:
    """16 questions gained 1 point, 9 lost 1: mean 0.28, sd √(25/24 × (1 - 0.28²)), t(24, 2.5 %) = 2.0639."""
    found = bounded([[1.0] * 16 + [-1.0] * 9], 0.025)
    reach = 2.0639 * (25 / 24 * (1 - 0.28**2)) ** 0.5 / 5
    assert found.mean == pytest.approx(0.28)
    assert found.low == pytest.approx(0.28 - reach, abs=1e-4)
    assert found.high == pytest.approx(0.28 + reach, abs=1e-4)


def test_benchmarks_weigh_the_same_and_the_smaller_one_decides_the_freedom() -> None:
    few, many = [0.5, -0.5] * 10, [0.2] * 4000
    found = bounded([few, many], 0.025)
    assert found.mean == pytest.approx(0.1)
    assert found.rows == 4020
    reach = 2.0930 * float(np.std(few, ddof=1)) / 20**0.5 / 2  # t(19, 2.5 %); the large one does not vary
    assert found.low == pytest.approx(0.1 - reach, abs=1e-4)


def test_what_never_varies_is_certain_and_a_handful_shows_nothing() -> None:
    assert bounded([[0.25] * 20], 0.005) == Estimate(0.25, 0.25, 0.25, 20)
    assert bounded([[0.25] * 19], 0.005) == Estimate(0.25, None, None, 19)
    assert bounded([[0.25] * 100, [0.25] * 19], 0.005) == Estimate(0.25, None, None, 119)
    with pytest.raises(ValueError, match="at least one question"):
        bounded([[1.0], []], 0.005)


@pytest.mark.parametrize("questions", [20, 100, 500])
@pytest.mark.parametrize("moved", [0.1, 0.5], ids=["few questions move", "many move"])
def test_chance_passes_a_bound_no_more_often_than_its_level(questions: int, moved: float) -> None:
    """Students that are equally good, right or wrong on each question: a level of 2.5 % over 2,000 pairs of them."""
    rng = np.random.default_rng(11)
    differences = rng.choice([-1.0, 0.0, 1.0], p=[moved / 2, 1 - moved, moved / 2], size=(2000, questions))
    lows = [bounded([row], 0.025).low for row in differences]
    passed = np.mean([low is not None and low > 0 for low in lows])
    assert passed <= 0.025 + 3 * (0.025 * 0.975 / 2000) ** 0.5


LOST_NOTHING = [0.5, -0.5] * 250
LOST_MUCH = [-1.0] * 40 + [0.0] * 124
"""24 points of 164 questions, as many as HumanEval has."""
LOST_LITTLE = [-1.0] * 20 + [0.0] * 1980
"""One point of 2,000 questions: shown, and within the margin."""
UNSURE = [-1.0] * 12 + [1.0] * 8 + [0.0] * 60
"""Five points of 80 questions, which chance brings about as well."""


@pytest.mark.parametrize(
    ("differences", "min_gain", "is_barred"),
    [
        pytest.param(LOST_NOTHING, 0.0, False, id="nothing lost"),
        pytest.param(LOST_MUCH, 0.0, True, id="much lost"),
        pytest.param(LOST_LITTLE, 0.0, False, id="little lost"),
        pytest.param(UNSURE, 0.0, False, id="not shown"),
        pytest.param(LOST_MUCH, -0.4, False, id="a tolerated loss"),
        pytest.param([-1.0] * 19, 0.0, False, id="too few questions to say"),
    ],
)
def test_a_shown_loss_beyond_the_margin_bars(differences: list[float], min_gain: float, is_barred: bool) -> None:
    assert bool(forgotten({"code": differences}, 0.005, min_gain)) is is_barred
