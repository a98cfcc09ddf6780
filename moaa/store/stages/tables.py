"""Rows to Parquet and back, and the digest that says what rows mean.

The digest is over the rows as a reader will see them (absent optional columns are None, a float column holds floats),
as canonical JSON lines; it does not change with the Parquet writer. Equal rows give equal bytes with one version of
pyarrow. pyarrow drops keys its schema does not know and fills missing ones with null; here both are errors.
"""

import hashlib
import io
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
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


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
    for index, row in enumerate(table.rows):
        for problem in _misfits(row, table.schema):
            raise ValueError(f"row {index} (id {row.get('id')!r}): {problem}")
    try:
        arrow = pa.Table.from_pylist([dict(row) for row in table.rows], schema=table.schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError) as error:
        raise ValueError(f"rows do not fit their schema: {error}") from error
    buffer = io.BytesIO()
    pq.write_table(arrow, buffer, compression="zstd", row_group_size=ROW_GROUP_ROWS)
    return Encoded(buffer.getvalue(), arrow.num_rows, rows_digest(arrow.to_pylist()))


def decode(body: bytes, *, source: str) -> list[Row]:
    """The rows of Parquet bytes; `source` names them in errors.

    Raises:
        StoreError: the bytes are no Parquet file.
    """
    try:
        rows: list[Row] = pq.read_table(io.BytesIO(body)).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise StoreError(
            f"{source}: not a readable Parquet file ({error}); remove the stage's folder to redo it"
        ) from error
    return rows


def _misfits(value: object, schema: "Iterable[pa.Field[Any]]", where: str = "") -> Iterable[str]:
    """What keeps one row, or one struct in it, from its schema."""
    if not isinstance(value, Mapping):
        yield f"{where or 'row'} must be an object, found {type(value).__name__}"
        return
    fields = {field.name: field for field in schema}
    for name in value.keys() - fields.keys():
        yield f"column {where}{name} is not in the schema ({', '.join(fields)})"
    for name, field in fields.items():
        yield from _value_misfits(value.get(name), field, f"{where}{name}")


def _value_misfits(value: object, field: "pa.Field[Any]", where: str) -> Iterable[str]:
    if value is None:
        if not field.nullable:
            yield f"column {where} is missing or null"
    elif pa.types.is_struct(field.type):
        yield from _misfits(value, field.type.fields, f"{where}.")
    elif pa.types.is_list(field.type):
        if not isinstance(value, Sequence) or isinstance(value, str):
            yield f"column {where} must be a list, found {type(value).__name__}"
            return
        for index, item in enumerate(value):
            yield from _value_misfits(item, field.type.value_field, f"{where}[{index}]")
