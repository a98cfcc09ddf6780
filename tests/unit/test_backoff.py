"""The one formula by which everything waits longer after each failure."""

import pytest

from moaa.backoff import backoff_s


@pytest.mark.parametrize(("nth", "expected"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 3.0), (5000, 3.0)])
def test_a_delay_doubles_up_to_its_bound(nth: int, expected: float) -> None:
    assert backoff_s(nth, first_s=0.5, max_s=3) == expected


def test_a_bound_far_away_is_no_overflow() -> None:
    assert backoff_s(100_000, first_s=1.0, max_s=1e300) == 2.0**30


def test_a_first_delay_above_the_bound_is_cut() -> None:
    assert backoff_s(1, first_s=10.0, max_s=3.0) == 3.0
