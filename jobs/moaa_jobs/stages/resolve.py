"""resolve: pin every declared model and data source to what it is now, and look at what can be known of models.

Faults that would otherwise show after the teachers were paid show here (`looking`). Everything later rests on these
digests: a source that changes afterwards is an error of the stage that reads it, never other rows under the same
fingerprint. Tables: `moaa.data.pins`.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from moaa.api import MoAA
from moaa.api.evaluation import TaskFiles
from moaa.api.models import Model
from moaa.api.reading.families import kin
from moaa.api.reading.node import Node
from moaa.contract.job import StageJob
from moaa.data.hashing import digest_of
from moaa.data.pins import MODELS, PINNED_FILES, PINNED_MODELS, ModelRow, pin_rows
from moaa.data.sources import choose_files
from moaa.errors import DataError
from moaa.plan.slices import field_of, pinned_sources
from moaa.store.stages.tables import TableRows
from moaa.text import printable, unfit
from moaa.weights.hub import pinned_digest
from moaa_jobs.runner.context import Context
from moaa_jobs.runner.health import fitted
from moaa_jobs.runner.one_worker import finished, publish
from moaa_jobs.runner.origins import Origins
from moaa_jobs.stages.looking import look

logger = logging.getLogger(__name__)


async def run(job: StageJob, context: Context) -> None:  # noqa: ARG001  the entry points share one signature
    """Write the manifest of resolve.

    Raises:
        DataError: a source is missing, refused or malformed, or a model cannot be trained or served.
        StoreError: a source's server did not answer; worth another attempt.
    """
    if await finished(context):
        return
    started = datetime.now(UTC)
    spec = context.resource.spec
    origins = Origins(spec.storage)
    try:
        sources = await _pin_sources(context, origins)
        models: list[ModelRow] = []
        types: dict[str, str] = {}
        for model in spec.models:
            context.progress.update(message=f"pinning {model.name}", rows_done=len(models), rows_total=len(spec.models))
            row, model_type = await _pin_model(model, origins, context)
            models.append(row)
            types |= {model.name: model_type} if model_type else {}
    finally:
        await origins.close()
    context.progress.update(message="", rows_done=len(models))
    await publish(
        context,
        iter([{**sources, MODELS: TableRows(models, PINNED_MODELS)}]),
        main_table=MODELS,
        started=started,
        rows_in=len(models),
        metrics={"models.unpinned": sum(not model["is_pinned"] for model in models)},
        models={model["name"]: model["digest"] for model in models},
        warnings=_kin(context.resource, types),
    )


def _kin(resource: MoAA, model_types: Mapping[str, str]) -> list[str]:
    """Which judges are kin of the student or its teachers, for report and status."""
    spec = Node(resource.model_dump(mode="json", by_alias=True)).at("spec")
    return fitted([found.sentence for found in kin(spec, model_types)])


async def _pin_sources(context: Context, origins: Origins) -> dict[str, TableRows]:
    sources = list(pinned_sources(context.resource))
    pinned: dict[str, TableRows] = {}
    for done, (name, source) in enumerate(sources):
        context.progress.update(message=f"pinning {source.source}", rows_done=done, rows_total=len(sources))
        field = field_of(name)
        origin = origins.open(source.source, revision=source.revision, secret=source.token_secret, field=field)
        if isinstance(source, TaskFiles):
            listing = await origin.pin(partial(_all_files, source.source))
        else:
            listing = await origin.pin(partial(choose_files, uri=source.source, split=source.split))
        logger.info("source_pinned table=%s files=%d digest=%s", name, len(listing.files), listing.digest[:12])
        pinned[name] = TableRows(pin_rows(listing), PINNED_FILES)
    return pinned


async def _pin_model(model: Model, origins: Origins, context: Context) -> tuple[ModelRow, str | None]:
    """The model as it is now, and its `model_type` where that can be read."""
    revision: str | None = None
    model_type: str | None = None
    is_pinned = True
    if model.endpoint is not None:
        source = model.endpoint.url
        digest = digest_of({"endpoint": model.endpoint.url, "model": model.endpoint.model})
        is_pinned = False
    else:
        source = model.source or ""
        if source.startswith("pvc://"):  # mounted where it is served; this process cannot see it
            told = {"source": source} | ({"revision": model.revision} if model.revision else {})
            digest, is_pinned = digest_of(told), False
        else:
            field = f"spec.models, {model.name}"
            origin = origins.open(source, revision=model.revision, secret=model.token_secret, field=field)
            listing = await origin.pin(partial(_all_files, source))
            spec = context.resource.spec
            model_type = await look(
                model,
                origin,
                listing,
                context.work_dir / "models" / model.name,
                is_student=model.name == spec.student,
                training=spec.training,
            )
            revision = listing.revision
            digest = pinned_digest(source, listing)
    logger.info("model_pinned model=%s digest=%s pinned=%s", model.name, digest[:12], is_pinned)
    row = ModelRow(
        name=model.name, source=source, revision=revision, digest=digest, is_pinned=is_pinned, license=model.license
    )
    return row, model_type


def _all_files(source: str, names: Sequence[str]) -> list[str]:
    if not names:
        raise DataError(f"{source}: the folder is empty; correct source")
    if name := next((name for name in names if unfit(name)), None):
        raise DataError(f"{source}: the name of file {printable(name)} is not UTF-8; rename or remove it")
    return list(names)
