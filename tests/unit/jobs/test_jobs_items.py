"""Items are made of the rows of their shard: pieces of a stage are the stage, and no other row is read."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moaa.asking.asker import Asker
from moaa_jobs.runner.items import Chained, Item, Listed, OfRows, Rows

SIZES = st.lists(st.tuples(st.integers(0, 7), st.integers(1, 3)), max_size=4)


@dataclass
class Numbers:
    """Rows that note which of them were read."""

    first: int
    size: int
    seen: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return self.size

    async def read(self, first: int, stop: int) -> Sequence[int]:
        found = list(range(self.size))[first:stop]
        self.seen += found
        return [self.first + number for number in found]


def named(row: int, count: int) -> list[Item]:
    async def work(_asker: Asker) -> Rows:
        return {}

    return [Item(f"{row}/{k}", work) for k in range(count)]


@given(sizes=SIZES, per_shard=st.integers(1, 6))
async def test_shard_by_shard_every_item_comes_once_in_order(sizes: list[tuple[int, int]], per_shard: int) -> None:
    sources = [Numbers(100 * k, size) for k, (size, _) in enumerate(sizes)]
    items = Chained(
        [
            OfRows(source, partial(named, count=count), per_row=count)
            for source, (_, count) in zip(sources, sizes, strict=True)
        ]
    )
    expected = [
        f"{source.first + row}/{k}"
        for source, (_, count) in zip(sources, sizes, strict=True)
        for row in range(source.size)
        for k in range(count)
    ]
    assert len(items) == len(expected)
    found: list[Item] = []
    for first in range(0, len(items), per_shard):
        found += await items.read(first, min(first + per_shard, len(items)))
    assert [item.row for item in found] == expected


async def test_rows_of_other_shards_are_not_read() -> None:
    source, other = Numbers(0, 10), Numbers(100, 10)
    items = Chained([OfRows(source, lambda row: named(row, 2), per_row=2), OfRows(other, lambda row: named(row, 1))])
    assert [item.row for item in await items.read(7, 9)] == ["3/1", "4/0"]
    assert (source.seen, other.seen) == ([3, 4], [])


@pytest.mark.parametrize(("first", "stop", "rows"), [(0, 2, ["0/0", "0/1"]), (2, 9, ["0/2"]), (3, 3, [])])
async def test_listed_items(first: int, stop: int, rows: list[str]) -> None:
    assert [item.row for item in await Listed(named(0, 3)).read(first, stop)] == rows
