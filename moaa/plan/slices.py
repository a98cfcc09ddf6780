"""Names of the tables that stage-data writes, and which of their rows an iteration takes.

`seed` has permuted every table once; iteration i takes the next disjoint `limit` rows of each source, sources one
after the other in the order of the resource.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from moaa.api import MoAA
from moaa.api.data import DataSource
from moaa.plan.graph import benchmarks
from moaa.plan.stage import Kind


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
