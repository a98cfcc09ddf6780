"""Some rows of a large table, without the rest: Parquet read by row group and column.

Only the bytes that are needed leave the store, so one page of a table of a million rows costs as much as one of a small
one. Size is checked against the manifest; the digest is that of whole objects, which only `shards.read_object` reads.
"""

import asyncio
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import IO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from moaa.errors import StoreError
from moaa.store.objects.base import Store
from moaa.store.stages.manifest import ObjectRef

TAIL_BYTES = 256 * 1024
"""Read first from an object's end: nearly every footer is in it, and of many a small object all."""
GAP_BYTES = 256 * 1024
"""Columns closer than this are read in one piece."""
_LENGTH_BYTES = 8
"""After the footer: its length in four bytes, and a mark."""


@dataclass(frozen=True)
class Span:
    """Bytes of an object from `start` on."""

    start: int
    body: bytes


@dataclass(frozen=True)
class OpenPart:
    """One object of a table, and where its rows and columns lie."""

    ref: ObjectRef
    footer: pq.FileMetaData
    tail: Span
    """Bytes from its end, or all."""
    names: tuple[str, ...]
    """Its columns, in order."""

    @property
    def rows(self) -> int:
        return self.footer.num_rows

    @property
    def first_rows(self) -> list[int]:
        """Of every row group the number of its first row, from 0."""
        sizes = [self.footer.row_group(group).num_rows for group in range(self.footer.num_row_groups)]
        return [sum(sizes[:group]) for group in range(len(sizes))]


async def open_part(store: Store, ref: ObjectRef) -> OpenPart:
    """Raises StoreError: the object is missing, has another size than its manifest says, or is no Parquet file."""
    size = min(TAIL_BYTES, ref.size_bytes)
    tail = await store.get_range(ref.key, ref.size_bytes - size, size)
    wanted = int.from_bytes(tail[-_LENGTH_BYTES:-4], "little") + _LENGTH_BYTES
    if size < wanted <= ref.size_bytes:
        tail = await store.get_range(ref.key, ref.size_bytes - wanted, wanted)
    try:
        footer = pq.read_metadata(pa.BufferReader(tail))
        names = tuple(footer.schema.to_arrow_schema().names)
        return OpenPart(ref, footer, Span(ref.size_bytes - len(tail), tail), names)
    except (pa.ArrowInvalid, OSError) as error:
        raise StoreError(f"{store.uri}/{ref.key}: not a readable Parquet file ({error}); restore it") from error


async def read_group(store: Store, part: OpenPart, group: int, columns: Sequence[str]) -> pa.Table:
    """These columns of one row group. A column that the table does not have is not in the answer.

    Raises:
        StoreError: the object is missing or damaged.
    """
    known = set(part.names)
    present = [name for name in columns if name in known]
    pieces = _pieces(part.footer, group, present)
    spans = [part.tail]
    for start, end in pieces:
        if start < part.tail.start:
            spans.append(Span(start, await store.get_range(part.ref.key, start, end - start)))
    try:
        return await asyncio.to_thread(_decode, part, group, present, spans)
    except (pa.ArrowInvalid, OSError) as error:
        raise StoreError(f"{store.uri}/{part.ref.key}: rows cannot be read ({error}); restore it") from error


def _pieces(footer: pq.FileMetaData, group: int, columns: Iterable[str]) -> list[tuple[int, int]]:
    """First byte and end of what holds these columns, near ones joined."""
    wanted = set(columns)
    stored = footer.row_group(group)
    found: list[tuple[int, int]] = []
    for chunk in (stored.column(number) for number in range(stored.num_columns)):
        if chunk.path_in_schema.partition(".")[0] not in wanted:
            continue
        start = chunk.data_page_offset
        if chunk.has_dictionary_page and chunk.dictionary_page_offset is not None:
            start = chunk.dictionary_page_offset
        end = start + chunk.total_compressed_size
        if found and start - found[-1][1] <= GAP_BYTES:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _decode(part: OpenPart, group: int, columns: Sequence[str], spans: Sequence[Span]) -> pa.Table:
    # One thread: Arrow's own threads must not call a file of Python's, which may abort the interpreter as it ends.
    source = cast(IO[bytes], _Sparse(spans, part.ref.size_bytes))
    file = pq.ParquetFile(source, metadata=part.footer, pre_buffer=False)
    return file.read_row_group(group, columns=list(columns), use_threads=False)


class _Sparse(io.RawIOBase):
    """A file of which only some spans are here."""

    def __init__(self, spans: Sequence[Span], size_bytes: int) -> None:
        super().__init__()
        self._spans = spans
        self._size_bytes = size_bytes
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size_bytes}[whence]
        self._place = start + offset
        return self._place

    def read(self, size: int = -1, /) -> bytes:
        """Raises OSError: these bytes are not here."""
        size = size if size >= 0 else self._size_bytes - self._place
        for span in self._spans:
            inside = self._place - span.start
            if inside >= 0 and inside + size <= len(span.body):
                self._place += size
                return span.body[inside : inside + size]
        raise OSError(f"bytes {self._place} to {self._place + size} were not fetched")
