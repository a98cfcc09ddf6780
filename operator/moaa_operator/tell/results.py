"""From the status to the plan's values and back, within the status's bounds. Pure.

The status keeps the results of iteration 0, of the open iteration and of the last closed one, and older promotions as
far as there is room; the store keeps everything. Every iteration before the last closed one is closed, too, whether its
promotion is still listed or not, and leaves the graph.
"""

from collections.abc import Iterable, Mapping

from moaa.api import MoAA
from moaa.api.status import MAX_STAGES, MoAAStatus, PinnedModel, StageOutput, StageStatus
from moaa.plan.fingerprint import identify
from moaa.plan.graph import build
from moaa.plan.history.repeats import IterationRecord, pin_closed
from moaa.plan.ids import stage_id
from moaa.plan.ready import Held, candidates
from moaa.plan.result import Output, StageResult, gib_listed
from moaa.plan.stage import Graph, Kind


def results_of(status: MoAAStatus) -> dict[str, StageResult]:
    return {entry.stage: _result(entry) for entry in status.stages}


def _result(entry: StageStatus) -> StageResult:
    return StageResult(
        stage=entry.stage,
        kind=Kind(entry.kind),
        inputs=entry.inputs,
        fingerprint=entry.fingerprint,
        attempt=entry.attempt,
        outputs={o.name: Output(digest=o.digest, rows=o.rows, uri=o.uri) for o in entry.outputs},
        models={m.name: m.digest for m in entry.models},
        weights_gib=gib_listed((m.name for m in entry.models), {m.name: m.gib * 2.0**30 for m in entry.models}),
        score=entry.score,
        warnings=entry.warnings,
    )


def stage_status(result: StageResult) -> StageStatus:
    return StageStatus(
        stage=result.stage,
        kind=str(result.kind),
        inputs=result.inputs,
        fingerprint=result.fingerprint,
        attempt=result.attempt,
        outputs=[StageOutput(name=n, digest=o.digest, rows=o.rows, uri=o.uri) for n, o in result.outputs.items()],
        models=[
            PinnedModel(name=name, digest=digest, gib=result.gib_of(name) or 0)
            for name, digest in result.models.items()
        ],
        score=result.score,
        warnings=result.warnings,
    )


def iteration_of(stage: str) -> int:
    """Of a stage's id: `i3-sft` gives 3."""
    return int(stage[1 : stage.index("-")])


def last_closed(results: Iterable[str]) -> int:
    """The newest iteration whose promotion is done; 0 before the first."""
    promotions = [name for name in results if name.endswith(f"-{Kind.PROMOTE}")]
    return max((iteration_of(name) for name in promotions), default=0)


def hold(resource: MoAA, known: Mapping[str, StageResult]) -> Held:
    """The results among `known` that hold under the resource as it is.

    A result is dropped only when its stage has another identity now; while an input is missing it is kept aside.
    """
    closed = last_closed(known)
    records = {
        i: IterationRecord(iteration=i, stages={n: r for n, r in known.items() if iteration_of(n) == i})
        for i in range(1, closed + 1)
        if stage_id(i, Kind.PROMOTE) in known
    }
    graph, results = pin_closed(build(resource), records)
    gone = [i for i in range(1, closed) if i not in records]
    graph = Graph({name: stage for name, stage in graph.stages.items() if stage.iteration not in gone})
    aside: dict[str, StageResult] = {}
    for stage in graph.stages.values():
        if stage.id in results or stage.id not in known:
            continue
        identity = identify(stage, resource, results)
        if identity is None:
            aside[stage.id] = known[stage.id]
        elif identity.fingerprint == known[stage.id].fingerprint:
            results[stage.id] = known[stage.id]
    identities = {identity.stage.id: identity for identity in candidates(graph, resource, results)}
    return Held(graph, results, aside, identities)


def bounded(results: Mapping[str, StageResult]) -> list[StageResult]:
    """Those to keep in the status, oldest first."""
    closed = last_closed(results)
    recent = [r for n, r in results.items() if iteration_of(n) == 0 or iteration_of(n) >= closed]
    older = [r for n, r in results.items() if 0 < iteration_of(n) < closed and r.kind is Kind.PROMOTE]
    room = max(MAX_STAGES - len(recent), 0)
    kept = [*(sorted(older, key=lambda r: iteration_of(r.stage))[-room:] if room else []), *recent]
    order = {result.stage: place for place, result in enumerate(results.values())}
    return sorted(kept, key=lambda r: (iteration_of(r.stage), order[r.stage]))
