"""Rows of an iteration: a `moaa.plan.slices.Slice` applied to a table's rows. Pure.

5 rows, limit 2: rows 0 1 | 2 3 | then an error, or with reuse 4 0 | 1 2 | ...
"""

from collections.abc import Sequence

from moaa.data.rows import PromptRow
from moaa.errors import DataError
from moaa.plan.slices import Slice


def field_of(table: str) -> str:
    """Where the resource declares a table's source: `sft-0` is spec.data.sft[0]."""
    group, _, rest = table.partition("-")
    return f"spec.evaluation, benchmark {rest}" if group == "eval" else f"spec.data.{group}[{rest}]"


def positions(part: Slice, num_rows: int) -> range:
    """Positions a slice takes; with reuse they run past the end and position p stands for row p mod `num_rows`.

    Raises:
        DataError: the table has no rows, or too few.
    """
    field = field_of(part.table)
    if not num_rows:
        raise DataError(f"{field}: no row is left after deduplication and decontamination; give other data")
    end = max(num_rows, part.offset) if part.limit is None else part.offset + part.limit
    if end > num_rows and not part.reuse:
        raise DataError(
            f"{field}.limit: {part.limit} rows from row {part.offset} on are needed, and there are {num_rows} after "
            "deduplication and decontamination; lower limit or iterations, add data, or set spec.data.allowReuse: true"
        )
    return range(part.offset, end)


def take(table: Sequence[PromptRow], part: Slice) -> list[PromptRow]:
    """The rows of a slice, in order.

    A row that comes again within the slice (reuse) gets the id `<id>#2`, `<id>#3`, ..., so that ids stay unique and its
    second answer is sampled anew.

    Raises:
        DataError: as `positions`.
    """
    taken: list[PromptRow] = []
    for i, position in enumerate(positions(part, len(table))):
        row = table[position % len(table)]
        again = i // len(table) + 1
        row_id = row["id"] if again == 1 else f"{row['id']}#{again}"
        taken.append(PromptRow(id=row_id, messages=row["messages"], answer=row["answer"]))
    return taken
