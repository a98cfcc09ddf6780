"""Rows of a table by their numbers: the right ones, from the objects that hold them and no others."""

import asyncio
import hashlib
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moaa.errors import StoreError
from moaa.plan.result import Output
from moaa.plan.stage import Kind
from moaa.store.stages.manifest import ObjectRef, StageManifest
from moaa.store.stages.stored_table import StoredTable
from moaa.store.stages.tables import TableRows, encode
from tests.store_helpers import MemoryStore

SCHEMA = pa.schema([pa.field("id", pa.string(), nullable=False)])
STARTED = datetime(2026, 11, 29, 12, tzinfo=UTC)


class Counting(MemoryStore):
    """Notes which objects are read whole."""

    def __init__(self) -> None:
        super().__init__()
        self.gets: list[str] = []

    async def get(self, key: str) -> bytes:
        self.gets.append(key)
        return await super().get(key)

    async def get_range(self, key: str, start: int, size_bytes: int) -> bytes:
        return self.objects[key][start : start + size_bytes]


def stored(store: MemoryStore, sizes: list[int], *, counted: int | None = None) -> StageManifest:
    """A stage whose table `texts` has so many rows in each of its objects, `0`, `1`, … in order."""
    refs, first = [], 0
    for k, size in enumerate(sizes):
        rows = [{"id": str(i)} for i in range(first, first + size)]
        body = encode(TableRows(rows, SCHEMA)).body
        asyncio.run(store.put(f"out/{k}.parquet", body))
        refs.append(ObjectRef(key=f"out/{k}.parquet", size_bytes=len(body), sha256=hashlib.sha256(body).hexdigest()))
        first += size
    return StageManifest(
        stage="i1-sample", kind=Kind.SAMPLE, iteration=1, run="r", inputs="1" * 64, fingerprint="2" * 64, attempt=1,
        document={}, outputs={"texts": Output(digest="3" * 64, rows=first if counted is None else counted)},
        tables={"texts": refs}, started=STARTED, finished=STARTED, seconds=1.0,
    )  # fmt: skip


def read(table: StoredTable, first: int, stop: int) -> list[int]:
    return [int(row["id"]) for row in asyncio.run(table.read(first, stop))]


@given(
    sizes=st.lists(st.integers(0, 4), max_size=12),
    wanted=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).map(sorted), max_size=4),
)
def test_any_rows_in_any_order(sizes: list[int], wanted: list[list[int]]) -> None:
    store = MemoryStore()
    table = StoredTable(store, stored(store, sizes), "texts")
    assert len(table) == sum(sizes)
    for first, stop in wanted:
        stop = min(stop, len(table))
        assert read(table, first, stop) == list(range(first, stop))


def test_only_the_objects_that_hold_the_rows_are_read_whole() -> None:
    store = Counting()
    table = StoredTable(store, stored(store, [3] * 40), "texts")
    assert read(table, 61, 65) == [61, 62, 63, 64]
    assert store.gets == ["out/20.parquet", "out/21.parquet"]


def test_objects_beside_each_other_are_read_once() -> None:
    store = Counting()
    table = StoredTable(store, stored(store, [100, 100]), "texts")
    assert [row for k in range(20) for row in read(table, 10 * k, 10 * k + 10)] == list(range(200))
    assert store.gets == ["out/0.parquet", "out/1.parquet"]


def test_damage_is_told_and_never_read() -> None:
    store = MemoryStore()
    manifest = stored(store, [2, 2])
    asyncio.run(store.put("out/1.parquet", encode(TableRows([{"id": "9"}, {"id": "8"}], SCHEMA)).body))
    table = StoredTable(store, manifest, "texts")
    assert read(table, 0, 2) == [0, 1]
    with pytest.raises(StoreError, match=r"out/1\.parquet: .* its manifest says"):
        read(table, 0, 4)


def test_fewer_rows_than_counted_are_told() -> None:
    store = MemoryStore()
    table = StoredTable(store, stored(store, [2, 2], counted=5), "texts")
    with pytest.raises(StoreError, match="i1-sample: table texts has 4 rows, and its manifest counts 5"):
        read(table, 0, 5)


def test_a_table_that_is_not_there_is_told() -> None:
    store = MemoryStore()
    with pytest.raises(StoreError, match="has no table 'pairs', only texts"):
        StoredTable(store, stored(store, [1]), "pairs")
