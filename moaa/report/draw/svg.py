"""The pieces charts are made of: text, lines, markers, legends and grids as SVG. All text is escaped here."""

from collections.abc import Sequence
from html import escape
from typing import Literal

from moaa.report.draw.axis import Scale, fit, text_width

NUM_SERIES = 7
Shape = Literal["circle", "square", "diamond"]


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


def room_for_ticks(left: float, right: float) -> int:
    """How many steps of a horizontal axis leave room for labels of some five characters."""
    return max(3, min(6, int((right - left) / 52)))


def legend_of(names: Sequence[str], series: Sequence[int], width: int) -> tuple[int, list[str]]:
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


def vertical_grid(x: Scale, top: float, bottom: float) -> list[str]:
    parts = [line_at(x(t), top, x(t), bottom, "grid") for t in x.ticks]
    return parts + [text_at(x(t), bottom + 16, x.label(t), anchor="middle", classes="muted") for t in x.ticks]


def horizontal_grid(y: Scale, left: float, right: float) -> list[str]:
    parts = [line_at(left, y(t), right, y(t), "grid") for t in y.ticks]
    return parts + [text_at(left - 8, y(t) + 4, y.label(t), anchor="end", classes="muted") for t in y.ticks]


def whisker(x1: float, y1: float, x2: float, y2: float, series: int) -> str:
    return line_at(x1, y1, x2, y2, f"whisker s{series % NUM_SERIES}")


def path_through(points: Sequence[tuple[float, float]], classes: str) -> str:
    moves = "L".join(f"{number(x)} {number(y)}" for x, y in points)
    return f'<path d="M{moves}" class="{classes}"/>'
