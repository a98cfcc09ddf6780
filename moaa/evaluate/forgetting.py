"""What a student forgets: a loss on a benchmark that no judge scores bars it, whatever it gains elsewhere. Pure.

The paper's Llama student lost 13 points of HumanEval (Table 12) while every judge preferred its answers.
"""

from collections.abc import Mapping, Sequence

from moaa.evaluate.bounds import bounded
from moaa.evaluate.statistics import Estimate

MARGIN = 0.03
"""Points of score that a student may lose on an objective benchmark; more where `minGain` tolerates more."""
SHOWN = 0.05
"""A loss that chance alone brings about more often than this bars nobody. So a benchmark with few questions seldom bars
a student that has lost nothing there, and still bars one that has lost much."""


def forgotten(differences: Mapping[str, Sequence[float]], level: float, min_gain: float) -> dict[str, Estimate]:
    """Benchmarks on which a student forgets, each with its mean difference and that one's bounds at `level`.

    It does where a loss is shown (the upper bound, passed by chance with probability SHOWN, is below 0) and it is not
    shown to stay within the margin (the lower bound, passed with probability `level`, is at or below -MARGIN): a
    non-inferiority test that asks nothing of a student without a visible loss.

    Raises:
        ValueError: a benchmark has no question.
    Source: non-inferiority margins as in CONSORT's extension (Piaggio et al. 2012, doi 10.1001/jama.2012.87802).
    """
    margin = max(MARGIN, -min_gain)
    found = {}
    for name, values in differences.items():
        loss, shown = bounded([values], level), bounded([values], SHOWN).high
        if shown is not None and shown < 0 and loss.low is not None and loss.low <= -margin:
            found[name] = loss
    return found


def loss_text(benchmark: str, loss: Estimate) -> str:
    """`forgets: -6.0 points on code, -9.1 at worst`."""
    assert loss.low is not None, "a loss that bars has bounds"
    return f"forgets: {100 * loss.mean:+.1f} points on {benchmark}, {100 * loss.low:+.1f} at worst"
