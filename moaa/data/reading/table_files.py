"""Records of files with columns: Parquet, Arrow (a file or a stream, as `datasets` saves it), CSV and TSV."""

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from moaa.data.reading.bad_rows import BadRow, Why
from moaa.data.reading.records import Record, bad, bad_row, damaged
from moaa.data.reading.shapes import GIVE_COLUMNS, MAX_ROW_BYTES
from moaa.errors import DataError

BATCH_ROWS = 64
"""Rows in memory; with rows at their limit that is 64 MiB."""


def parquet_rows(path: Path, name: str, wanted: frozenset[str]) -> Iterator[Record | BadRow]:
    """Raises DataError: the file is not readable, or none of its columns is wanted."""
    try:
        with pq.ParquetFile(path) as file:
            known, unread = _columns(file.schema_arrow, name, wanted)
            batches = file.iter_batches(batch_size=BATCH_ROWS, columns=known, use_threads=False)
            yield from _rows(batches, name, unread)
    except (pa.ArrowException, OSError) as error:
        raise damaged(error, name, "Parquet") from error


def arrow_rows(path: Path, name: str, wanted: frozenset[str]) -> Iterator[Record | BadRow]:
    """Raises DataError: as `parquet_rows`."""
    try:
        with pa.memory_map(str(path)) as source:
            is_file = source.read(6) == b"ARROW1"
            source.seek(0)
            schema, batches = _batches(source, is_file=is_file)
            known, unread = _columns(schema, name, wanted)
            yield from _rows(_cut(batches, known), name, unread)
    except (pa.ArrowException, OSError) as error:
        raise damaged(error, name, "Arrow") from error


def _batches(source: pa.MemoryMappedFile, *, is_file: bool) -> tuple[pa.Schema, Iterable[pa.RecordBatch]]:
    if not is_file:
        stream = pa.ipc.open_stream(source)
        return stream.schema, stream
    file = pa.ipc.open_file(source)
    return file.schema, (file.get_batch(i) for i in range(file.num_record_batches))


def _cut(batches: Iterable[pa.RecordBatch], known: list[str]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        part = batch.select(known)
        for start in range(0, part.num_rows, BATCH_ROWS):
            yield part.slice(start, BATCH_ROWS)


def _columns(schema: pa.Schema, name: str, wanted: frozenset[str]) -> tuple[list[str], tuple[str, ...]]:
    """Columns to read and the others. One without a type holds nothing but nulls."""
    known = [column for column in schema.names if column in wanted]
    if not known:
        names = ", ".join(schema.names) or "nothing"
        raise bad(name, "columns", names, "none of them is read; " + GIVE_COLUMNS)
    if twice := next((column for column in known if known.count(column) > 1), None):
        raise bad(name, "columns", twice, "two columns have this name; rename one")
    others = (c for c in schema.names if c not in wanted and not pa.types.is_null(schema.field(c).type))
    return known, tuple(others)


def _rows(batches: Iterable[pa.RecordBatch], name: str, unread: tuple[str, ...]) -> Iterator[Record | BadRow]:
    row = 0
    for batch in batches:
        try:
            rows: list[dict[str, object]] | None = batch.to_pylist()
        except UnicodeDecodeError:
            rows = None  # one of them; it is found below
        for i in range(batch.num_rows):
            row += 1
            where = f"{name} row {row}"
            try:
                values = rows[i] if rows is not None else batch.slice(i, 1).to_pylist()[0]
            except UnicodeDecodeError as error:
                remedy = "a text column holds bytes that are not UTF-8; write it again as UTF-8"
                yield bad_row(where, Why.NOT_UTF8, "text", error.reason, remedy)
                continue
            yield Record(where, values, unread)


def csv_rows(file: IO[bytes], name: str, delimiter: str) -> Iterator[Record | BadRow]:
    """Rows under a line of column names; an empty cell counts as absent.

    Raises:
        DataError: the names are not usable, the file is not UTF-8, or a quotation is not closed.
    """
    csv.field_size_limit(4 * MAX_ROW_BYTES)
    text = io.TextIOWrapper(file, "utf-8-sig", newline="")
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        names = next(reader, [])
        if twice := next((column for column in names if names.count(column) > 1), None):
            raise bad(name, "columns", twice, "two columns have this name; rename one")
        for cells in reader:
            where = f"{name} line {reader.line_num}"
            if not cells:
                continue
            if len(cells) != len(names):
                remedy = f"the first line names {len(names)} columns; quote cells that hold {delimiter!r}"
                yield bad_row(where, Why.NOT_A_ROW, "row", f"{len(cells)} cells", remedy)
                continue
            yield Record(where, {column: cell or None for column, cell in zip(names, cells, strict=True)})
    except UnicodeDecodeError as error:
        found = bytes(error.object[error.start : error.start + 8]).hex(" ")
        raise bad(name, "text", f"bytes {found}", "not UTF-8; save the file as UTF-8") from error
    except csv.Error as error:
        raise DataError(
            f'{name} line {reader.line_num}: found {error}; quote cells as spreadsheets do: " around, "" within'
        ) from error
    finally:
        text.detach()  # the file is the caller's to close
