"""A finished stage's table, read where it is wanted: some rows at a time, whatever its length.

One object of it is in memory at most, as Arrow has it (a quarter of what Python's rows take). To find a row, objects
before it are counted by their footers, or by what was read of them; nothing after it is touched.
"""

import asyncio

import pyarrow as pa

from moaa.errors import StoreError
from moaa.store.objects.base import Store
from moaa.store.objects.tasks import map_bounded
from moaa.store.stages.manifest import ObjectRef, StageManifest
from moaa.store.stages.row_groups import open_part
from moaa.store.stages.shards import read_object, refs_of
from moaa.store.stages.tables import Row, decode_table

COUNTED_AT_ONCE = 8
"""Footers that are read side by side."""


class StoredTable:
    """Rows of a table by their numbers. For one reader at a time."""

    def __init__(self, store: Store, manifest: StageManifest, table: str) -> None:
        """Raises StoreError: the manifest has no such table."""
        self._store = store
        self._refs = refs_of(manifest, table)
        self._where = f"{manifest.stage}: table {table}"
        self._rows = manifest.outputs[table].rows
        self._firsts = [0]
        """Of each object that is counted the number of its first row, and the end of the last."""
        self._held: tuple[int, pa.Table] | None = None

    def __len__(self) -> int:
        return self._rows

    async def read(self, first: int, stop: int) -> list[Row]:
        """Rows `first` up to `stop`, each object checked against size and sha256.

        Raises:
            StoreError: an object is missing or differs, or all of them have fewer rows than their manifest counts.
        """
        rows: list[Row] = []
        while first < stop:
            part = await self._part_of(first)
            table = await self._table(part)
            start = first - self._firsts[part]
            end = min(stop - self._firsts[part], table.num_rows)
            rows += await asyncio.to_thread(table.slice(start, end - start).to_pylist)
            first += end - start
        return rows

    async def _part_of(self, row: int) -> int:
        """The object that holds a row."""
        while self._firsts[-1] <= row:
            counted = len(self._firsts) - 1
            ahead = self._refs[counted : counted + COUNTED_AT_ONCE]
            if not ahead:
                raise StoreError(f"{self._where} has {self._firsts[-1]} rows, and its manifest counts {self._rows}")
            for size in await map_bounded(ahead, self._count, at_once=COUNTED_AT_ONCE):
                self._firsts.append(self._firsts[-1] + size)
        return next(k for k in reversed(range(len(self._firsts) - 1)) if self._firsts[k] <= row)

    async def _count(self, ref: ObjectRef) -> int:
        return (await open_part(self._store, ref)).rows

    async def _table(self, part: int) -> pa.Table:
        if self._held is None or self._held[0] != part:
            self._held = None  # before the next one comes
            ref = self._refs[part]
            body = await read_object(self._store, ref)
            self._held = part, await asyncio.to_thread(decode_table, body, source=ref.key)
        return self._held[1]
