"""How a stage that one worker does alone ends: shards published, manifest written."""

import platform
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from moaa.plan.stage import Output, StageJob, stage_path
from moaa.store.fencing import Token, claim
from moaa.store.manifest import ObjectRef, StageManifest
from moaa.store.shards import StageTotals, finalise, publish_shard, read_manifest, shard_name
from moaa.store.tables import TableRows
from moaa_jobs.context import Context

_SOFTWARE = ("moaa", "pyarrow", "numpy", "huggingface-hub", "boto3")


def path_of(job: StageJob) -> str:
    return stage_path(job.kind, job.inputs, job.fingerprint)


def versions() -> dict[str, str]:
    """Versions of what ran, as far as it is installed."""
    found = {"python": platform.python_version()}
    for name in _SOFTWARE:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


async def is_done(context: Context) -> bool:
    """True when the stage's manifest is there already; then there is nothing to do."""
    return await read_manifest(context.store, path_of(context.job)) is not None


async def publish(
    context: Context,
    shards: Iterator[Mapping[str, TableRows]],
    *,
    main_table: str,
    started: datetime,
    rows_in: int,
    metrics: Mapping[str, float] | None = None,
    models: Mapping[str, str] | None = None,
    licenses: Mapping[str, str] | None = None,
    outputs: Mapping[str, Output] | None = None,
    files: Mapping[str, list[ObjectRef]] | None = None,
) -> StageManifest:
    """Publish every shard, then the manifest. `shards` is read one at a time; all have the same tables.

    `rows_in` is what the stage read; `outputs` and `files` join those that follow from the tables.

    Raises:
        Fenced: a newer attempt has taken over.
    """
    job, store, path = context.job, context.store, path_of(context.job)
    names: list[str] = []
    for index, tables in enumerate(shards):
        names.append(shard_name(index))
        token: Token = await claim(store, path, names[-1])
        # Rows dropped on purpose (duplicates and the like) are metrics, not failures, so a shard's counts are trivial.
        await publish_shard(store, path, token, tables, main_table=main_table, rows_in=len(tables[main_table].rows))

    def build(totals: StageTotals) -> StageManifest:
        finished = datetime.now(UTC)
        return StageManifest(
            stage=job.stage,
            kind=job.kind,
            iteration=job.iteration,
            run=job.run,
            inputs=job.inputs,
            fingerprint=job.fingerprint,
            attempt=totals.attempt,
            document=job.document,
            outputs={**totals.outputs, **(outputs or {})},
            tables=totals.tables,
            files=dict(files or {}),
            rows_in=rows_in,
            models=dict(models or {}),
            licenses=dict(licenses or {}),
            metrics=dict(metrics or {}),
            started=started,
            finished=finished,
            seconds=(finished - started).total_seconds(),
            versions=versions(),
        )

    return await finalise(store, path, names, main_table=main_table, build=build)
