"""Rows of an iteration: a `moaa.plan.slices.Slice` applied to a table's rows. Pure.

5 rows, limit 2: rows 0 1 | 2 3 | then an error, or with reuse 4 0 | 1 2 | ...
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from moaa.plan.slices import Slice, positions
from moaa.rows import PromptRow


@dataclass(frozen=True)
class Stretch:
    """Rows of a table that a slice takes one after the other."""

    first: int
    stop: int
    again: int
    """1; 2 where the slice takes them for the second time, and so on."""


def stretches(part: Slice, num_rows: int, first: int, stop: int) -> Iterator[Stretch]:
    """What the rows `first` up to `stop` of a slice are in a table of `num_rows`.

    Raises:
        DataError: as `positions`.
    """
    taken = positions(part, num_rows)
    i, end = first, min(stop, len(taken))
    while i < end:
        row = (taken.start + i) % num_rows
        length = min(end - i, num_rows - row, num_rows - i % num_rows)
        yield Stretch(row, row + length, i // num_rows + 1)
        i += length


def named(row: PromptRow, again: int) -> PromptRow:
    """A row that comes again within a slice (reuse) has the id `<id>#2`, `<id>#3`, …, so that ids stay unique and its
    second answer is a new sample."""
    row_id = row["id"] if again == 1 else f"{row['id']}#{again}"
    return PromptRow(id=row_id, messages=row["messages"], answer=row["answer"])


def take(table: Sequence[PromptRow], part: Slice, first: int = 0, stop: int = sys.maxsize) -> list[PromptRow]:
    """The rows `first` up to `stop` of a slice, of a table that is in memory.

    Raises:
        DataError: as `positions`.
    """
    found = stretches(part, len(table), first, stop)
    return [named(row, stretch.again) for stretch in found for row in table[stretch.first : stretch.stop]]
