"""How many bytes of weights a run moves, how long that takes, and the disk that they need. Pure.

Sizes are those that resolve has found, rounded up to GiB; before it has run, two bytes for each parameter that the
source's name says, good to about a factor of two. Bandwidths are assumptions: take your own.
"""

from collections.abc import Iterable, Iterator, Mapping
from math import ceil
from typing import assert_never

from moaa.api import MoAA
from moaa.api.models import Model
from moaa.plan.forecast.replicas import loads, planned_alone
from moaa.plan.forecast.throughput import billions, declared, server_hours
from moaa.plan.ids import RESOLVE, made_by
from moaa.plan.kinds.kind import Alone, OnRay, Sharded
from moaa.plan.kinds.table import KINDS
from moaa.plan.result import StageResult
from moaa.plan.stage import Stage

HUB_GBIT = 1.0
"""Gigabits a second from the Hub to a machine or a cluster. Assumed."""
STORE_GBIT = 10.0
"""Gigabits a second from a bucket in the same region to one machine. Assumed."""
BYTES_A_PARAMETER = 2
"""BF16, as most models on the Hub are stored."""
NAMED = 5
"""Models whose disk is told, the largest first."""


def weights_sentences(
    stages: Iterable[Stage], resource: MoAA, results: Mapping[str, StageResult], counts: Mapping[str, int]
) -> Iterator[str]:
    """What the stages that are left bring, for a person; nothing where all weights lie on the machine that loads them.

    Every stage counts with servers of its own: those that stay up from one to the next bring nothing again.
    """
    brought: dict[str, int] = {}
    """Times that machines bring each declared model, or a student of it."""
    for stage in stages:
        for name, times in _times(stage, resource, counts):
            model = declared(name, resource)
            if _is_moved(model, resource, is_student=made_by(name) is not None):
                brought[model.name] = brought.get(model.name, 0) + times
    sizes = {name: size for name in brought if (size := _gib(resource.spec.model(name), results))}
    if not sizes:
        return
    storage, about = resource.spec.storage, "" if RESOLVE in results else "about "
    hub = sum(_gib(model, results) for model in resource.spec.models if _is_on_hub(model))
    total = sum(times * sizes[name] for name, times in brought.items() if name in sizes)
    is_bucket = storage.uri.startswith("s3://")
    if hub and RESOLVE not in results and (storage.holds_weights or not is_bucket):
        place = "the store" if storage.holds_weights else "this machine's cache"
        yield f"{about}{_amount(hub)} come from the Hub into {place} once: {_time(hub, HUB_GBIT)}"
    if not is_bucket:
        return
    largest = max(sizes, key=lambda name: sizes[name])
    of_one = f"one of {largest} {_amount(sizes[largest])}"
    if storage.holds_weights or not hub:
        yield (
            f"servers and trainings bring {about}{_amount(total)} from buckets, at most; {of_one}: "
            f"{_time(sizes[largest], STORE_GBIT)}"
        )
    else:
        yield (
            f"servers and trainings bring {about}{_amount(total)}, at most, and models of the Hub come from there each "
            f"time; {of_one}: {_time(sizes[largest], HUB_GBIT)}. spec.storage.weights: Store brings "
            f"{about}{_amount(hub)} from there, once"
        )
    yield f"each server or training machine needs disk for {about}{_disks(sizes)}"


def _times(stage: Stage, resource: MoAA, counts: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """How many machines bring each model of a stage."""
    match KINDS[stage.kind].runs:
        case OnRay():
            assert stage.student is not None, "every training stage has a student"
            yield stage.student, resource.spec.training.resources.workers
        case Alone() | Sharded():
            servers = planned_alone(resource, stage, server_hours(resource, loads(stage, resource, counts)))
            for name in stage.serves:
                model = declared(name, resource)
                yield name, servers.get(model.name, model.serving.replicas)
        case other:
            assert_never(other)


def _is_moved(model: Model, resource: MoAA, *, is_student: bool) -> bool:
    """Whether weights travel: not those behind an endpoint, on a claim, or in a folder of the machine."""
    if is_student:
        return resource.spec.storage.uri.startswith("s3://")
    return (model.source or "").startswith(("hf://", "s3://"))


def _is_on_hub(model: Model) -> bool:
    return (model.source or "").startswith("hf://")


def _gib(model: Model, results: Mapping[str, StageResult]) -> int:
    """0: hardly any, or resolve could not know."""
    if RESOLVE in results:
        return results[RESOLVE].gib_of(model.name) or 0
    return ceil(billions(model) * 1e9 * BYTES_A_PARAMETER / 2**30)


def _disks(sizes: Mapping[str, int]) -> str:
    listed = sorted(sizes, key=lambda name: (-sizes[name], name))
    told = ", ".join(f"{name} {_amount(sizes[name])}" for name in listed[:NAMED])
    rest = len(listed) - NAMED
    return f"{told}; {rest} more need no more than the last" if rest > 0 else told


def _amount(gib: int) -> str:
    return f"{gib:,} GiB"


def _time(gib: int, gbit_per_s: float) -> str:
    """`2.4 hours at 1 Gbit/s`"""
    minutes = gib * 2**30 * 8 / (gbit_per_s * 1e9) / 60
    told = f"{minutes / 60:.1f} hours" if minutes >= 90 else f"{max(1, round(minutes))} min"
    return f"{told} at {gbit_per_s:g} Gbit/s"
