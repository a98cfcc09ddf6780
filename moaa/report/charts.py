"""Charts as SVG text, drawn by plain functions: values in, one `<svg>` out, nothing read and nothing random.

Colours and fonts are the page's: elements carry classes (`s0` to `s6` for series, `axis`, `grid`, `muted`), so that light,
dark and print need no second drawing. Colour never stands alone: shapes, labels or the table beside a chart say the
same. Every chart has a title and a description for screen readers. All text is escaped here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from moaa.report.axis import Scale, fit, make_scale, text_width

NARROW_PX = 460
"""Below this width labels stand above their row and the number of ticks shrinks."""
NUM_SERIES = 7

Shape = Literal["circle", "square", "diamond"]


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


def number(value: float) -> str:
    """A coordinate: at most one decimal, so that files stay small and equal on every machine."""
    return f"{value:.1f}".rstrip("0").rstrip(".")


def text_at(x: float, y: float, text: str, *, anchor: str = "start", classes: str = "") -> str:
    style = f' class="{classes}"' if classes else ""
    position = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{number(x)}" y="{number(y)}"{position}{style}>{escape(text)}</text>'


def line_at(x1: float, y1: float, x2: float, y2: float, classes: str) -> str:
    return f'<line x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}" class="{classes}"/>'


def marker(x: float, y: float, *, series: int, shape: Shape, is_hollow: bool, hint: str = "") -> str:
    classes = f"dot s{series % NUM_SERIES}" + (" hollow" if is_hollow else "")
    title = f"<title>{escape(hint)}</title>" if hint else ""
    if shape == "circle":
        return f'<circle cx="{number(x)}" cy="{number(y)}" r="5.5" class="{classes}">{title}</circle>'
    if shape == "square":
        corner = f'x="{number(x - 5)}" y="{number(y - 5)}"'
        return f'<rect {corner} width="10" height="10" rx="1" class="{classes}">{title}</rect>'
    points = " ".join(f"{number(x + dx)},{number(y + dy)}" for dx, dy in ((0, -7), (7, 0), (0, 7), (-7, 0)))
    return f'<polygon points="{points}" class="{classes}">{title}</polygon>'


def frame(parts: Sequence[str], *, title: str, desc: str, width: int, height: float) -> str:
    """The `<svg>` around a chart's parts."""
    return (
        f'<svg viewBox="0 0 {width} {number(height)}" width="{width}" height="{number(height)}" role="img">'
        f"<title>{escape(title)}</title><desc>{escape(desc)}</desc>{''.join(parts)}</svg>"
    )


