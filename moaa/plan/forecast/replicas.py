"""How many servers each model of a stage gets. Pure.

A stage takes as long as its slowest model, and all its servers hold their GPUs until then. So with `serving.replicas`
Auto the model with the most hours left gets the next server, until no room within `maxGpus` is left for it or the stage
takes no longer than a start of a server. What results is the shortest time within the limit, and no server more than
that takes. Replicas are in no fingerprint.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from moaa.api import MoAA, MoAASpec
from moaa.api.resource import Replicas, Schedule
from moaa.asking.load import Load
from moaa.errors import Problem, ResourceError
from moaa.plan.forecast.throughput import declared, server_hours
from moaa.plan.graph import build
from moaa.plan.ids import STAGE_DATA, made_by
from moaa.plan.kinds.kind import Asked
from moaa.plan.kinds.table import KINDS, TRAINING
from moaa.plan.result import StageResult
from moaa.plan.stage import Stage

START_HOURS = 0.25
"""A start of a server: where a stage takes no longer, another one gains nothing (docs/capacity.md)."""
MAX_REPLICAS = 256
"""What `serving.replicas` of a model may be."""


@dataclass(frozen=True)
class AtWork:
    """Models that are served at once, and what they have to do."""

    names: tuple[str, ...]
    """As stages name them."""
    hours: Mapping[str, float]
    """On one server of each; models without GPUs are not in it."""


@dataclass(frozen=True)
class Work:
    """What the servers of one declared model have to do."""

    hours: float
    """On one server."""
    gpus: int
    """Of one server more: where several students of the model are served, of one for each."""
    least: int
    """Servers that it gets in any case."""


def spread(work: Mapping[str, Work], *, max_gpus: int) -> dict[str, int]:
    """Servers of each model within `max_gpus`. The least of each is not questioned: it may be more than there is.

    >>> spread({"slow": Work(9.0, 4, 1), "fast": Work(3.0, 2, 1)}, max_gpus=16)
    {'slow': 3, 'fast': 1}
    """
    counts = {name: one.least for name, one in work.items()}
    held = sum(one.gpus * one.least for one in work.values())
    while work:
        slowest = max(work, key=lambda name: work[name].hours / counts[name])
        left, gpus = work[slowest].hours / counts[slowest], work[slowest].gpus
        if left <= START_HOURS or held + gpus > max_gpus or counts[slowest] >= MAX_REPLICAS:
            break
        counts[slowest] += 1
        held += gpus
    return counts


def planned(resource: MoAA, at_work: Sequence[AtWork], *, max_gpus: int | None = None) -> dict[str, int]:
    """Servers of each declared model of ours on GPUs, for stages that are at work side by side.

    A stage keeps what it has when another one begins after it. `max_gpus`, if less than the resource's, is what there
    is.
    """
    counts: dict[str, int] = {}
    for k in range(1, len(at_work) + 1):
        work = _work(resource, at_work[:k], counts)
        match resource.spec.serving.replicas:
            case Replicas.DECLARED:
                counts = {name: one.least for name, one in work.items()}
            case Replicas.AUTO:
                limit = resource.spec.serving.max_gpus
                assert limit is not None, "a checked resource has it with Auto"
                counts = spread(work, max_gpus=limit if max_gpus is None else min(limit, max_gpus))
            case other:
                assert_never(other)
    return counts


def gpus_together(resource: MoAA, at_work: Sequence[AtWork], counts: Mapping[str, int]) -> int:
    """GPUs that the servers of these stages hold, each server once."""
    names = dict.fromkeys(name for stage in at_work for name in stage.names)
    models = [declared(name, resource) for name in names]
    return sum(m.serving.gpus * counts.get(m.name, m.serving.replicas) for m in models if m.endpoint is None)


def planned_alone(
    resource: MoAA, stage: Stage, hours: Mapping[str, float], *, max_gpus: int | None = None
) -> dict[str, int]:
    """Servers of each declared model while the stage is the only one at work; with schedule InTurn, in its turn."""
    match resource.spec.serving.schedule:
        case Schedule.TOGETHER:
            turns = [stage.serves]
        case Schedule.IN_TURN:
            turns = [(name,) for name in stage.serves]
        case other:
            assert_never(other)
    counts: dict[str, int] = {}
    for names in turns:
        for model, count in planned(resource, [AtWork(names, hours)], max_gpus=max_gpus).items():
            counts[model] = max(count, counts.get(model, 0))
    return counts


def resolved(resource: MoAA, counts: Mapping[str, int]) -> MoAA:
    """The resource with these numbers declared, so that nothing else needs to know of Auto."""
    models = [
        model.with_(serving=model.serving.with_(replicas=counts.get(model.name, model.serving.replicas)))
        for model in resource.spec.models
    ]
    serving = resource.spec.serving.with_(replicas=Replicas.DECLARED, max_gpus=None)
    return resource.with_(spec=resource.spec.with_(models=models, serving=serving))


def for_stage(resource: MoAA, stage: Stage, results: Mapping[str, StageResult], *, max_gpus: int | None = None) -> MoAA:
    """The resource with the replicas that a stage gets alone, by the rows that stage-data has counted.

    `max_gpus`, if less than the resource's, is what there is.
    """
    return widest(resource, [stage], results, max_gpus=max_gpus)


def widest(
    resource: MoAA, stages: Iterable[Stage], results: Mapping[str, StageResult], *, max_gpus: int | None = None
) -> MoAA:
    """The resource with the most replicas that any of these stages gets alone."""
    if resource.spec.serving.replicas is Replicas.DECLARED:
        return resource
    counts: dict[str, int] = {}
    for stage in stages:
        hours = hours_of(stage, resource, results)
        for model, count in planned_alone(resource, stage, hours, max_gpus=max_gpus).items():
            counts[model] = max(count, counts.get(model, 0))
    return resolved(resource, counts)


def hours_of(stage: Stage, resource: MoAA, results: Mapping[str, StageResult]) -> dict[str, float]:
    """Hours of a stage's work on one server of each model, by the rows that stage-data has counted."""
    return server_hours(resource, loads(stage, resource, table_rows(results)))


