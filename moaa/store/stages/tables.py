"""Rows to Parquet and back, and the digest that says what rows mean.

The digest is over the rows as a reader will see them (absent optional columns are None, a float column holds floats),
as canonical JSON lines; it does not change with the Parquet writer. Equal rows give equal bytes with one version of
pyarrow. pyarrow drops keys its schema does not know and fills missing ones with null; here both are errors.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from moaa.errors import StoreError

Row = dict[str, Any]

ROW_GROUP_ROWS = 4096
"""Fixed, so that equal rows give equal bytes; keeps a row group of long conversations to tens of MiB."""


@dataclass(frozen=True)
class Encoded:
    """A table as bytes, with what a shard manifest says of it."""

    body: bytes
    rows: int
    digest: str


@dataclass(frozen=True)
class TableRows:
    """Rows to be written, with their schema (`moaa.data.schemas`)."""

    rows: Sequence[Mapping[str, Any]]
    schema: pa.Schema


def canonical_json(value: object) -> str:
    """The one spelling of a JSON value: sorted keys, no spaces, no escapes beyond what JSON needs.

    Raises:
        ValueError: it holds NaN, an infinity or something JSON has no word for.
    """
    return _CANONICAL.encode(value)


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


class RowsDigest:
    """sha256 over rows as canonical JSON lines, fed piece by piece."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            self._hash.update(canonical_json(row).encode())
            self._hash.update(b"\n")

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def rows_digest(rows: Iterable[Mapping[str, Any]]) -> str:
    """Digest of rows in order, as `Output.digest` wants it. Feed it rows as `decode` returns them."""
    digest = RowsDigest()
    digest.update(rows)
    return digest.hexdigest()


def encode(table: TableRows) -> Encoded:
    """Parquet bytes of the rows, in their order.

    Raises:
        ValueError: a row does not fit the schema; the text names row, column and what was found.
    """
    columns = _columns(table.schema)
    for index, row in enumerate(table.rows):
        for problem in _misfits(row, columns):
            raise ValueError(f"row {index} (id {row.get('id')!r}): {problem}")
    try:
        arrow = pa.Table.from_pylist([dict(row) for row in table.rows], schema=table.schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError) as error:
        raise ValueError(f"rows do not fit their schema: {error}") from error
    buffer = pa.BufferOutputStream()
    pq.write_table(arrow, buffer, compression="zstd", row_group_size=ROW_GROUP_ROWS)
    return Encoded(buffer.getvalue().to_pybytes(), arrow.num_rows, rows_digest(arrow.to_pylist()))


def decode(body: bytes, *, source: str) -> list[Row]:
    """The rows of Parquet bytes; `source` names them in errors.

    Raises:
        StoreError: the bytes are no Parquet file.
    """
    rows: list[Row] = decode_table(body, source=source).to_pylist()
    return rows


def decode_table(body: bytes, *, source: str) -> pa.Table:
    """The same as Arrow has it.

    Raises:
        StoreError: the bytes are no Parquet file.
    """
    try:
        # Not a file of Python's: Arrow's own threads would call it, and CPython 3.11 ends a thread that wants the
        # interpreter while that shuts down, which C++ may answer with an abort.
        return pq.read_table(pa.BufferReader(body))
    except (pa.ArrowInvalid, OSError) as error:
        raise StoreError(
            f"{source}: not a readable Parquet file ({error}); remove the stage's folder to redo it"
        ) from error


@dataclass(frozen=True)
class _Field:
    """What is checked of a column or an item. Read once a table, since asking Arrow again for every value is slow."""

    is_nullable: bool
    item: "_Field | None" = None
    """Of a list."""
    columns: "Mapping[str, _Field] | None" = None
    """Of a struct."""


def _columns(fields: "Iterable[pa.Field[Any]]") -> Mapping[str, _Field]:
    return {field.name: _read(field) for field in fields}


def _read(field: "pa.Field[Any]") -> _Field:
    if pa.types.is_struct(field.type):
        return _Field(field.nullable, columns=_columns(field.type.fields))
    if pa.types.is_list(field.type):
        return _Field(field.nullable, item=_read(field.type.value_field))
    return _Field(field.nullable)


def _misfits(value: object, columns: Mapping[str, _Field], where: str = "") -> Iterable[str]:
    """What keeps one row, or one struct in it, from its schema."""
    if not isinstance(value, Mapping):
        yield f"{where or 'row'} must be an object, found {type(value).__name__}"
        return
    for name in value.keys() - columns.keys():
        yield f"column {where}{name} is not in the schema ({', '.join(columns)})"
    for name, field in columns.items():
        found = value.get(name)
        if found is None:
            if not field.is_nullable:
                yield f"column {where}{name} is missing or null"
        elif field.columns is not None or field.item is not None:
            yield from _nested_misfits(found, field, f"{where}{name}")


def _nested_misfits(value: object, field: _Field, where: str) -> Iterable[str]:
    """Of a struct or a list."""
    if field.columns is not None:
        yield from _misfits(value, field.columns, f"{where}.")
    elif field.item is not None:
        if not isinstance(value, Sequence) or isinstance(value, str):
            yield f"column {where} must be a list, found {type(value).__name__}"
            return
        for index, item in enumerate(value):
            if item is not None:
                yield from _nested_misfits(item, field.item, f"{where}[{index}]")
            elif not field.item.is_nullable:
                yield f"column {where}[{index}] is missing or null"
