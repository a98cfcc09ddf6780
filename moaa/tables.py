"""Tables that fit the window: whole columns go, the least important first, and no number is cut."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Column, Table
from rich.text import Text

MARKS: Mapping[str, tuple[str, str]] = {
    "pending": ("·", "dim"),
    "queued": ("○", "yellow"),
    "running": ("●", "cyan"),
    "retrying": ("↻", "yellow"),
    "failed": ("✗", "red"),
    "done": ("✓", "green"),
    "reused": ("✓", "dim green"),
}
"""How a stage is shown by its status: sign and style."""


@dataclass
class Fitted:
    """A table that leaves out columns where it would be cut, and says which."""

    table: Table
    least: Sequence[str]
    """Headers of columns that may go, the least important first."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        kept, gone = list(self.table.columns), []
        for header in self.least:
            if _width(kept, self.table, console) <= options.max_width:
                break
            gone.append(header)
            kept = [column for column in kept if column.header != header]
        shown = copy.copy(self.table)
        shown.columns = [replace(column, _index=i) for i, column in enumerate(kept)]
        yield shown
        if gone:
            yield Text(f"left out, since the window is narrow: {', '.join(reversed(gone))}", style="dim")


def _width(columns: Sequence[Column], table: Table, console: Console) -> int:
    """Least width at which no word is cut, nor anything that must not be wrapped."""
    borders = len(columns) + 1 if table.box else 0
    return borders + sum(_cells(column, console) + 2 for column in columns)


def _cells(column: Column, console: Console) -> int:
    measured = [console.measure(cell) for cell in (column.header, *column.cells)]
    return max(m.maximum if column.no_wrap else m.minimum for m in measured)
