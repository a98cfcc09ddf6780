"""The exact tail of a binomial distribution: what a count says beyond chance. Pure."""

from math import exp, lgamma, log, log1p


def at_least(count: int, *, of: int, chance: float) -> float:
    """P(X ≥ count) of X successes in `of` tries of probability `chance` (0 < chance < 1); 1.0 without tries."""
    if count <= 0:
        return 1.0
    logs = (
        lgamma(of + 1) - lgamma(k + 1) - lgamma(of - k + 1) + k * log(chance) + (of - k) * log1p(-chance)
        for k in range(count, of + 1)
    )
    return min(1.0, sum(map(exp, logs)))
