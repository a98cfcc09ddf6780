"""How long to wait between two tries. Pure. The caller adds jitter: it knows what must not come back together."""

MOST_DOUBLINGS = 30
"""Doublings of a delay with a far bound; a float would overflow after a thousand."""


def backoff_s(nth: int, *, first_s: float, max_s: float) -> float:
    """Seconds to wait after the `nth` failure in a row, from 1: `first_s`, doubled each time, up to `max_s`.

    >>> [backoff_s(nth, first_s=0.5, max_s=3) for nth in (1, 2, 3, 4, 5000)]
    [0.5, 1.0, 2.0, 3.0, 3.0]
    """
    return float(min(first_s * 2.0 ** min(nth - 1, MOST_DOUBLINGS), max_s))
