"""What changed about the answers beside their scores: named in a decision, never deciding it. Pure.

A student that is promoted while its answers grow, refuse more or loop more may have learned the measure's weakness.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean
from typing import assert_never

from moaa.rows import ScoreRow


class Sign(StrEnum):
    LENGTH = "length"
    """Characters of an answer."""
    REFUSALS = "refused"
    """Part of the answers that refuse."""
    REPETITION = "repeated"
    """Part of an answer's runs of four words that it has written before."""


BOUNDS: Mapping[Sign, float] = {Sign.LENGTH: 1.25, Sign.REFUSALS: 0.02, Sign.REPETITION: 0.05}
"""What is named beyond: of the length the ratio, of the others the difference. Asked to be verbose, models write from
half as much again to twice as much (arXiv 2404.04475), and students of one training seldom differ by a tenth."""


@dataclass(frozen=True)
class Drift:
    benchmark: str
    sign: Sign
    before: float
    after: float
    """Means over the questions that both students have the sign for."""


Signs = Mapping[Sign, float]
"""Of one question's answers, mean over samples; signs that are not known are left out."""


def signs_of(row: ScoreRow) -> Signs:
    """A row of an earlier release has no sign but the length."""
    known = {Sign.LENGTH: row["length"], Sign.REFUSALS: row.get("refused"), Sign.REPETITION: row.get("repeated")}
    return {sign: value for sign, value in known.items() if value is not None}


def drifts(benchmark: str, before: Sequence[Signs], after: Sequence[Signs]) -> Iterator[Drift]:
    """Signs that changed beyond their bound; `before[i]` and `after[i]` are of one question."""
    for sign in Sign:
        pairs = [(old[sign], new[sign]) for old, new in zip(before, after, strict=True) if sign in old and sign in new]
        if not pairs:
            continue
        old, new = map(fmean, zip(*pairs, strict=True))
        if new > (old * BOUNDS[sign] if sign is Sign.LENGTH else old + BOUNDS[sign]):
            yield Drift(benchmark, sign, old, new)


def drift_text(drift: Drift) -> str:
    """`answers on arena grew from 1,200 to 1,900 characters`, `refusals on m rose from 0.4 to 3.1 %`."""
    match drift.sign:
        case Sign.LENGTH:
            return f"answers on {drift.benchmark} grew from {drift.before:,.0f} to {drift.after:,.0f} characters"
        case Sign.REFUSALS:
            return f"refusals on {drift.benchmark} rose from {100 * drift.before:.1f} to {100 * drift.after:.1f} %"
        case Sign.REPETITION:
            return f"repetition on {drift.benchmark} rose from {100 * drift.before:.1f} to {100 * drift.after:.1f} %"
        case other:
            assert_never(other)
