"""Charts as SVG text, drawn by plain functions: values in, one `<svg>` out, nothing read and nothing random.

Colours and fonts are the page's: elements carry classes (`s0` to `s6` for series, `grid`, `muted`), so that light, dark
and print need no second drawing. Colour never stands alone: shapes, labels or the table beside a chart say the same.
Every chart has a title and a description for screen readers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from moaa.report.draw.axis import fit, make_scale, text_width
from moaa.report.draw.svg import (
    NUM_SERIES,
    Shape,
    frame,
    horizontal_grid,
    legend_of,
    line_at,
    marker,
    number,
    path_through,
    room_for_ticks,
    text_at,
    vertical_grid,
    whisker,
)

NARROW_PX = 460
"""Below this width labels stand above their row and the number of ticks shrinks."""


@dataclass(frozen=True)
class Dot:
    """One row of an interval plot. `low` and `high` are None when there is no interval."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    text: str = ""
    """The value as it is written at the end of the row."""
    series: int = 0
    shape: Shape = "circle"
    is_hollow: bool = False


@dataclass(frozen=True)
class Step:
    """One place on the horizontal axis of a progress chart; None where nothing was measured."""

    label: str
    """Two lines are split by a line break."""
    value: float | None
    low: float | None = None
    high: float | None = None
    text: str = ""
    series: int = 0
    is_kept: bool = False
    """Filled and joined by the line; others are hollow."""


@dataclass(frozen=True)
class Line:
    label: str
    points: tuple[tuple[float, float], ...]
    series: int = 0


@dataclass(frozen=True)
class Bar:
    """One bar made of parts, in the order of the chart's legend."""

    label: str
    parts: tuple[float, ...]
    text: str = ""


def interval_plot(
    dots: Sequence[Dot],
    *,
    title: str,
    desc: str,
    width: int,
    bounds: tuple[float, float] | None = None,
    zero_label: str | None = None,
    min_span: float = 0.0,
) -> str:
    """Values with their intervals, one row each. With `zero_label` a line marks 0: what lies on it is no change."""
    is_narrow = width < NARROW_PX
    pitch = 44 if is_narrow else 30
    label_px = 0.0 if is_narrow else min(0.4 * width, max((text_width(d.label) for d in dots), default=0) + 20)
    text_px = 0.0 if is_narrow else max((text_width(d.text, 12.5) for d in dots), default=0) + 14
    spread = [v for d in dots for v in (d.low, d.value, d.high) if v is not None]
    spread += [0.0] if zero_label is not None or not dots else []
    margin = 0.06 * (max(spread) - min(spread))
    top = 22.0 if zero_label else 8.0
    left, right = label_px + 8, width - text_px - 12
    ends = [min(spread) - margin, max(spread) + margin]
    x = make_scale(ends, left, right, count=room_for_ticks(left, right), bounds=bounds, is_snug=True, min_span=min_span)
    bottom = top + pitch * len(dots)
    parts = vertical_grid(x, top, bottom)
    if zero_label is not None:
        anchor = "middle" if 0.15 < (x(0) - x.start_px) / (x.end_px - x.start_px) < 0.85 else "start"
        parts += [
            line_at(x(0), top - 4, x(0), bottom, "zero"),
            text_at(x(0), 12, zero_label, anchor=anchor, classes="muted small"),
        ]
    for i, dot in enumerate(dots):
        y = top + pitch * i + (30 if is_narrow else pitch / 2)
        if is_narrow:
            room = width - text_width(dot.text, 12.5) - 16
            parts.append(text_at(0, y - 14, fit(dot.label, room)))
            parts.append(text_at(width, y - 14, dot.text, anchor="end", classes="value"))
        else:
            parts.append(text_at(0, y + 4.5, fit(dot.label, label_px - 8)))
            parts.append(text_at(width, y + 4.5, dot.text, anchor="end", classes="value"))
        if dot.low is not None and dot.high is not None:
            parts.append(whisker(x(dot.low), y, x(dot.high), y, dot.series))
        hint = f"{dot.label}: {dot.text}"
        parts.append(marker(x(dot.value), y, series=dot.series, shape=dot.shape, is_hollow=dot.is_hollow, hint=hint))
    return frame(parts, title=title, desc=desc, width=width, height=bottom + 22)