def interval_plot(
    dots: Sequence[Dot],
    *,
    title: str,
    desc: str,
    width: int,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    zero_label: str | None = None,
) -> str:
    """Values with their intervals, one row each. With `zero_label` a line marks 0: what lies on it is no change."""
    is_narrow = width < NARROW_PX
    pitch = 44 if is_narrow else 30
    label_px = 0.0 if is_narrow else min(0.38 * width, max((text_width(d.label) for d in dots), default=0) + 20)
    text_px = 0.0 if is_narrow else max((text_width(d.text, 12.5) for d in dots), default=0) + 14
    spread = [v for d in dots for v in (d.low, d.value, d.high) if v is not None]
    include = (0.0,) if zero_label is not None else ()
    top = 22.0 if zero_label else 8.0
    x = make_scale(
        spread, label_px + 8, width - text_px - 10, count=4 if is_narrow else 6, include=include, bounds=bounds
    )
    bottom = top + pitch * len(dots)
    parts = _vertical_grid(x, top, bottom)
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
            parts.append(_whisker(x(dot.low), y, x(dot.high), y, dot.series))
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
    bounds: tuple[float, float] | None = (0.0, 1.0),
    reference: tuple[float, str] | None = None,
) -> str:
    """Values of one quantity from step to step, with intervals; the line joins those that were kept.

    `reference` is a value to compare with and its name, drawn as a dashed line.
    """
    spread = [v for s in steps for v in (s.low, s.value, s.high) if v is not None]
    y = make_scale(spread, height - 46, 18, count=4, include=[reference[0]] if reference else [], bounds=bounds)
    left = max(text_width(y.label(t), 12) for t in y.ticks) + 12
    pitch = (width - left - 8) / max(len(steps), 1)
    parts = _horizontal_grid(y, left, width)
    if reference:
        parts.append(line_at(left, y(reference[0]), width, y(reference[0]), "reference"))
        above = y(reference[0]) - 5 if y(reference[0]) > 26 else y(reference[0]) + 14
        parts.append(text_at(width, above, reference[1], anchor="end", classes="muted small"))
    places = [(left + pitch * (i + 0.5), s) for i, s in enumerate(steps)]
    path = [(px, y(s.value)) for px, s in places if s.is_kept and s.value is not None]
    if len(path) > 1:
        parts.append(_path(path, "path kept"))
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
            parts.append(_whisker(px, y(s.low), px, y(s.high), s.series))
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
    zero_label: str | None = None,
) -> str:
    """Curves over a common axis, with their names above them."""
    rows, legend = _legend([line.label for line in lines], [line.series for line in lines], width)
    top = 12.0 + 20 * rows
    y = make_scale(
        [v for line in lines for _, v in line.points],
        height - 40,
        top,
        count=4,
        include=(0.0,) if zero_label is not None else (),
        bounds=bounds,
    )
    left = max(text_width(y.label(t), 12) for t in y.ticks) + 12
    x = make_scale([v for line in lines for v, _ in line.points], left, width - 14, count=4 if width < NARROW_PX else 6)
    parts = legend + _horizontal_grid(y, left, width)
    if zero_label is not None:
        parts.append(line_at(left, y(0), width, y(0), "zero"))
    for tick in x.ticks:
        parts.append(text_at(x(tick), height - 22, x.label(tick), anchor="middle", classes="muted"))
    parts.append(text_at(width, height - 5, x_label, anchor="end", classes="muted small"))
    for line in lines:
        points = [(x(px), y(py)) for px, py in line.points]
        if len(points) == 1:
            parts.append(marker(*points[0], series=line.series, shape="circle", is_hollow=False, hint=line.label))
        elif points:
            parts.append(_path(points, f"path s{line.series % NUM_SERIES}"))
    return frame(parts, title=title, desc=desc, width=width, height=height)


def stacked_bars(
    bars: Sequence[Bar], names: Sequence[str], *, title: str, desc: str, width: int, series: Sequence[int] | None = None
) -> str:
    """Bars cut into named parts, each bar drawn over the full width: the parts are shares of their own bar."""
    colours = list(series) if series is not None else list(range(len(names)))
    rows, legend = _legend(names, colours, width)
    is_narrow = width < NARROW_PX
    label_px = 0.0 if is_narrow else min(0.3 * width, max((text_width(b.label) for b in bars), default=0) + 14)
    text_px = 0.0 if is_narrow else max((text_width(b.text, 12.5) for b in bars), default=0) + 12
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


def _legend(names: Sequence[str], series: Sequence[int], width: int) -> tuple[int, list[str]]:
    """Swatches with names, wrapped to the width: the number of lines and the parts."""
    parts: list[str] = []
    x, row = 0.0, 0
    for name, colour in zip(names, series, strict=True):
        shown = fit(name, width - 30)
        room = 18 + text_width(shown, 12.5) + 14
        if x and x + room > width:
            x, row = 0.0, row + 1
        y = 12 + 20 * row
        parts.append(
            f'<rect x="{number(x)}" y="{number(y - 9)}" width="12" height="12" rx="2"'
            f' class="bar s{colour % NUM_SERIES}"/>'
        )
        parts.append(text_at(x + 18, y + 1.5, shown, classes="legend"))
        x += room
    return (row + 1 if names else 0), parts


def _vertical_grid(x: Scale, top: float, bottom: float) -> list[str]:
    parts = [line_at(x(t), top, x(t), bottom, "grid") for t in x.ticks]
    return parts + [text_at(x(t), bottom + 16, x.label(t), anchor="middle", classes="muted") for t in x.ticks]


def _horizontal_grid(y: Scale, left: float, right: float) -> list[str]:
    parts = [line_at(left, y(t), right, y(t), "grid") for t in y.ticks]
    return parts + [text_at(left - 8, y(t) + 4, y.label(t), anchor="end", classes="muted") for t in y.ticks]


def _whisker(x1: float, y1: float, x2: float, y2: float, series: int) -> str:
    return line_at(x1, y1, x2, y2, f"whisker s{series % NUM_SERIES}")


def _path(points: Sequence[tuple[float, float]], classes: str) -> str:
    moves = "L".join(f"{number(x)} {number(y)}" for x, y in points)
    return f'<path d="M{moves}" class="{classes}"/>'
