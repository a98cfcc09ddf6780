"""The end of a stage with one worker: publish its shards, then write the manifest."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from moaa.contract.job import StageJob
from moaa.plan.result import Output, stage_path
from moaa.store.fencing import claim
from moaa.store.stages.manifest import ObjectRef, StageManifest
from moaa.store.stages.shards import StageTotals, finalise, publish_shard, read_manifest, shard_name
from moaa.store.stages.tables import TableRows
from moaa_jobs.runner.context import Context
from moaa_jobs.runner.manifest import build_manifest, licenses


def path_of(job: StageJob) -> str:
    return stage_path(job.kind, job.inputs, job.fingerprint)


async def finished(context: Context) -> StageManifest | None:
    """The stage's manifest when it is there already; then there is nothing to do."""
    return await read_manifest(context.store, path_of(context.job))


async def publish(
    context: Context,
    shards: Iterator[Mapping[str, TableRows]],
    *,
    main_table: str,
    started: datetime,
    rows_in: int,
    failures: Mapping[str, int] | None = None,
    examples: Mapping[str, str] | None = None,
    metrics: Mapping[str, float] | None = None,
    models: Mapping[str, str] | None = None,
    outputs: Mapping[str, Output] | None = None,
    files: Mapping[str, list[ObjectRef]] | None = None,
    decision: str = "",
    warnings: Sequence[str] = (),
) -> StageManifest:
    """Publish every shard, then the manifest. `shards` is read one at a time, in a thread; all have the same tables.

    `rows_in` is what the stage read; `outputs` and `files` join those that follow from the tables.

    Raises:
        Fenced: a newer attempt has taken over.
    """
    job, store, path = context.job, context.store, path_of(context.job)
    names: list[str] = []
    begun = started
    while (tables := await asyncio.to_thread(next, shards, None)) is not None:
        names.append(shard_name(len(names)))
        token = await claim(store, path, names[-1])
        # What was dropped before is in the stage's failures and metrics, so a shard's counts are trivial.
        rows, seconds = len(tables[main_table].rows), (datetime.now(UTC) - begun).total_seconds()
        await publish_shard(
            store, path, token, tables, main_table=main_table, rows_in=rows, started=begun, seconds=seconds
        )
        begun = datetime.now(UTC)

    def build(totals: StageTotals) -> StageManifest:
        manifest = build_manifest(
            job,
            context.resource,
            attempt=totals.attempt,
            outputs={**totals.outputs, **(outputs or {})},
            tables=totals.tables,
            files=files,
            rows_in=rows_in,
            failures=failures,
            examples=examples,
            models=models,
            metrics=metrics,
            decision=decision,
            warnings=warnings,
            started=started,
            seconds=(datetime.now(UTC) - started).total_seconds(),
        )
        return manifest if models is None else manifest.with_(licenses=licenses(context.resource, models))

    return await finalise(store, path, names, main_table=main_table, build=build)
