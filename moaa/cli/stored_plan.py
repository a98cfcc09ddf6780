"""The output of `moaa plan`: what the store says, as a plan."""

from collections.abc import Mapping

from rich.console import RenderableType

from moaa.api import MoAA
from moaa.plan.forecast.estimate import Estimate
from moaa.plan.forecast.show import plan_view
from moaa.plan.graph import build
from moaa.plan.history.repeats import repeats
from moaa.plan.history.survey import survey
from moaa.plan.ids import STAGE_DATA
from moaa.plan.kinds.sliced import counted_turns
from moaa.plan.lengths import misfits
from moaa.plan.result import Identity, StageResult
from moaa.plan.stage import Graph
from moaa.report.costs import measured
from moaa.run.closed import graph_of, resources_of
from moaa.run.edits import edits_without_effect
from moaa.run.records import LOCAL_UID, read_iterations, run_id
from moaa.run.spending import read_account
from moaa.store.objects.base import Store
from moaa.store.objects.tasks import map_bounded
from moaa.store.stages.manifest import StageManifest
from moaa.store.stages.shards import read_manifest

READ_AHEAD = 8
"""Manifests fetched at once."""


async def read_plan(resource: MoAA, store: Store, counts: Mapping[str, int], *, uid: str = LOCAL_UID) -> RenderableType:
    """Stages, what is done, what is left and what it takes, and what an edit repeats.

    `counts` are rows of tables that are not staged yet; `uid` says whose closed iterations count: this machine's run or
    that of a cluster. Raises StoreError.
    """
    run = run_id(resource, uid=uid)
    records = await read_iterations(store, run)
    manifests: dict[str, StageManifest] = {}

    async def look_up(identity: Identity) -> StageResult | None:
        manifest = await read_manifest(store, identity.path)
        if manifest is None:
            return None
        manifests[identity.stage.id] = manifest
        return manifest.result()

    graph, results = await survey(build(resource), resource, look_up, records=records)
    last = {name: result for i in sorted(records) for name, result in (records[i].start | records[i].stages).items()}
    documents = {
        name: manifest.document
        for name, result in last.items()
        if name not in results and (manifest := await read_manifest(store, result.path)) is not None
    }
    repeated = repeats(graph, resource, results, last=last, documents=documents)
    kept = await edits_without_effect(resource, store, results, records)
    staged = manifests.get(STAGE_DATA)
    found = [] if staged is None else too_long(staged.metrics)
    closed = {number: record for number, record in records.items() if record.is_closed}
    resources, problems = resources_of(run, closed)
    manifests |= await _manifests(store, {name: result for name, result in results.items() if name not in manifests})
    counts = {**counts, **({} if staged is None else counted_turns(resource, staged.metrics))}
    account = await read_account(store, run, resource, results, records) if resource.spec.budget.is_given else None
    return plan_view(
        resource, results, graph=graph, counts=counts, repeated=repeated, kept=kept, found=[*found, *problems],
        measured=_measured(graph, manifests, resource, resources), account=account,
    )  # fmt: skip


async def _manifests(store: Store, results: Mapping[str, StageResult]) -> dict[str, StageManifest]:
    """Of closed iterations' stages; one that somebody has removed is not in it."""

    async def read(name: str) -> tuple[str, StageManifest | None]:
        return name, await read_manifest(store, results[name].path)

    found = await map_bounded(list(results), read, at_once=READ_AHEAD)
    return {name: manifest for name, manifest in found if manifest is not None}


def _measured(
    graph: Graph, manifests: Mapping[str, StageManifest], resource: MoAA, resources: Mapping[int, MoAA]
) -> dict[str, Estimate]:
    """What every stage took that is done, by the resource that its iteration was closed with."""
    found: dict[str, Estimate] = {}
    stages = graph_of(resource, resources).stages
    for name, manifest in manifests.items():
        stage = stages.get(name, graph.stages[name])
        made_with = resources.get(stage.iteration, resource)
        found[name] = measured(stage, manifest, made_with=made_with.spec, prices=resource.spec)
    return found


def too_long(metrics: Mapping[str, float]) -> list[str]:
    """Sentences about the part of a table's rows that stage-data found not to fit a model (`moaa.plan.lengths`)."""
    why = "its maxModelLen, or the maxLength it is trained with"
    return [f"{part:.1%} of {table} is {fit.value} {model} ({why})" for table, fit, model, part in misfits(metrics)]
