"""What a run has spent, from its store: attempts on this machine, and manifests of stages that it made.

Both count the same work. Where a runner was killed before it recorded an attempt, the manifest knows; where an edit or
a failure left a stage without a manifest, the attempts do.
"""

from collections.abc import Mapping

from moaa.api import MoAA
from moaa.plan.budget.spent import Account, Spent, Tokens, of_work, tokens_of
from moaa.plan.history.repeats import IterationRecord
from moaa.plan.result import StageResult
from moaa.plan.stage import Stage
from moaa.run.closed import graph_of, resources_of
from moaa.run.records import Attempt, read_attempts
from moaa.store.objects.base import Store
from moaa.store.objects.tasks import map_bounded
from moaa.store.stages.manifest import StageManifest
from moaa.store.stages.shards import read_manifest

READ_AHEAD = 8


async def read_account(
    store: Store,
    run: str,
    resource: MoAA,
    results: Mapping[str, StageResult],
    records: Mapping[int, IterationRecord],
) -> Account:
    """What the run has spent so far. `results` are its finished stages, `records` its iterations.

    Work that another run did and this one found done is not in it. Raises StoreError.
    """
    found: dict[tuple[str, str], Spent] = {}
    spared: dict[tuple[str, str], float] = {}
    attempts, _ = await read_attempts(store, run)  # one that cannot be read is told by the report
    for attempt in attempts:
        key = attempt.stage, attempt.fingerprint
        found[key] = after_attempt(found.get(key, Spent()), attempt)
        spared[key] = spared.get(key, 0.0) + attempt.spared_gpu_seconds
    closed = {number: record for number, record in records.items() if record.is_closed}
    resources, _ = resources_of(run, closed)
    stages = graph_of(resource, resources).stages
    everything = {**results, **{name: made for record in records.values() for name, made in record.stages.items()}}
    for manifest in await _manifests(store, everything):
        stage = stages.get(manifest.stage)
        if stage is None or manifest.run != run:
            continue
        key = manifest.stage, manifest.fingerprint
        made_with = resources.get(stage.iteration, resource)
        made = of_manifest(manifest, stage, made_with, results, spared_gpu_seconds=spared.get(key, 0.0))
        found[key] = found.get(key, Spent()).at_least(made)
    return found


def after_attempt(before: Spent, attempt: Attempt) -> Spent:
    """An attempt's GPUs come on top of those before it; its tokens include theirs."""
    gpu_seconds = attempt.gpus * attempt.job_seconds - attempt.spared_gpu_seconds
    tokens = tokens_of(attempt.prompt_spent, attempt.completion_spent)
    return (before + Spent(gpu_seconds)).at_least(Spent(tokens=tokens))


def of_manifest(
    manifest: StageManifest,
    stage: Stage,
    made_with: MoAA,
    results: Mapping[str, StageResult],
    *,
    spared_gpu_seconds: float = 0.0,
) -> Spent:
    """Of `results` stage-data's says how many rows there were. A manifest does not know of servers that were let go
    before its stage ended; attempts do (`spared_gpu_seconds`, of all of the stage's)."""
    tokens = {name: Tokens(usage.prompt_tokens, usage.completion_tokens) for name, usage in manifest.usage.items()}
    return of_work(
        stage, made_with, results, seconds=manifest.seconds, tokens=tokens, spared_gpu_seconds=spared_gpu_seconds
    )


async def _manifests(store: Store, results: Mapping[str, StageResult]) -> list[StageManifest]:
    """Those that are still there."""

    async def read(path: str) -> StageManifest | None:
        return await read_manifest(store, path)

    found = await map_bounded(list(dict.fromkeys(result.path for result in results.values())), read, at_once=READ_AHEAD)
    return [manifest for manifest in found if manifest is not None]
