"""The items of a stage, and where they come from.

A job of a million prompts holds those that it works on: items are made of stored rows when their shard is opened. What
is small, such as the questions of benchmarks, is listed.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from moaa.asking.asker import Asker

Rows = Mapping[str, Sequence[Mapping[str, Any]]]
"""What one item adds to each table."""
Row_co = TypeVar("Row_co", covariant=True)
Row = TypeVar("Row")


@dataclass(frozen=True)
class Item:
    """One unit of work. Items with the same `row` share ledger entries of equal calls."""

    row: str
    work: Callable[[Asker], Awaitable[Rows]]


class Items(Protocol):
    """Items in an order that depends on the stage's inputs only."""

    def __len__(self) -> int: ...

    async def read(self, first: int, stop: int) -> Sequence[Item]:
        """Items `first` up to `stop`. Raises StoreError, DataError: the rows that they are made of cannot be read."""
        ...


class Reader(Protocol[Row_co]):
    """Rows by their numbers, somewhere."""

    def __len__(self) -> int: ...

    async def read(self, first: int, stop: int) -> Sequence[Row_co]: ...


@dataclass(frozen=True)
class Listed:
    """All items, in memory."""

    items: Sequence[Item]

    def __len__(self) -> int:
        return len(self.items)

    async def read(self, first: int, stop: int) -> Sequence[Item]:
        return self.items[first:stop]


@dataclass(frozen=True)
class OfRows(Generic[Row]):
    """The same number of items of every row."""

    rows: Reader[Row]
    make: Callable[[Row], Sequence[Item]]
    per_row: int = 1

    def __len__(self) -> int:
        return len(self.rows) * self.per_row

    async def read(self, first: int, stop: int) -> Sequence[Item]:
        begin = first // self.per_row
        rows = await self.rows.read(begin, -(-stop // self.per_row))
        items = [item for row in rows for item in self.make(row)]
        return items[first - begin * self.per_row : stop - begin * self.per_row]


@dataclass(frozen=True)
class Chained:
    """Those of the parts, one part after the other."""

    parts: Sequence[Items]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    async def read(self, first: int, stop: int) -> Sequence[Item]:
        found: list[Item] = []
        for part in self.parts:
            if first < len(part) and stop > 0:
                found += await part.read(max(first, 0), min(stop, len(part)))
            first, stop = first - len(part), stop - len(part)
        return found
