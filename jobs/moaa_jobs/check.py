"""`python -m moaa_jobs preflight|inspect --job FILE`: questions about the store, for an operator that has no access.

preflight proves that the store keeps its promises. inspect looks up every stage that follows from the results that are
known, as far as there are manifests, and names those that could run and have none.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

from moaa.api import MoAA
from moaa.contract.answers import PreflightAnswer, pack
from moaa.contract.checks import CheckAnswer, CheckJob, Took
from moaa.plan.fingerprint import identify
from moaa.plan.graph import build
from moaa.plan.result import StageResult, ledger_path
from moaa.store.fencing import is_worked_on
from moaa.store.objects.base import Store
from moaa.store.objects.open import StoreSettings, open_store
from moaa.store.objects.preflight import preflight as prove
from moaa.store.stages.manifest import StageManifest
from moaa.store.stages.shards import read_manifest
from moaa_jobs.runner.settings import JobSettings
from moaa_jobs.tell.answer import answer

logger = logging.getLogger(__name__)


async def preflight(settings: JobSettings) -> None:
    """Raises StoreError: the store cannot be used; the text says why and what to do."""
    _, store = _open(settings)
    try:
        await prove(store)
    finally:
        await store.close()
    answer(settings.termination_log, PreflightAnswer())
    logger.info("preflight_passed store=%s", store.uri)


async def inspect(settings: JobSettings) -> None:
    """Raises StoreError: the store does not answer, or a manifest is unreadable."""
    question, store = _open(settings)
    try:
        found = await look_up(store, MoAA.model_validate(question.resource), question.results, run=question.run)
    finally:
        await store.close()
    answer(settings.termination_log, found)
    logger.info("inspected found=%d absent=%d complete=%s", len(found.results), len(found.absent), found.is_complete)


async def look_up(store: Store, resource: MoAA, known: Mapping[str, StageResult], *, run: str) -> CheckAnswer:
    """Results in the store beyond the known ones, in graph order, as many as an answer holds; and what those took that
    `run` made."""
    results = dict(known)
    found: list[StageResult] = []
    took: dict[str, Took] = {}
    absent: list[str] = []
    worked_on: list[str] = []
    for stage in build(resource).stages.values():
        identity = None if stage.id in results else identify(stage, resource, results)
        if identity is None:
            continue
        manifest = await read_manifest(store, identity.path)
        if manifest is None:
            absent.append(identity.fingerprint)
            ledger = ledger_path(stage.kind, identity.inputs)
            if await is_worked_on(store, identity.path, ledger, now=datetime.now(UTC)):
                worked_on.append(identity.fingerprint)
            continue
        # The same work may have been done as a stage of another name.
        results[stage.id] = manifest.result().with_(stage=stage.id)
        found.append(results[stage.id])
        if (manifest.run, manifest.stage) == (run, stage.id):
            took[stage.id] = _took(manifest)
    return _fitting(found, took, CheckAnswer(absent=absent, worked_on=worked_on))


def _took(manifest: StageManifest) -> Took:
    return Took(
        stage=manifest.stage,
        seconds=manifest.seconds,
        prompt_spent={name: usage.prompt_tokens for name, usage in manifest.usage.items() if usage.prompt_tokens},
        completion_spent={
            name: usage.completion_tokens for name, usage in manifest.usage.items() if usage.completion_tokens
        },
    )


def _fitting(found: list[StageResult], took: Mapping[str, Took], others: CheckAnswer) -> CheckAnswer:
    """Keeps at least one result, if there is any: otherwise the same question would come back for ever."""
    for kept in range(len(found), 0, -1):
        candidate = _with(others, found[:kept], took).with_(is_complete=kept == len(found))
        if pack(candidate) is not None:
            return candidate
    return _with(others, found[:1], took).with_(is_complete=len(found) <= 1)


def _with(others: CheckAnswer, found: list[StageResult], took: Mapping[str, Took]) -> CheckAnswer:
    return others.with_(results=found, took=[took[result.stage] for result in found if result.stage in took])


def _open(settings: JobSettings) -> tuple[CheckJob, Store]:
    question = CheckJob.model_validate_json(settings.job.read_bytes())
    return question, open_store(MoAA.model_validate(question.resource).spec.storage, StoreSettings())


CHECKS: Mapping[str, Callable[[JobSettings], Awaitable[None]]] = {"preflight": preflight, "inspect": inspect}
"""By the first argument of the command."""
