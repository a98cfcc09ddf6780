"""The output of `moaa plan`: what the store says, as a plan."""

from collections.abc import Mapping

from rich.console import RenderableType

from moaa.api import MoAA
from moaa.plan.forecast.show import plan_view
from moaa.plan.graph import build
from moaa.plan.history.repeats import repeats
from moaa.plan.history.survey import survey
from moaa.plan.ids import STAGE_DATA
from moaa.plan.result import Identity, StageResult
from moaa.run.edits import edits_without_effect
from moaa.run.records import LOCAL_UID, read_iterations, run_id
from moaa.store.objects.base import Store
from moaa.store.stages.shards import read_manifest


async def read_plan(resource: MoAA, store: Store, counts: Mapping[str, int], *, uid: str = LOCAL_UID) -> RenderableType:
    """Stages, what is done, what is left and what it takes, and what an edit repeats.

    `counts` are rows of tables that are not staged yet; `uid` says whose closed iterations count: this machine's run or
    that of a cluster. Raises StoreError.
    """
    records = await read_iterations(store, run_id(resource, uid=uid))

    async def look_up(identity: Identity) -> StageResult | None:
        manifest = await read_manifest(store, identity.path)
        return None if manifest is None else manifest.result()

    graph, results = await survey(build(resource), resource, look_up, records=records)
    last = {name: result for i in sorted(records) for name, result in (records[i].start | records[i].stages).items()}
    documents = {
        name: manifest.document
        for name, result in last.items()
        if name not in results and (manifest := await read_manifest(store, result.path)) is not None
    }
    repeated = repeats(graph, resource, results, last=last, documents=documents)
    kept = await edits_without_effect(resource, store, results, records)
    staged = await read_manifest(store, results[STAGE_DATA].path) if STAGE_DATA in results else None
    found = [] if staged is None else too_long(staged.metrics)
    return plan_view(resource, results, graph=graph, counts=counts, repeated=repeated, kept=kept, found=found)


def too_long(metrics: Mapping[str, float]) -> list[str]:
    """Sentences about `<table>.tooLong.<model>`, which part of a table's rows stage-data found too long for a model."""
    parts = sorted((*key.split(".tooLong."), part) for key, part in metrics.items() if ".tooLong." in key)
    why = "its maxModelLen, or the maxLength it is trained with"
    return [f"{part:.1%} of {table} is too long for {model} ({why})" for table, model, part in parts]