def table_rows(results: Mapping[str, StageResult]) -> dict[str, int]:
    """Rows of stage-data's tables, as far as they are counted."""
    return {name: output.rows for name, output in results[STAGE_DATA].outputs.items()} if STAGE_DATA in results else {}


def loads(stage: Stage, resource: MoAA, counts: Mapping[str, int]) -> tuple[Load, ...]:
    """What a stage asks of its models; a source whose rows are not known counts as empty."""
    effort = KINDS[stage.kind].effort(stage, resource, counts)
    return effort.loads if isinstance(effort, Asked) else ()


def gpus_held(spec: MoAASpec, stage: Stage) -> int:
    """GPUs that the declared numbers give a stage: its workers', or those of the models it serves.

    With schedule InTurn one model is up at a time, so the largest counts. Students are served as the declared student.
    """
    if stage.kind in TRAINING:
        resources = spec.training.resources
        return resources.workers * resources.gpus_per_worker
    models = [spec.model(spec.student if made_by(name) else name) for name in stage.serves]
    served = [0 if model.endpoint else model.serving.gpus * model.serving.replicas for model in models]
    return max(served, default=0) if spec.serving.schedule is Schedule.IN_TURN else sum(served)


def gpus_given(
    resource: MoAA, stage: Stage, results: Mapping[str, StageResult], *, without: Collection[str] = ()
) -> int:
    """GPUs that the resource gives a stage: as declared, or as Auto gives them by the rows of stage-data. Those of the
    models `without`, which it has finished with, are not counted.

    A machine with fewer GPUs, or a second stage beside it, leaves it fewer.
    """
    served = tuple(name for name in stage.serves if name not in without)
    return gpus_held(for_stage(resource, stage, results).spec, replace(stage, serves=served))


def check_limit(resource: MoAA) -> None:
    """Raises ResourceError: the servers of a stage hold more than `maxGpus` though each model has only its least."""
    limit = resource.spec.serving.max_gpus
    if limit is None:
        return
    stages = [stage for stage in build(resource).stages.values() if stage.kind not in TRAINING]
    most = max(stages, key=lambda stage: gpus_held(resource.spec, stage))
    needed = gpus_held(resource.spec, most)
    if needed > limit:
        remedy = (
            f"is less than the {needed} GPUs of the models that {most.id} serves at once; raise it, lower replicas of "
            "its models, or write schedule: InTurn"
        )
        raise ResourceError("the resource", [Problem("spec.serving.maxGpus", str(limit), remedy)])


def _work(resource: MoAA, at_work: Iterable[AtWork], least: Mapping[str, int]) -> dict[str, Work]:
    hours: dict[str, dict[str, float]] = {}
    for stage in at_work:
        for name in stage.names:
            model = declared(name, resource)
            if model.endpoint is None and model.serving.gpus:
                of_model = hours.setdefault(model.name, {})
                of_model[name] = of_model.get(name, 0.0) + stage.hours.get(name, 0.0)
    found = {}
    for name, parts in hours.items():
        serving = resource.spec.model(name).serving
        most = max(serving.replicas, least.get(name, 0))
        found[name] = Work(max(parts.values()), serving.gpus * len(parts), most)
    return found
