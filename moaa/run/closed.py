"""What iterations were closed on, read from their records: resources, and the scores of iteration 0 as they were then.

Edits made since do not change a closed iteration. Records of older versions have neither; for such iterations the run's
resource is used.
"""

from collections.abc import Mapping
from typing import cast

from pydantic import ValidationError

from moaa.api import MoAA
from moaa.errors import StoreError
from moaa.plan.graph import build
from moaa.plan.history.repeats import IterationRecord
from moaa.plan.ids import BASE_EVALUATE
from moaa.plan.stage import Graph, Stage
from moaa.rows import ScoreRow
from moaa.store.objects.base import Store
from moaa.store.stages.manifest import StageManifest
from moaa.store.stages.shards import read_manifest, read_table


def resources_of(run: str, closed: Mapping[int, IterationRecord]) -> tuple[dict[int, MoAA], list[str]]:
    """The resource of every closed iteration whose record has it, and sentences on those that cannot be read."""
    found: dict[int, MoAA] = {}
    problems = []
    for i, record in closed.items():
        if not record.resource:
            continue
        try:
            found[i] = MoAA.model_validate(record.resource)
        except ValidationError:
            problems.append(
                f"runs/{run}/iterations/{i}.json holds a resource of another version; "
                f"iteration {i} is shown by the resource as it is now."
            )
    return found, problems


def graph_of(resource: MoAA, resources: Mapping[int, MoAA]) -> Graph:
    """The stages that the resource asks for; those of closed iterations as theirs asked for them."""
    stages = build(resource).stages
    found: dict[str, Stage] = {}
    for number in dict.fromkeys(stage.iteration for stage in stages.values()):
        mine = build(resources[number]).stages if number in resources else stages
        found |= {name: stage for name, stage in mine.items() if stage.iteration == number}
    return Graph(found)


def with_start(graph: Graph, resources: Mapping[int, MoAA], closed: Mapping[int, IterationRecord]) -> Graph:
    """The graph with the stages of iteration 0 that an edit took away after iterations were closed on them."""
    found = {name: stage for name, stage in graph.stages.items() if stage.iteration == 0}
    for i, made_with in resources.items():
        found |= {n: s for n, s in build(made_with).stages.items() if n in closed[i].start and n not in found}
    return Graph({**found, **graph.stages})


async def start_manifests(store: Store, closed: Mapping[int, IterationRecord]) -> dict[int, StageManifest]:
    """By closed iteration: of the evaluation of iteration 0 that it was closed on, where its record names one.

    Raises:
        StoreError: a manifest is there but unreadable.
    """
    found: dict[int, StageManifest] = {}
    for i, record in closed.items():
        result = record.start.get(BASE_EVALUATE)
        manifest = await read_manifest(store, result.path) if result else None
        if manifest is not None:
            found[i] = manifest
    return found


async def start_scores(
    store: Store, manifests: Mapping[int, StageManifest], known: Mapping[str, tuple[ScoreRow, ...]]
) -> tuple[dict[int, tuple[ScoreRow, ...]], list[str]]:
    """Scores of iteration 0 by closed iteration, and sentences on those that cannot be read.

    `known` are those already read, by fingerprint.
    """
    rows = dict(known)
    problems = []
    for i, manifest in manifests.items():
        if manifest.fingerprint in rows:
            continue
        try:
            rows[manifest.fingerprint] = tuple(
                cast(ScoreRow, row) for row in await read_table(store, manifest, "scores")
            )
        except StoreError as error:
            problems.append(
                f"{BASE_EVALUATE}, as iteration {i} was closed on it, could not be read: {str(error).rstrip('.')}."
            )
    return {i: rows[m.fingerprint] for i, m in manifests.items() if m.fingerprint in rows}, problems
