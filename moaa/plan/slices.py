"""Names of stage-data's tables, and which of their rows an iteration takes.

`seed` has permuted every table once; iteration i takes the next disjoint `limit` rows of each source, sources one
after the other in the order of the resource.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from moaa.api import MoAA
from moaa.api.data import DataSource, FileSource
from moaa.api.evaluation import further_files
from moaa.errors import DataError
from moaa.plan.graph import benchmarks
from moaa.plan.stage import Kind

ANCHORED = "anchors"
"""The table of labelled pairs."""


@dataclass(frozen=True)
class Slice:
    """Rows `offset` up to `offset + limit` of one table.

    With `reuse` the table is read as a ring: row k stands for row k modulo its length. Without, a table that ends
    before the slice is full is an error of the stage that reads it.
    """

    table: str
    offset: int
    limit: int | None
    """None: from `offset` to the end."""
    reuse: bool


def tables(resource: MoAA) -> Iterator[tuple[str, DataSource]]:
    """Every table of stage-data with its source, in a fixed order."""
    data = resource.spec.data
    yield from ((f"sft-{k}", source) for k, source in enumerate(data.sft))
    yield from ((f"preference-{k}", source) for k, source in enumerate(data.preference))
    yield from ((f"eval-{benchmark.name}", benchmark) for benchmark in benchmarks(resource.spec))
    if resource.spec.anchors is not None and (labelled := resource.spec.anchors.table) is not None:
        yield ANCHORED, labelled


def pinned_sources(resource: MoAA) -> Iterator[tuple[str, FileSource]]:
    """All that resolve pins: the tables' sources, then benchmarks' further files as `eval-<benchmark>.<field>`."""
    yield from tables(resource)
    for benchmark in benchmarks(resource.spec):
        yield from ((further_name(benchmark.name, name), file) for name, file in further_files(benchmark).items())


def further_name(benchmark: str, field: str) -> str:
    """What a benchmark's further file is called among the pinned sources."""
    return f"eval-{benchmark}.{field}"


def slice_rows(resource: MoAA, kind: Kind, iteration: int) -> tuple[Slice, ...]:
    """What generate or sample reads in an iteration, in order.

    A source without `limit` is taken whole; a checked resource has those only with one iteration or with reuse.

    Raises:
        ValueError: another kind, or an iteration below 1.
    """
    if kind not in (Kind.GENERATE, Kind.SAMPLE) or iteration < 1:
        raise ValueError(f"{kind} of iteration {iteration} takes no slice; only generate and sample do, from 1 on")
    data = resource.spec.data
    prefix, sources = ("sft", data.sft) if kind is Kind.GENERATE else ("preference", data.preference)
    return tuple(
        Slice(f"{prefix}-{k}", (iteration - 1) * (source.limit or 0), source.limit, data.allow_reuse)
        for k, source in enumerate(sources)
    )


def field_of(table: str) -> str:
    """Where the resource declares a pinned source: `sft-0` is spec.data.sft[0]."""
    if table == ANCHORED:
        return "spec.anchors.source"
    group, _, rest = table.partition("-")
    return f"spec.evaluation, benchmark {rest.replace('.', ', ')}" if group == "eval" else f"spec.data.{group}[{rest}]"


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


def rows_taken(part: Slice, num_rows: int) -> int:
    """Rows a slice takes of a table with `num_rows`, also where `positions` would refuse."""
    return max(num_rows - part.offset, 0) if part.limit is None else part.limit
