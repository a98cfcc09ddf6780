"""What generate and sample share: each takes a slice of staged tables."""

from collections.abc import Iterable, Mapping
from fractions import Fraction

from moaa.api import MoAA
from moaa.plan.digests import Document, Results, output_digest, output_rows
from moaa.plan.ids import STAGE_DATA
from moaa.plan.kinds.kind import Counts
from moaa.plan.slices import Slice, rows_taken, slice_rows, tables
from moaa.plan.stage import Kind, Stage

USER_TURNS = 1
"""UltraFeedback. Each user turn is answered; that later ones are asked with all turns before them is not counted."""


def slice_document(stage: Stage, resource: MoAA, results: Results) -> Document:
    """The rows a stage takes, as inputs."""
    return {
        "rows": [
            {
                "table": output_digest(results, STAGE_DATA, part.table),
                "offset": part.offset,
                "limit": part.limit,
                "reuse": part.reuse,
            }
            for part in slice_rows(resource, stage.kind, stage.iteration)
        ]
    }


def slice_length(stage: Stage, resource: MoAA, results: Results) -> int:
    """Rows a stage takes of the tables that are staged. Raises StageError: one is not."""
    return sum(
        rows_taken(part, output_rows(results, STAGE_DATA, part.table))
        for part in slice_rows(resource, stage.kind, stage.iteration)
    )


def expected_slice(kind: Kind, stage: Stage, resource: MoAA, counts: Counts) -> int | None:
    """Rows that `kind`, generate or sample, takes in the stage's iteration; None while a table's length is unknown."""
    return total(taken(part, counts) for part in slice_rows(resource, kind, stage.iteration))


def with_turns(rows: int, table: str, counts: Counts) -> int:
    """User turns of `rows` conversations of a table, by its mean; USER_TURNS each until stage-data has counted them."""
    if not counts.get(table) or turns_of(table) not in counts:
        return rows * USER_TURNS
    return round(Fraction(rows * counts[turns_of(table)], counts[table]))


def turns_of(table: str) -> str:
    """The key in `Counts`, and the metric of stage-data's manifest."""
    return f"{table}.turns"


def counted_turns(resource: MoAA, metrics: Mapping[str, float]) -> dict[str, int]:
    """The user turns that stage-data has counted, by their keys in `Counts`; `metrics` are its manifest's."""
    keys = [turns_of(table) for table, _ in tables(resource)]
    return {key: int(metrics[key]) for key in keys if key in metrics}


def taken(part: Slice, counts: Counts) -> int | None:
    """Rows of a slice. A table with fewer ends no slice early: it is read again, or the stage stops (`too_few`)."""
    return rows_taken(part, counts[part.table]) if part.table in counts else part.limit


def total(sizes: Iterable[int | None]) -> int | None:
    """The sum; None where a part is unknown."""
    rows = 0
    for size in sizes:
        if size is None:
            return None
        rows += size
    return rows
