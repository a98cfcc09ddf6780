"""Which stages are done: the store's answer, read in the order of the graph."""

from collections.abc import Collection, Mapping

from moaa.api import MoAA
from moaa.plan.fingerprint import identify
from moaa.plan.stage import Graph, StageResult
from moaa.store.base import Store
from moaa.store.manifest import StageManifest
from moaa.store.shards import read_manifest


async def newly_done(
    graph: Graph, resource: MoAA, store: Store, results: Mapping[str, StageResult], *, skip: Collection[str] = ()
) -> list[StageManifest]:
    """Manifests of stages that are not in `results` or `skip`. One that is found may make a later one known.

    Raises:
        StoreError: a manifest is there but unreadable, or the store failed.
        StageError: a result lacks what a later stage reads.
    """
    known = dict(results)
    found: list[StageManifest] = []
    for stage in graph.stages.values():
        if stage.id in known or stage.id in skip:
            continue
        identity = identify(stage, resource, known)
        manifest = await read_manifest(store, identity.path) if identity is not None else None
        if manifest is not None:
            known[stage.id] = manifest.result()
            found.append(manifest)
    return found

