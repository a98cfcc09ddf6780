"""What a job reads of the stages before it."""

from collections.abc import Sequence
from typing import cast

from moaa.contract.job import StageJob
from moaa.data.slices import take
from moaa.errors import StageError
from moaa.plan.ids import STAGE_DATA
from moaa.plan.slices import slice_rows
from moaa.plan.stage import Kind, Stage
from moaa.rows import PromptRow
from moaa.store.stages.manifest import StageManifest
from moaa.store.stages.shards import read_manifest, read_table
from moaa.store.stages.tables import Row
from moaa_jobs.runner.context import Context


def stage_of(job: StageJob) -> Stage:
    """The graph's node, as far as the job file carries it."""
    return Stage(
        id=job.stage,
        kind=job.kind,
        iteration=job.iteration,
        serves=job.serves,
        student=job.student,
        ref_model=job.ref_model,
        candidates=job.candidates,
    )


async def manifest_of(context: Context, stage: str) -> StageManifest:
    """The manifest of a finished stage. Raises StageError: it is not among the job's results, or vanished."""
    result = context.job.results.get(stage)
    manifest = None if result is None else await read_manifest(context.store, result.path)
    if manifest is None:
        raise StageError(f"{context.job.stage}: reads {stage}, whose manifest is not there; run that stage again")
    return manifest


async def rows_of(context: Context, stage: str, table: str) -> list[Row]:
    """All rows of a finished stage's table."""
    return await read_table(context.store, await manifest_of(context, stage), table)


async def read_slices(context: Context, kind: Kind) -> list[Sequence[PromptRow]]:
    """The prompts an iteration takes, one list for each source of the resource.

    Raises:
        DataError: a source has too few rows for this iteration.
    """
    manifest = await manifest_of(context, STAGE_DATA)
    slices = slice_rows(context.resource, kind, context.job.iteration)
    return [
        take(cast("list[PromptRow]", await read_table(context.store, manifest, part.table)), part) for part in slices
    ]
