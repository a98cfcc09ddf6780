"""How far verdicts may be trusted: an interval of a proportion, agreement of judges, and how many votes they are worth.

Sources: Wilson 1927 (J. Am. Stat. Assoc. 22, 209-212); Krippendorff 2011, "Computing Krippendorff's
Alpha-Reliability"; Kish 1965, "Survey Sampling", §5.4 and §8.2 (design effect of correlated members).
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import combinations
from math import sqrt
from statistics import NormalDist

import numpy as np


def wilson(mean: float, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Ends of Wilson's score interval for a mean of `n` independent values in [0, 1].

    Exact in spirit for values 0 and 1. Values between vary less than these at the same mean, so the interval is then
    too wide rather than too narrow. Unlike one from the spread that was seen it never shrinks to a point: three right
    of three give 0.44 to 1.

    Raises:
        ValueError: `n` is below 1, or `mean` outside [0, 1].
    """
    if n < 1 or not 0 <= mean <= 1:
        raise ValueError(f"a mean of {mean} over {n} values: it must lie in [0, 1], over at least one")
    z2 = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    middle = (mean + z2 / (2 * n)) / (1 + z2 / n)
    half = sqrt(z2 * (mean * (1 - mean) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def krippendorff_alpha(units: Sequence[Sequence[Hashable | None]]) -> float | None:
    """Alpha for nominal values: 1 is agreement, 0 what chance gives. `units[i]` holds every coder's value of one thing;
    None: that coder gave none. None where nothing can be told: no unit has two values, or all values are one.
    """
    pairable = [[value for value in unit if value is not None] for unit in units]
    pairable = [values for values in pairable if len(values) > 1]
    totals = Counter(value for values in pairable for value in values)
    n = totals.total()
    expected = n * n - sum(count * count for count in totals.values())
    if not expected:
        return None
    observed = sum(
        (len(values) ** 2 - sum(count * count for count in Counter(values).values())) / (len(values) - 1)
        for values in pairable
    )
    return 1 - (n - 1) * observed / expected


def effective_votes(errors: Sequence[Sequence[float | None]]) -> float | None:
    """How many independent judges `errors`, one row a judge, are worth: n ÷ (1 + (n - 1) r), r being the mean
    correlation of two judges' errors over the pairs that both decided.

    Judges that err alike are one vote. A mean below 0 counts as 0: judges are worth no more than their number. A judge
    without an error, or with nothing else, correlates with nobody and is left out of r. None: fewer than two judges, or
    no two whose errors vary.

    Raises:
        ValueError: the rows have different lengths.
    """
    if len({len(row) for row in errors}) > 1:
        raise ValueError("errors: every judge needs an entry for every pair; write None where it has no verdict")
    values = np.array([[np.nan if one is None else one for one in row] for row in errors], dtype=np.float64)
    found = [r for a, b in combinations(range(len(errors)), 2) if (r := _correlation(values[a], values[b])) is not None]
    if not found:
        return None
    mean = max(0.0, float(np.mean(found)))
    return len(errors) / (1 + (len(errors) - 1) * mean)


def _correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    both = ~(np.isnan(one) | np.isnan(other))
    x, y = one[both], other[both]
    if x.size < 2 or not x.std() or not y.std():
        return None
    return float(np.corrcoef(x, y)[0, 1])
