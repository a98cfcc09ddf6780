"""What a job reads of the stages before it."""

from dataclasses import dataclass
from typing import cast

from moaa.contract.job import StageJob
from moaa.data.slices import named, stretches
from moaa.errors import StageError
from moaa.plan.ids import STAGE_DATA
from moaa.plan.slices import Slice, positions, slice_rows
from moaa.plan.stage import Kind, Stage
from moaa.rows import PromptRow
from moaa.store.stages.manifest import StageManifest
from moaa.store.stages.shards import read_manifest, read_table
from moaa.store.stages.stored_table import StoredTable
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


async def table_of(context: Context, stage: str, table: str) -> StoredTable:
    """A finished stage's table, to be read as it is needed. Raises StoreError: it has no such table."""
    return StoredTable(context.store, await manifest_of(context, stage), table)


@dataclass(frozen=True)
class Taken:
    """The prompts that a slice takes of a table, in order."""

    table: StoredTable
    part: Slice

    def __len__(self) -> int:
        return len(positions(self.part, len(self.table)))

    async def read(self, first: int, stop: int) -> list[PromptRow]:
        """Prompts `first` up to `stop` of the slice. Raises StoreError: as `StoredTable.read`."""
        rows: list[PromptRow] = []
        for found in stretches(self.part, len(self.table), first, stop):
            read = cast("list[PromptRow]", await self.table.read(found.first, found.stop))
            rows += [named(row, found.again) for row in read]
        return rows


async def slices_of(context: Context, kind: Kind) -> list[Taken]:
    """The prompts an iteration takes, of each source of the resource.

    Raises:
        DataError: a source has too few rows for this iteration.
    """
    manifest = await manifest_of(context, STAGE_DATA)
    parts = slice_rows(context.resource, kind, context.job.iteration)
    taken = [Taken(StoredTable(context.store, manifest, part.table), part) for part in parts]
    for one in taken:
        positions(one.part, len(one.table))
    return taken
