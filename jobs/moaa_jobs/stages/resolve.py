"""resolve: pin every declared model and data source to what it is now, and look at what can be known of models.

Faults that would otherwise show after the teachers were paid show here (`looking`). Everything later rests on these
digests: a source that changes afterwards is an error of the stage that reads it, never other rows under the same
fingerprint. Tables: `moaa.data.pins`. Then it copies models of the Hub into the store, where the run reads them from
there (`spec.storage.weights`): it needs no GPU, and no server starts before.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

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
from moaa.plan.result import BYTES
from moaa.plan.slices import field_of, pinned_sources
from moaa.store.stages.tables import TableRows
from moaa.text import printable, unfit
from moaa.weights import copies
from moaa.weights.hub import pinned_digest
from moaa_jobs.runner.context import Context
from moaa_jobs.runner.health import fitted
from moaa_jobs.runner.one_worker import finished, publish
from moaa_jobs.runner.origins import Origins
from moaa_jobs.stages.looking import look

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Pinned:
    """A model as it was found."""

    row: ModelRow
    type: str | None = None
    """`model_type` of its configuration, where that can be read."""
    size_bytes: int = 0
    """Of the files that a server brings; 0 where they cannot be seen from here."""
    wanted: copies.Wanted | None = None
    """What of it is copied into the store; None: nothing."""


async def run(job: StageJob, context: Context) -> None:  # noqa: ARG001  the entry points share one signature
    """Write the manifest of resolve.

    Raises:
        DataError: a source is missing, refused or malformed, or models cannot be trained or served.
        StoreError: a source's server did not answer, or a model could not be copied; worth another attempt.
    """
    if await finished(context):
        return
    started = datetime.now(UTC)
    spec = context.resource.spec
    origins = Origins(spec.storage)
    try:
        sources = await _pin_sources(context, origins)
        pinned = await _pin_models(origins, context)
        # Last, so that what is wrong with any model is known before the first gigabyte is on its way.
        await _copy(pinned, context)
    finally:
        await origins.close()
    rows = [found.row for found in pinned]
    context.progress.update(message="", rows_done=len(rows))
    sizes = {f"{BYTES}{found.row['name']}": float(found.size_bytes) for found in pinned if found.size_bytes}
    await publish(
        context,
        iter([{**sources, MODELS: TableRows(rows, PINNED_MODELS)}]),
        main_table=MODELS,
        started=started,
        rows_in=len(rows),
        metrics={"models.unpinned": sum(not row["is_pinned"] for row in rows), **sizes},
        models={row["name"]: row["digest"] for row in rows},
        warnings=_kin(context.resource, {found.row["name"]: found.type for found in pinned if found.type}),
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


async def _pin_models(origins: Origins, context: Context) -> list[_Pinned]:
    """Every declared model as it is now. Raises DataError: names all that cannot be had, or not be trained or served.

    Raises:
        StoreError: a source's server did not answer.
    """
    models = context.resource.spec.models
    pinned: list[_Pinned] = []
    refused: list[str] = []
    for done, model in enumerate(models):
        context.progress.update(message=f"pinning {model.name}", rows_done=done, rows_total=len(models))
        try:
            pinned.append(await _pin_model(model, origins, context))
        except DataError as error:
            refused.append(str(error))
    if refused:
        raise DataError("\n".join(refused))
    return pinned


async def _pin_model(model: Model, origins: Origins, context: Context) -> _Pinned:
    source = model.endpoint.url if model.endpoint is not None else model.source or ""
    if model.endpoint is not None:
        digest = digest_of({"endpoint": model.endpoint.url, "model": model.endpoint.model})
        found = _Pinned(_row(model, source, digest, is_pinned=False))
    elif source.startswith("pvc://"):  # mounted where it is served; this process cannot see it
        told = {"source": source} | ({"revision": model.revision} if model.revision else {})
        found = _Pinned(_row(model, source, digest_of(told), is_pinned=False))
    else:
        found = await _look_at(model, source, origins, context)
    row = found.row
    logger.info("model_pinned model=%s digest=%s pinned=%s", model.name, row["digest"][:12], row["is_pinned"])
    return found


async def _look_at(model: Model, source: str, origins: Origins, context: Context) -> _Pinned:
    """A model whose files can be seen from here, looked at; where the store has a copy, in that one."""
    spec = context.resource.spec
    origin = origins.open(
        source, revision=model.revision, secret=model.token_secret, field=f"spec.models, {model.name}"
    )
    listing = await origin.pin(partial(_all_files, source))
    digest = pinned_digest(source, listing)
    is_copied = source.startswith("hf://") and spec.storage.holds_weights
    copy = await copies.read(context.store, digest) if is_copied else None
    model_type = await look(
        model,
        origin if copy is None else copies.CopyOrigin(context.store, copy, listing),
        listing,
        _folder(model.name, context),
        is_student=model.name == spec.student,
        training=spec.training,
    )
    row = _row(model, source, digest, is_pinned=True, revision=listing.revision)
    wanted = copies.Wanted(source, digest, origin, listing)
    size = sum(file.size_bytes for file in (wanted.files if source.startswith("hf://") else listing.files))
    return _Pinned(row, model_type, size, wanted if is_copied else None)


def _folder(name: str, context: Context) -> Path:
    """For what of a model has to be downloaded."""
    return context.work_dir / "models" / name


def _row(model: Model, source: str, digest: str, *, is_pinned: bool, revision: str | None = None) -> ModelRow:
    return ModelRow(
        name=model.name, source=source, revision=revision, digest=digest, is_pinned=is_pinned, license=model.license
    )


async def _copy(pinned: Sequence[_Pinned], context: Context) -> None:
    """Copy into the store what the run reads from there. Raises DataError, StoreError as `copies.make`."""
    wanted = {found.wanted.digest: (found.row["name"], found.wanted) for found in pinned if found.wanted is not None}
    for done, (name, one) in enumerate(wanted.values()):
        context.progress.update(rows_done=done, rows_total=len(wanted), saved=done)

        def tell(arrived: int, total: int, name: str = name) -> None:
            text = f"copying {name} into the store: {arrived / 1e9:.1f} of {total / 1e9:.1f} GB"
            context.progress.update(message=text)

        # Where the model was looked at: the Hub's client does not read what is there again.
        copy = await copies.make(one, context.store, _folder(name, context), tell)
        logger.info("model_copied model=%s files=%d gb=%.1f", name, len(copy.files), copy.size_bytes / 1e9)


def _all_files(source: str, names: Sequence[str]) -> list[str]:
    if not names:
        raise DataError(f"{source}: the folder is empty; correct source")
    if name := next((name for name in names if unfit(name)), None):
        raise DataError(f"{source}: the name of file {printable(name)} is not UTF-8; rename or remove it")
    return list(names)
