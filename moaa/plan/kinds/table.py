"""Where kinds of stages are registered, and what follows from a kind alone."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import assert_never

from moaa.api import MoAA
from moaa.plan.digests import Results
from moaa.plan.kinds import anchors, average, dpo, evaluate, generate, judge, promote, resolve, sample, sft, stage_data
from moaa.plan.kinds.kind import Alone, OnRay, Sharded, StageKind
from moaa.plan.stage import Kind, Stage

_PARTS = (
    resolve,
    stage_data,
    generate,
    sft,
    sample,
    judge,
    dpo,
    average,
    evaluate,
    promote,
    anchors,
)
KINDS: Mapping[Kind, StageKind] = MappingProxyType({part.ROW.kind: part.ROW for part in _PARTS})
"""Every kind has its row here; a test says so."""

TRAINING = frozenset(kind for kind, row in KINDS.items() if isinstance(row.runs, OnRay))
"""Kinds that run on Ray Train workers."""
STUDENTS = TRAINING | {Kind.AVERAGE}
"""Kinds that write a student's weights."""


def rows_per_shard(kind: Kind) -> int:
    """Prompts of one shard. Raises ValueError: the kind has no shards."""
    match KINDS[kind].runs:
        case Sharded() as cut:
            return cut.rows_per_shard
        case Alone() | OnRay():
            raise ValueError(f"{kind}: is not cut into shards")
        case other:
            assert_never(other)


def shard_count(rows: int, per_shard: int) -> int:
    """ceil(rows ÷ per_shard), and one shard for no rows, so that an empty stage ends like any other."""
    return max(1, -(-rows // per_shard))


def shards_of(stage: Stage, resource: MoAA, results: Results) -> int | None:
    """Shards of a stage whose needs have results: the operator makes a pod for each. None where one worker does it all.

    A function of the resource and of the results before it alone, so that operator and jobs come to the same number
    without asking the store.

    Raises:
        StageError: a result that the stage reads is not there.
    """
    match KINDS[stage.kind].runs:
        case Sharded() as cut:
            return shard_count(cut.rows(stage, resource, results), cut.rows_per_shard)
        case Alone() | OnRay():
            return None
        case other:
            assert_never(other)
