"""Which rows of a piece of a table pass a filter, column by column in Arrow: no row becomes a Python object for it.

A mask has one boolean a row. A column that the table does not have passes nothing, as a null does.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Mask = npt.NDArray[np.bool_]
Values = Any
"""A flat array. Arrow's stubs have no word for one whose type only the table knows."""
Test = Callable[[Values], Values]
"""From the flat values of a column to booleans, null where a value is null."""


def any_value(table: pa.Table, path: str, test: Test) -> Mask:
    """Rows of which any value under `path` passes: `text`, `messages.content`, `comparisons.criteria`."""
    rows, values = flat(table, path)
    return _rows_of(table, rows, test(values))


def flat(table: pa.Table, path: str) -> tuple[npt.NDArray[np.int64], Values]:
    """All values under a dotted path through lists and structs, and the row that each is in."""
    first, *rest = path.split(".")
    if first not in table.column_names:
        return np.zeros(0, dtype=np.int64), pa.nulls(0, pa.string())
    values = table.column(first).combine_chunks()
    rows, values = _opened(np.arange(table.num_rows, dtype=np.int64), values)
    for name in rest:
        rows, values = _opened(rows, pc.struct_field(values, name))
    return rows, values


def _opened(rows: npt.NDArray[np.int64], values: Values) -> tuple[npt.NDArray[np.int64], Values]:
    """Lists taken apart until there is none."""
    while pa.types.is_list(values.type):
        parents: Values = pc.list_parent_indices(values)
        rows = rows[parents.to_numpy()]
        values = pc.list_flatten(values)
    return rows, values


def holds(text: str) -> Test:
    """The value holds this text, in capitals or not."""
    return lambda values: pc.match_substring(values, text, ignore_case=True)


def equals(wanted: str | int) -> Test:
    return lambda values: pc.equal(values, pa.scalar(wanted))


def is_among(texts: Sequence[str]) -> Test:
    return lambda values: pc.is_in(values, value_set=pa.array(list(texts), pa.string()))


def longest(table: pa.Table, path: str) -> npt.NDArray[np.int64]:
    """Characters of each row's longest text under `path`; 0 without any."""
    rows, values = flat(table, path)
    lengths: Values = pc.fill_null(pc.utf8_length(values), pa.scalar(0, pa.int32()))
    found = np.zeros(table.num_rows, dtype=np.int64)
    np.maximum.at(found, rows, lengths.to_numpy(zero_copy_only=False))
    return found


def orders_differ(table: pa.Table) -> Mask:
    """Rows with a comparison that came out otherwise when the two answers were swapped."""
    return _differ(table, "comparisons.forward", "comparisons.backward")


def judges_differ(table: pa.Table) -> Mask:
    """Rows with a comparison in which two judges of a panel, each by both of its verdicts, chose different answers."""
    if "comparisons" not in table.column_names:
        return np.zeros(table.num_rows, dtype=bool)
    column: Values = table.column("comparisons")
    mask = [any(_is_split(found["votes"]) for found in row) for row in column.to_pylist()]
    return np.array(mask, dtype=bool)


def _is_split(votes: Sequence[Sequence[int | None]]) -> bool:
    return len({forward for forward, backward in votes if forward is not None and forward == backward}) > 1


def _differ(table: pa.Table, one: str, other: str) -> Mask:
    rows, left = flat(table, one)
    _, right = flat(table, other)
    return _rows_of(table, rows, pc.not_equal(left, right))


def _rows_of(table: pa.Table, rows: npt.NDArray[np.int64], passed: Values) -> Mask:
    """Rows of which any value passed; a null does not."""
    found = pc.fill_null(passed, False).to_numpy(zero_copy_only=False).astype(bool)
    mask = np.zeros(table.num_rows, dtype=bool)
    mask[rows[found]] = True
    return mask
