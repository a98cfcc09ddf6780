"""How many shards a stage of model calls has: the operator makes one pod for each, its jobs agree on the cut.

A function of the resource and of the results before it alone, so that both sides come to the same number without
asking the store. Every number here is part of the format: another cut is another set of shard files.
"""

from collections.abc import Mapping
from types import MappingProxyType

from moaa.api import MoAA
from moaa.errors import StageError
from moaa.plan.graph import STAGE_DATA, benchmarks, stage_id
from moaa.plan.slices import rows_taken, slice_rows
from moaa.plan.stage import Kind, Stage, StageResult

ROWS_PER_SHARD: Mapping[Kind, int] = MappingProxyType(
    {
        Kind.GENERATE: 512,
        Kind.SAMPLE: 256,
        # A prompt costs about a hundred calls (docs/architecture.md, "Judging"), so shards are small.
        Kind.JUDGE: 64,
        # Prompts; each is asked of every subject that the stage measures.
        Kind.EVALUATE: 256,
    }
)
SHARDED = frozenset(ROWS_PER_SHARD)
"""Kinds that run as one pod a shard; the others are one worker's."""


def count(rows: int, rows_per_shard: int) -> int:
    """ceil(rows ÷ rows_per_shard), and one shard for no rows, so that an empty stage ends like any other."""
    return max(1, -(-rows // rows_per_shard))


def shards_of(stage: Stage, resource: MoAA, results: Mapping[str, StageResult]) -> int | None:
    """Shards of a stage whose needs have results; None for kinds that one worker does alone.

    Raises:
        StageError: a result that the stage reads is not there.
    """
    if stage.kind not in SHARDED:
        return None
    return count(_rows(stage, resource, results), ROWS_PER_SHARD[stage.kind])


def _rows(stage: Stage, resource: MoAA, results: Mapping[str, StageResult]) -> int:
    """Prompts of the stage. Subjects of an evaluation multiply its items and the size of its shards alike."""
    match stage.kind:
        case Kind.JUDGE:
            return _output(results, stage_id(stage.iteration, Kind.SAMPLE), "samples")
        case Kind.EVALUATE:
            return sum(_output(results, STAGE_DATA, f"eval-{b.name}") for b in benchmarks(resource.spec))
    return sum(
        rows_taken(part, _output(results, STAGE_DATA, part.table))
        for part in slice_rows(resource, stage.kind, stage.iteration)
    )


def _output(results: Mapping[str, StageResult], stage: str, output: str) -> int:
    result = results.get(stage)
    if result is None or output not in result.outputs:
        raise StageError(f"{stage}: its result holds no output {output!r}; its job is of another version than the plan")
    return result.outputs[output].rows
