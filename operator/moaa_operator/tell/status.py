"""The status as it is written, from how the run stands. Pure; equal runs give equal statuses, so nothing is written
when nothing has changed."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from moaa.api.status import MAX_HISTORY, MAX_STAGES, ClosedIteration, MoAAStatus, Promoted
from moaa.plan.ids import BASE_EVALUATE, stage_id
from moaa.plan.kinds.table import TRAINING
from moaa.plan.result import StageResult
from moaa.plan.stage import Kind
from moaa_operator.tell import conditions
from moaa_operator.tell.progress import column, shown
from moaa_operator.tell.results import bounded, iteration_of, last_closed, stage_status
from moaa_operator.tell.run_state import View


def status_of(view: View, before: MoAAStatus) -> MoAAStatus:
    """What a refused resource has done so far stays as it was."""
    view = _steady(view, before)
    found = conditions.conditions(view, before.conditions)
    if view.resource is None:
        begun = bool(before.stages or before.attempts)
        return before.with_(
            observed_generation=view.generation, conditions=found, phase=conditions.phase(found, has_begun=begun)
        )
    kept = {**view.aside, **view.results}
    attempts = sorted(view.attempts.values(), key=lambda entry: entry.stage)
    closed = last_closed(view.results)
    work = view.progress.get(view.stage or "")
    has_begun = bool(kept) or any(entry.attempt for entry in attempts if entry.stage in view.graph.stages)
    return MoAAStatus(
        observed_generation=view.generation,
        phase=conditions.phase(found, has_begun=has_begun),
        iteration=f"{min(closed + 1, view.resource.spec.iterations)}/{view.resource.spec.iterations}",
        stage=view.stage,
        progress=column(work) or None if work is not None else None,
        work=work,
        score=_score(view) or before.score,
        conditions=found,
        stages=[stage_status(result) for result in bounded(kept)],
        attempts=attempts[:MAX_STAGES],
        repeating=list(view.repeating),
        promoted=_promoted(view) or before.promoted,
        history=_history(view, before),
    )


def document(status: MoAAStatus) -> dict[str, Any]:
    """As the API server stores it."""
    return status.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _steady(view: View, before: MoAAStatus) -> View:
    """With the figures that are shown already, where those of now say nothing new."""
    now = view.progress.get(view.stage or "")
    if view.stage is None or now is None or before.stage != view.stage:
        return view
    return replace(view, progress={**view.progress, view.stage: shown(before.work, now)})


def _score(view: View) -> str | None:
    """Of the last student that was measured."""
    order = {name: place for place, name in enumerate(view.graph.stages)}
    measured = [r for r in view.results.values() if r.score is not None and r.kind is Kind.EVALUATE]
    last = max(measured, key=lambda r: (iteration_of(r.stage), order.get(r.stage, 0)), default=None)
    return last.score if last is not None else None


def _promoted(view: View) -> Promoted | None:
    closed = last_closed(view.results)
    result = view.results.get(stage_id(closed, Kind.PROMOTE)) if closed else None
    if result is None or "model" not in result.outputs:
        return None
    return Promoted(uri=result.outputs["model"].uri, digest=result.outputs["model"].digest)


def _history(view: View, before: MoAAStatus) -> list[ClosedIteration]:
    known = {entry.iteration: entry for entry in before.history}
    for name, result in view.results.items():
        if result.kind is Kind.PROMOTE and iteration_of(name) not in known:
            known[iteration_of(name)] = _closed(result, view, view.now)
    return [known[i] for i in sorted(known)][-MAX_HISTORY:]


def _closed(result: StageResult, view: View, now: datetime) -> ClosedIteration:
    model = result.outputs.get("model")
    made = [r.stage for r in view.results.values() if r.kind in TRAINING and model and r.outputs["model"] == model]
    stage, measure = made[0] if made else None, ""
    if stage is not None:
        measure = stage_id(iteration_of(stage), Kind.EVALUATE, str(view.results[stage].kind))
    elif model is not None and model.uri is None:
        measure = BASE_EVALUATE
    score = view.results[measure].score if measure in view.results else None
    return ClosedIteration(iteration=iteration_of(result.stage), stage=stage, score=score, closed=now)
