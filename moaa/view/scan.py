"""One page of a table: rows from a place on, all of them or those that are searched for.

A search looks at as many rows as it can within SEARCH_S, then says how far it came; the next page goes on from there.
So a page never takes long, however large the table is, and never claims to have looked where it has not.
"""

import asyncio
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from moaa.store.objects.base import Store
from moaa.store.objects.tasks import map_bounded
from moaa.store.stages.manifest import ObjectRef
from moaa.store.stages.row_groups import OpenPart, open_part, read_group
from moaa.view.filters import Query

ROWS = 50
"""Of a page."""
SEARCH_S = 0.4
AT_ONCE = 4
"""Parts that a search reads at the same time."""
Row = dict[str, Any]
Clock = Callable[[], float]


class Place(NamedTuple):
    """A row of a table: the number of its part, and its own in that part, from 0. In addresses a negative row counts
    from the part's end."""

    part: int
    row: int


@dataclass(frozen=True)
class Page:
    rows: tuple[tuple[Place, Row], ...]
    next: Place | None
    """Where to go on; None: this is the end of the table."""
    looked: int
    """Rows that were looked at to find these."""
    start: Place
    """Where it begins, the row counted from the part's start."""
    part_rows: int | None
    """Rows of the part that it begins in; None for an empty table."""


async def page(
    store: Store,
    parts: Mapping[int, ObjectRef],
    start: Place,
    columns: Sequence[str],
    query: Query,
    *,
    clock: Clock = time.monotonic,
) -> Page:
    """At most ROWS rows from `start` on.

    Raises:
        StoreError: an object is missing or damaged.
    """
    search = _Search(store, parts, columns, query, clock, clock() + SEARCH_S)
    numbers = [number for number in sorted(parts) if number >= start.part]
    at_once = AT_ONCE if query.conditions else 1
    found: list[tuple[Place, Row]] = []
    looked, first = 0, None
    for some in (numbers[i : i + at_once] for i in range(0, len(numbers), at_once)):
        places = [Place(number, start.row if number == start.part else 0) for number in some]
        for piece in await map_bounded(places, partial(_piece, search, want=ROWS - len(found)), at_once=at_once):
            first = first or piece
            kept = piece.rows[: ROWS - len(found)]
            found += kept
            if len(found) == ROWS:
                last = kept[-1][0]
                looked += last.row + 1 - piece.begin
                following = Place(last.part, last.row + 1)
                is_whole = following.row >= piece.part_rows
                return _page(found, _next_part(last.part, numbers) if is_whole else following, looked, start, first)
            looked += piece.looked
            if piece.stopped_at is not None:
                return _page(found, piece.stopped_at, looked, start, first)
        if query.conditions and clock() >= search.until:
            return _page(found, _next_part(some[-1], numbers), looked, start, first)
    return _page(found, None, looked, start, first)


async def row(store: Store, parts: Mapping[int, ObjectRef], place: Place) -> tuple[Row, Place | None] | None:
    """A whole row and the place of the one after it; None: the table has no such row. Raises StoreError."""
    if place.part not in parts or place.row < 0:
        return None
    part = await open_part(store, parts[place.part])
    if place.row >= part.rows:
        return None
    group = bisect_right(part.first_rows, place.row) - 1
    table = await read_group(store, part, group, part.names)
    found: Row = table.slice(place.row - part.first_rows[group], 1).to_pylist()[0]
    is_last = place.row + 1 == part.rows
    return found, _next_part(place.part, sorted(parts)) if is_last else Place(place.part, place.row + 1)


async def rows_with(
    store: Store, ref: ObjectRef, query: Query, columns: Sequence[str], *, limit: int
) -> list[tuple[int, Row]]:
    """Numbers and rows of one part that meet a query, at most `limit`, however long that takes. Raises StoreError."""
    search = _Search(store, {0: ref}, columns, query, lambda: 0.0, 1.0)
    return [(place.row, one) for place, one in (await _piece(search, Place(0, 0), limit)).rows]


@dataclass(frozen=True)
class _Search:
    store: Store
    parts: Mapping[int, ObjectRef]
    columns: Sequence[str]
    """Of the rows that are shown."""
    query: Query
    clock: Clock
    until: float


@dataclass(frozen=True)
class _Piece:
    """What one part gave."""

    rows: Sequence[tuple[Place, Row]]
    looked: int
    part_rows: int
    begin: int
    stopped_at: Place | None = None
    """Where it ran out of time."""


async def _piece(search: _Search, place: Place, want: int) -> _Piece:
    """At most `want` rows of one part, from a place on. At least one row group is looked at."""
    part = await open_part(search.store, search.parts[place.part])
    begin = max(0, part.rows + place.row) if place.row < 0 else min(place.row, part.rows)
    found: list[tuple[Place, Row]] = []
    end = begin
    for group, first in enumerate(part.first_rows):
        size = part.footer.row_group(group).num_rows
        if first + size <= begin:
            continue
        numbers = (await _passing(search, part, group, max(0, begin - first)))[: want - len(found)]
        if len(numbers):
            table = await read_group(search.store, part, group, search.columns)
            rows = await asyncio.to_thread(lambda t, n: t.take(n).to_pylist(), table, numbers)
            found += zip((Place(place.part, first + int(n)) for n in numbers), rows, strict=True)
        end = first + size
        if len(found) >= want:
            break
        if search.query.conditions and end < part.rows and search.clock() >= search.until:
            return _Piece(found, end - begin, part.rows, begin, Place(place.part, end))
    return _Piece(found, end - begin, part.rows, begin)


async def _passing(search: _Search, part: OpenPart, group: int, skipped: int) -> "np.ndarray[Any, Any]":
    """Numbers in a row group of the rows that meet the query, from `skipped` on."""
    if not search.query.conditions:
        return np.arange(skipped, part.footer.row_group(group).num_rows)
    table = await read_group(search.store, part, group, search.query.columns)
    mask = await asyncio.to_thread(search.query.mask, table)
    return np.flatnonzero(mask[skipped:]) + skipped


def _next_part(number: int, numbers: Sequence[int]) -> Place | None:
    following = bisect_right(numbers, number)
    return Place(numbers[following], 0) if following < len(numbers) else None


def _page(
    rows: Sequence[tuple[Place, Row]], following: Place | None, looked: int, start: Place, first: _Piece | None
) -> Page:
    begin = Place(start.part, first.begin if first else 0)
    return Page(tuple(rows), following, looked, begin, first.part_rows if first else None)
