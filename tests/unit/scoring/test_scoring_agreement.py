"""An interval of a proportion, agreement and effective votes, against published and hand-made numbers."""

import pytest

from moaa.scoring.agreement import effective_votes, krippendorff_alpha, wilson

# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", example C: four observers, twelve units, gaps.
OBSERVERS = ("1233214 12...", "123322412 5.3", ".33323422 51.", "123324412 51.")


def example() -> list[list[str | None]]:
    rows = [[value for value in row if value != " "] for row in OBSERVERS]
    return [[None if value == "." else value for value in unit] for unit in zip(*rows, strict=True)]


def test_alpha_is_that_of_krippendorffs_worked_example() -> None:
    assert krippendorff_alpha(example()) == pytest.approx(0.743, abs=5e-4)


@pytest.mark.parametrize(
    ("units", "alpha"),
    [
        pytest.param([["A", "A"], ["B", "B"]], 1.0, id="agreement"),
        # 4 values, A and B twice each: D_o = 1, D_e = 2 * 2 * 2 / (4 * 3) = 2/3.
        pytest.param([["A", "B"], ["B", "A"]], -0.5, id="never alike"),
        pytest.param([["A", "A"], ["A", "A"]], None, id="nothing varies"),
        pytest.param([["A", None], [None, "B"]], None, id="nothing to compare"),
        pytest.param([], None, id="nothing"),
    ],
)
def test_alpha(units: list[list[str | None]], alpha: float | None) -> None:
    assert krippendorff_alpha(units) == (alpha if alpha is None else pytest.approx(alpha))


@pytest.mark.parametrize(
    ("mean", "n", "low", "high"),
    [
        # By Wilson's formula with z = 1.959964, worked by hand.
        (0.5, 10, 0.2366, 0.7634),
        (1.0, 3, 0.4385, 1.0),
        (0.7, 60, 0.5749, 0.8010),
        (0.0, 20, 0.0, 0.1611),
    ],
)
def test_wilsons_interval(mean: float, n: int, low: float, high: float) -> None:
    assert wilson(mean, n) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(("mean", "n"), [(0.5, 0), (1.1, 4), (-0.1, 4)])
def test_an_interval_of_nothing_is_refused(mean: float, n: int) -> None:
    with pytest.raises(ValueError, match="must lie in"):
        wilson(mean, n)


SAME = [0.0, 1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("errors", "votes"),
    [
        pytest.param([SAME, SAME, SAME], 1.0, id="three that err alike are one"),
        pytest.param([SAME, [0.0, 0.0, 1.0, 1.0]], 2.0, id="two that err apart are two"),
        pytest.param([SAME, [1.0, 0.0, 1.0, 0.0]], 2.0, id="opposites are worth no more than their number"),
        # r = 1 between the first two, 0 with the third: mean 1/3, so 3 / (1 + 2/3).
        pytest.param([SAME, SAME, [0.0, 0.0, 1.0, 1.0]], 1.8, id="twins and a third"),
        pytest.param([[*SAME, None], [*SAME, 1.0]], 1.0, id="without a verdict"),
        pytest.param([SAME, [0.0] * 4], None, id="one never errs"),
        pytest.param([SAME], None, id="one judge"),
        pytest.param([], None, id="none"),
    ],
)
def test_effective_votes(errors: list[list[float | None]], votes: float | None) -> None:
    assert effective_votes(errors) == (votes if votes is None else pytest.approx(votes))


def test_judges_are_compared_pair_by_pair() -> None:
    with pytest.raises(ValueError, match="an entry for every pair"):
        effective_votes([[0.0], [0.0, 1.0]])
