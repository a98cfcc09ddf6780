"""Rows of an iteration: a `moaa.plan.slices.Slice` applied to a table's rows. Pure.

5 rows, limit 2: rows 0 1 | 2 3 | then an error, or with reuse 4 0 | 1 2 | ...
"""

from collections.abc import Sequence

from moaa.plan.slices import Slice, positions
from moaa.rows import PromptRow


def take(table: Sequence[PromptRow], part: Slice) -> list[PromptRow]:
    """The rows of a slice, in order.

    A row that comes again within the slice (reuse) gets the id `<id>#2`, `<id>#3`, ..., so that ids stay unique and its
    second answer is a new sample.

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