def progress_chart(
    steps: Sequence[Step],
    *,
    title: str,
    desc: str,
    width: int,
    height: int = 250,
    bounds: tuple[float, float] | None = None,
    reference: tuple[float, str] | None = None,
    min_span: float = 0.0,
) -> str:
    """Values of one quantity from step to step, with intervals; the line joins those that were kept.

    `reference` is a value to compare with and its name, drawn as a dashed line.
    """
    spread = [v for s in steps for v in (s.low, s.value, s.high) if v is not None]
    spread += [reference[0]] if reference else []
    y = make_scale(spread, height - 46, 18, count=4, bounds=bounds, min_span=min_span)
    left = max(text_width(y.label(t), 12) for t in y.ticks) + 12
    pitch = (width - left - 8) / max(len(steps), 1)
    parts = horizontal_grid(y, left, width)
    if reference:
        parts.append(line_at(left, y(reference[0]), width, y(reference[0]), "reference"))
        above = y(reference[0]) - 5 if y(reference[0]) > 26 else y(reference[0]) + 14
        parts.append(text_at(left + 4, above, reference[1], classes="muted small"))
    places = [(left + pitch * (i + 0.5), s) for i, s in enumerate(steps)]
    path = [(px, y(s.value)) for px, s in places if s.is_kept and s.value is not None]
    if len(path) > 1:
        parts.append(path_through(path, f"path kept s{places[0][1].series % NUM_SERIES}"))
    widest = max((text_width(part, 12) for s in steps for part in s.label.split("\n")), default=1)
    every = max(1, -(-int(widest + 8) // max(int(pitch), 1)))
    shows_values = pitch > max((text_width(s.text, 12) for s in steps), default=0) + 6
    for i, (px, s) in enumerate(places):
        if i % every == 0:
            for n, part in enumerate(s.label.split("\n")):
                parts.append(text_at(px, height - 26 + 15 * n, part, anchor="middle", classes="muted" if n else ""))
        if s.value is None:
            parts.append(text_at(px, y(y.low) - 6, "not yet", anchor="middle", classes="muted small"))
            continue
        if s.low is not None and s.high is not None:
            parts.append(whisker(px, y(s.low), px, y(s.high), s.series))
        hint = f"{' '.join(s.label.split())}: {s.text}"
        parts.append(marker(px, y(s.value), series=s.series, shape="circle", is_hollow=not s.is_kept, hint=hint))
        if shows_values:
            parts.append(
                text_at(px, y(s.high if s.high is not None else s.value) - 9, s.text, anchor="middle", classes="value")
            )
    return frame(parts, title=title, desc=desc, width=width, height=height)


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    desc: str,
    width: int,
    height: int = 230,
    x_label: str,
    bounds: tuple[float, float] | None = None,
) -> str:
    """Curves over a common axis, with their names above them."""
    rows, legend = legend_of([line.label for line in lines], [line.series for line in lines], width)
    top = 12.0 + 20 * rows
    y = make_scale([v for line in lines for _, v in line.points], height - 40, top, count=4, bounds=bounds)
    left = max(text_width(y.label(t), 12) for t in y.ticks) + 12
    steps = [v for line in lines for v, _ in line.points]
    x = make_scale(steps, left, width - 14, count=room_for_ticks(left, width), is_snug=True)
    parts = legend + horizontal_grid(y, left, width)
    for tick in x.ticks:
        parts.append(text_at(x(tick), height - 22, x.label(tick), anchor="middle", classes="muted"))
    parts.append(text_at(width, height - 5, x_label, anchor="end", classes="muted small"))
    for line in lines:
        points = [(x(px), y(py)) for px, py in line.points]
        if len(points) == 1:
            parts.append(marker(*points[0], series=line.series, shape="circle", is_hollow=False, hint=line.label))
        elif points:
            parts.append(path_through(points, f"path s{line.series % NUM_SERIES}"))
    return frame(parts, title=title, desc=desc, width=width, height=height)


def stacked_bars(
    bars: Sequence[Bar], names: Sequence[str], *, title: str, desc: str, width: int, series: Sequence[int] | None = None
) -> str:
    """Bars cut into named parts, each bar drawn over the full width: the parts are shares of their own bar."""
    colours = list(series) if series is not None else list(range(len(names)))
    rows, legend = legend_of(names, colours, width)
    is_narrow = width < NARROW_PX
    label_px = 0.0 if is_narrow else min(0.3 * width, max((text_width(b.label) for b in bars), default=0) + 14)
    text_px = 0.0 if is_narrow else max((text_width(b.text, 12.5) for b in bars), default=0) + 16
    pitch, top = (50 if is_narrow else 34), 8.0 + 20 * rows
    room = width - label_px - text_px
    parts = list(legend)
    for i, bar in enumerate(bars):
        y = top + pitch * i + (20 if is_narrow else 4)
        label_y = y - 6 if is_narrow else y + 15.5
        parts.append(text_at(0, label_y, fit(bar.label, (width if is_narrow else label_px) - 8)))
        parts.append(text_at(width, label_y, bar.text, anchor="end", classes="value"))
        total, x = sum(bar.parts), label_px
        for name, colour, part in zip(names, colours, bar.parts, strict=True):
            if part <= 0:
                continue
            span = part / total * room
            share = f"{100 * part / total:.0f} %" if part / total >= 0.005 else "<1 %"
            parts.append(
                f'<rect x="{number(x)}" y="{number(y)}" width="{number(max(span - 1.5, 0.8))}" height="22" rx="2"'
                f' class="bar s{colour % NUM_SERIES}"><title>{escape(f"{bar.label}: {name} {share}")}</title></rect>'
            )
            if span > text_width(share, 12) + 8:
                parts.append(
                    text_at(x + span / 2, y + 15.5, share, anchor="middle", classes=f"on s{colour % NUM_SERIES}")
                )
            x += span
    return frame(parts, title=title, desc=desc, width=width, height=top + pitch * len(bars) + 4)
