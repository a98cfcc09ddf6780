"""average: the mean of the weights before and after an iteration's training (`moaa.weights.average`)."""

import asyncio
import logging
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

from moaa.contract.job import StageJob
from moaa.store.fencing import claim
from moaa.store.stages.folders import publish_folder
from moaa.store.stages.shards import write_manifest
from moaa.weights.average import average
from moaa.weights.find import MODEL
from moaa_jobs.runner.context import Context
from moaa_jobs.runner.manifest import build_manifest
from moaa_jobs.runner.one_worker import finished, path_of
from moaa_jobs.training.shared import weights

logger = logging.getLogger(__name__)

SHARD = "average"
"""The stage's one shard: through its fencing token an earlier attempt that still runs loses."""


async def run(job: StageJob, context: Context) -> None:
    """Writes the folder `model`; the manifest's metric `distance` says how far training moved the weights.

    Raises:
        DataError: the two models cannot be averaged, or one cannot be had.
        Fenced: a later attempt has taken over.
        StoreError: a transfer failed.
    """
    if await finished(context) is not None:
        return
    started, begun = datetime.now(UTC), time.monotonic()
    share = context.resource.spec.training.average
    assert share is not None, "the graph has the stage only where there is a share"
    token = await claim(context.store, path_of(job), SHARD)
    target = context.work_dir / "averaged"
    try:
        before, after = [await _folder(name, context) for name in job.candidates]
        made = await asyncio.to_thread(average, before, after, target, share=float(share))
        output, files = await publish_folder(context.store, path_of(job), token, target, MODEL)
    finally:
        for folder in (target, _cache(context)):
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    logger.info("averaged share=%s tensors=%d distance=%.4f", share, made.tensors, made.distance)
    manifest = build_manifest(
        job,
        context.resource,
        attempt=token.attempt,
        outputs={MODEL: output},
        files={MODEL: files},
        models={name: (await weights.find(name, context)).digest for name in job.candidates},
        metrics={"tensors": float(made.tensors), "distance": made.distance, "share": float(share)},
        started=started,
        seconds=round(time.monotonic() - begun, 3),
    )
    await token.check()
    await write_manifest(context.store, path_of(job), manifest)


def _cache(context: Context) -> Path:
    return context.work_dir / "weights"


async def _folder(name: str, context: Context) -> Path:
    """A model's files on this machine, read-only."""
    found = await weights.find(name, context)
    return await weights.bring(found, context.store, context.resource.spec.storage, _cache(context))
