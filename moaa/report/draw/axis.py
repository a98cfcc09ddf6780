"""Scales and ticks of the charts, and how numbers are written on them. Pure arithmetic, no SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from unicodedata import east_asian_width

NICE_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
"""Mantissas that a reader can divide by in the head."""
SMALLEST_SPAN = 1e-9
"""Values closer than this count as one: a report shows nothing so small."""


@dataclass(frozen=True)
class Scale:
    """A straight line from values to pixels. `ticks` ascend and lie within the domain."""

    low: float
    high: float
    start_px: float
    end_px: float
    ticks: tuple[float, ...]

    def __call__(self, value: float) -> float:
        """Pixels of a value, clamped to the scale's ends."""
        share = (value - self.low) / (self.high - self.low)
        return self.start_px + min(max(share, 0.0), 1.0) * (self.end_px - self.start_px)

    def label(self, tick: float) -> str:
        """The tick as text, with as many decimals as the distance between ticks needs.

        All labels of a scale share one unit: 5000 is "5,000" where the scale ends at 8000, "5 k" where at 40000.
        """
        step = self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else abs(tick) or 1.0
        largest = max(abs(self.low), abs(self.high))
        for start, unit, suffix in ((1e9, 1e9, " G"), (1e6, 1e6, " M"), (1e4, 1e3, " k")):
            if largest >= start:
                return _decimal(tick / unit, step / unit) + (suffix if tick else "")
        return _decimal(tick, step)


def nice_step(span: float, count: int) -> float:
    """The smallest nice step that cuts `span` (> 0) into at most `count` parts: (1.0, 5) gives 0.2, (0.37, 5) 0.1."""
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    for mantissa in NICE_STEPS:
        if mantissa * power >= raw * (1 - 1e-9):
            return mantissa * power
    raise AssertionError("10 times the power is never below the raw step")


def make_scale(
    values: Sequence[float],
    start_px: float,
    end_px: float,
    *,
    count: int = 5,
    bounds: tuple[float, float] | None = None,
    is_snug: bool = False,
    min_span: float = 0.0,
) -> Scale:
    """A scale whose ends are ticks and that holds every finite value.

    `bounds` are the limits of the quantity; the scale never goes beyond them. Equal values get a span around them, so a
    single point stands in the middle. No values: 0 to 1. A snug scale ends at the outermost values instead of at ticks.
    `min_span` keeps differences that mean nothing from filling the chart.
    """
    known = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    low, high = min(known), max(known)
    if high - low < SMALLEST_SPAN:
        margin = 0.1 * abs(low) if abs(low) > SMALLEST_SPAN else 0.5
        low, high = low - margin, high + margin
    if high - low < min_span:
        low, high = (low + high - min_span) / 2, (low + high + min_span) / 2
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    step = nice_step(high - low, count)
    if is_snug:
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        return Scale(low, high, start_px, end_px, tuple(round(i * step, 12) for i in range(first, last + 1)))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(round(i * step, 12) for i in range(first, last + 1))
    return Scale(ticks[0], ticks[-1], start_px, end_px, ticks)


def _decimal(value: float, step: float) -> str:
    if step < 1e-4:
        return f"{value:.0e}" if value else "0"
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if abs(step * 10**decimals - round(step * 10**decimals)) > 1e-6:  # 0.25 needs one more than its power says
        decimals += 1
    text = f"{value:,.{decimals}f}"
    return text.replace("-", "−") if value else text.lstrip("-")


def text_width(text: str, size_px: float = 13.0) -> float:
    """Roughly how wide a sans-serif draws the text. Wide (CJK, emoji) characters count as a full em."""
    ems = sum(1.0 if east_asian_width(c) in "WF" else 0.3 if c in " .,:;'|il!" else 0.6 for c in text)
    return ems * size_px


def fit(text: str, width_px: float, size_px: float = 13.0) -> str:
    """The text, cut with an ellipsis where it would be wider than `width_px`."""
    if text_width(text, size_px) <= width_px:
        return text
    kept = text
    while kept and text_width(kept + "…", size_px) > width_px:
        kept = kept[:-1]
    return kept.rstrip() + "…"
