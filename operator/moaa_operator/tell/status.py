"""Make the status from the state of a run. Pure.

Equal runs give equal statuses, so nothing is written when nothing has changed.
"""

from dataclasses import replace
from datetime import datetime
from typing import Any

from moaa.api.status import MAX_HISTORY, MAX_STAGES, ClosedIteration, MoAAStatus, Promoted
from moaa.plan.ids import BASE_EVALUATE, stage_id
from moaa.plan.kinds.table import STUDENTS
from moaa.plan.result import StageResult
from moaa.plan.stage import Kind
from moaa_operator.tell import conditions
from moaa_operator.tell.cost import cost_of, steady
from moaa_operator.tell.progress import column, shown
from moaa_operator.tell.results import bounded, iteration_of, last_closed, stage_status
from moaa_operator.tell.run_state import RunState


def status_of(state: RunState, before: MoAAStatus) -> MoAAStatus:
    """The next status. What a refused resource has done so far stays as it was."""
    state = _steady(state, before)
    found = conditions.conditions(state, before.conditions)
    if state.resource is None:
        begun = bool(before.stages or before.attempts)
        return before.with_(
            observed_generation=state.generation, conditions=found, phase=conditions.phase(found, has_begun=begun)
        )
    kept = {**state.held.aside, **state.held.results}
    attempts = sorted(state.attempts.values(), key=lambda entry: entry.stage)
    closed = last_closed(state.held.results)
    work = state.progress.get(state.stage or "")
    has_begun = bool(kept) or any(entry.attempt for entry in attempts if entry.stage in state.held.graph.stages)
    made = MoAAStatus(
        observed_generation=state.generation,
        phase=conditions.phase(found, has_begun=has_begun),
        iteration=f"{min(closed + 1, state.resource.spec.iterations)}/{state.resource.spec.iterations}",
        stage=state.stage,
        progress=column(work) or None if work is not None else None,
        work=work,
        score=_score(state) or before.score,
        conditions=found,
        stages=[stage_status(result) for result in bounded(kept)],
        attempts=attempts[:MAX_STAGES],
        repeating=list(state.repeating),
        spent=list(state.spent),
        cost=cost_of(state.resource, state.account, is_least=any(entry.is_least for entry in state.spent)),
        promoted=_promoted(state) or before.promoted,
        history=_history(state, before),
    )
    return steady(made, before)


def document(status: MoAAStatus) -> dict[str, Any]:
    """As the API server stores it."""
    return status.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _steady(state: RunState, before: MoAAStatus) -> RunState:
    """With the figures that are shown already, where those of now say nothing new."""
    now = state.progress.get(state.stage or "")
    if state.stage is None or now is None or before.stage != state.stage:
        return state
    return replace(state, progress={**state.progress, state.stage: shown(before.work, now)})


def _score(state: RunState) -> str | None:
    """Of the last student that was measured."""
    order = {name: place for place, name in enumerate(state.held.graph.stages)}
    measured = [r for r in state.held.results.values() if r.score is not None and r.kind is Kind.EVALUATE]
    last = max(measured, key=lambda r: (iteration_of(r.stage), order.get(r.stage, 0)), default=None)
    return last.score if last is not None else None


def _promoted(state: RunState) -> Promoted | None:
    closed = last_closed(state.held.results)
    result = state.held.results.get(stage_id(closed, Kind.PROMOTE)) if closed else None
    if result is None or "model" not in result.outputs:
        return None
    return Promoted(uri=result.outputs["model"].uri, digest=result.outputs["model"].digest)


def _history(state: RunState, before: MoAAStatus) -> list[ClosedIteration]:
    known = {entry.iteration: entry for entry in before.history}
    for name, result in state.held.results.items():
        if result.kind is Kind.PROMOTE and iteration_of(name) not in known:
            known[iteration_of(name)] = _closed(result, state, state.now)
    return [known[i] for i in sorted(known)][-MAX_HISTORY:]


def _closed(result: StageResult, state: RunState, now: datetime) -> ClosedIteration:
    model = result.outputs.get("model")
    made = [
        r.stage for r in state.held.results.values() if r.kind in STUDENTS and model and r.outputs["model"] == model
    ]
    stage, measure = made[0] if made else None, ""
    if stage is not None:
        measure = stage_id(iteration_of(stage), Kind.EVALUATE, str(state.held.results[stage].kind))
    elif model is not None and model.uri is None:
        measure = BASE_EVALUATE
    score = state.held.results[measure].score if measure in state.held.results else None
    return ClosedIteration(
        iteration=iteration_of(result.stage), stage=stage, score=score, why=result.decision, closed=now
    )
