"""Encoded rows as one Arrow file: written by the driver, mapped by the workers.

The file is not compressed, so that the workers of a machine share its pages instead of each holding every row.
"""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from moaa_jobs.training.rows.tokens import Encoded, EncodedPair

_IDS = pa.list_(pa.int32())
SFT_SCHEMA = pa.schema([("id", pa.string()), ("ids", _IDS), ("spans", _IDS)])
"""`spans` is flat: start, end, start, end, …"""
PAIR_SCHEMA = pa.schema([("id", pa.string()), ("prompt", _IDS), ("chosen", _IDS), ("rejected", _IDS)])


def sft_table(rows: Sequence[Encoded]) -> pa.Table:
    return pa.table(
        {
            "id": [row.id for row in rows],
            "ids": [row.ids for row in rows],
            "spans": [[edge for span in row.spans for edge in span] for row in rows],
        },
        schema=SFT_SCHEMA,
    )


def pair_table(rows: Sequence[EncodedPair]) -> pa.Table:
    return pa.table({name: [getattr(row, name) for row in rows] for name in PAIR_SCHEMA.names}, schema=PAIR_SCHEMA)


def to_bytes(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    with pa.ipc.new_file(buffer, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return buffer.getvalue()


def content_digest(table: pa.Table) -> str:
    """sha256 over the rows' ids and tokens; equal rows give equal digests whatever wrote them."""
    digest = hashlib.sha256()
    for row in table.to_pylist():
        digest.update(repr([row[name] for name in table.column_names]).encode())
    return digest.hexdigest()


def open_table(file: Path) -> pa.Table:
    """The rows, mapped: a row is read when it is looked at."""
    return pa.ipc.open_file(pa.memory_map(str(file))).read_all()


def row_lengths(table: pa.Table) -> list[int]:
    """Tokens of every row as trained: a conversation's, or both sequences of a pair."""
    if "ids" in table.column_names:
        return _lengths(table, "ids")
    prompt, chosen, rejected = (_lengths(table, name) for name in ("prompt", "chosen", "rejected"))
    return [2 * p + c + r for p, c, r in zip(prompt, chosen, rejected, strict=True)]


def row_widths(table: pa.Table) -> list[int]:
    """Tokens that a row's batch is at least padded to: a conversation's, or those of a pair's longer sequence."""
    if "ids" in table.column_names:
        return _lengths(table, "ids")
    prompt, chosen, rejected = (_lengths(table, name) for name in ("prompt", "chosen", "rejected"))
    return [p + max(c, r) for p, c, r in zip(prompt, chosen, rejected, strict=True)]


def _lengths(table: pa.Table, column: str) -> list[int]:
    import pyarrow.compute as pc

    lengths: list[int] = pc.list_value_length(table.column(column)).to_pylist()
    return lengths


def trained_labels(ids: Sequence[int], spans: Sequence[int], *, ignore: int = -100) -> list[int]:
    """Labels of a conversation: its tokens inside `spans` (flat), `ignore` elsewhere."""
    labels = [ignore] * len(ids)
    for start, end in zip(spans[::2], spans[1::2], strict=True):
        labels[start:end] = ids[start:end]
    return labels
