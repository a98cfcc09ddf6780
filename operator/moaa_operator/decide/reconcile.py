"""The decision about one MoAA: what was observed and the time go in, what should exist and the status come out. Pure.

These rules always hold, however often it is asked:
- a stage with a result never runs again, and a stage never starts before those it needs are done;
- an attempt's number is used once, and names follow from it: an object that is made twice is one object;
- an outcome is in the status before its child is deleted (deletions come after the write);
- a stage starts only when all its servers answer; a server is up only for a stage before the next training;
- an edit that changes a fingerprint stops that stage's attempt; suspend leaves nothing that holds a machine;
- attempts are bounded per edit, so every run ends or waits for something it names.

A child that vanishes before its outcome was seen is made again under the same number. The store makes that harmless:
finished shards stay finished, and every durable call is reused.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import assert_never

from moaa.api import MoAA
from moaa.api.attempts import StageAttempts, Step
from moaa.api.reading.load import load_document, too_deep, without_server_fields
from moaa.api.status import MoAAStatus
from moaa.errors import ResourceError
from moaa.plan.budget.told import out_of_budget
from moaa.plan.forecast.replicas import check_limit
from moaa.plan.graph import build
from moaa.plan.kinds.table import KINDS, TRAINING
from moaa.plan.ready import Failure, World, decide, funds_of
from moaa.plan.result import Identity
from moaa.plan.stage import Stage
from moaa_operator.decide import attempts, launch, outcomes, spending, store_checks
from moaa_operator.decide.cleanup import sweep
from moaa_operator.decide.edits import repeating
from moaa_operator.decide.outcomes import Deferred, Done, Failed, Overtaken, Released, Worked
from moaa_operator.decide.renderer import Renderer, Rendering
from moaa_operator.decide.scope import CHECKS, PREFLIGHT, Scope
from moaa_operator.kube import kueue, rejections
from moaa_operator.kube.kinds import RAYJOB
from moaa_operator.kube.objects import Manifest, Problem, Ref
from moaa_operator.kube.owner import Role
from moaa_operator.observe.observed import Child, End, Observed, Server
from moaa_operator.settings import Settings
from moaa_operator.tell.conditions import BUDGET_EXHAUSTED
from moaa_operator.tell.results import hold, last_closed, results_of
from moaa_operator.tell.run_state import RunState, Training
from moaa_operator.tell.status import status_of

HUMAN = frozenset(
    {
        "ImagePullBackOff", "CreateContainerConfigError",
        "CreateContainerError", "CrashLoopBackOff", "FailedCreate", "RunContainerError", *rejections.REASONS,
        *kueue.NEEDS_A_PERSON,
    }
)  # fmt: skip
"""Reasons that need a person. A missing machine is not among them: it may come by itself."""


SILENT_S = 3.0
"""How soon to look again at a Job without pods."""


@dataclass(frozen=True)
class Desired:
    """What is to be done, in this order: apply and create, write the status, delete."""

    status: MoAAStatus
    apply: tuple[Manifest, ...] = ()
    """Policies, and what servers consist of."""
    create: tuple[Manifest, ...] = ()
    """Jobs, RayJobs and their ConfigMaps: made once, never changed."""
    delete: tuple[Ref, ...] = ()
    is_refused: bool = False
    """The API server would not let a part of it be made."""
    requeue_after_s: float | None = None
    """When to look again though nothing has happened; None: never."""


def reconcile(observed: Observed, *, now: datetime, settings: Settings, render: Renderer) -> Desired:
    """What is to be done about one MoAA."""
    if observed.is_leaving:  # Kubernetes removes the children through their owner references
        return Desired(observed.status)
    try:
        resource, bound = _admitted(observed, settings, render)
    except ResourceError as error:
        state = RunState(generation=observed.generation, now=now, resource=None, refusal=str(error))
        # What the cluster lacks may be installed any moment, and nobody tells of it.
        again_s = settings.resync_active_s if observed.missing else settings.resync_idle_s
        return Desired(status_of(state, observed.status), requeue_after_s=again_s)
    entries = {entry.stage: attempts.edited(entry, observed.generation) for entry in observed.status.attempts}
    scope = Scope(observed, now, settings, bound, resource, results_of(observed.status), entries)
    _adopt(scope)
    spending.meter(scope)
    _harvest(scope)
    _hold(scope)
    _decide(scope)
    if not resource.spec.suspend and not scope.decision.is_out_of_budget:
        launch.serve(scope)
        launch.carry_out(scope)
    spending.settle(scope)
    if scope.apply or scope.create:  # before the pods that come of these
        scope.apply[:0] = scope.render.policies()
    delete = sweep(scope)
    return Desired(
        status=status_of(_state(scope), observed.status),
        apply=tuple(scope.apply),
        create=tuple(scope.create),
        delete=tuple(delete),
        is_refused=bool(observed.refusals),
        requeue_after_s=_requeue_after(scope),
    )


def _admitted(observed: Observed, settings: Settings, render: Renderer) -> tuple[MoAA, Rendering]:
    """The resource, and what renders it.

    Raises:
        ResourceError: the resource is wrong, or sound and nothing that a cluster can carry out.
    """
    name = f"MoAA {observed.owner.namespace}/{observed.owner.name}"
    document = without_server_fields(observed.document)
    deepest = too_deep(document)  # before anything walks it: an API server stores any depth
    if deepest is not None:
        raise ResourceError(name, [deepest])
    resource = _read(json.dumps(document, sort_keys=True), name)
    bound = render(resource, observed.owner, settings)
    problems = bound.refusals(observed.missing)
    if problems:
        raise ResourceError(name, problems)
    return resource, bound


@lru_cache(maxsize=64)
def _read(text: str, name: str) -> MoAA:
    """A look at an unchanged MoAA checks nothing again. Few are kept, since thousands of them would fill the memory."""
    resource = load_document(json.loads(text), name=name)
    check_limit(resource)
    return resource


def _adopt(scope: Scope) -> None:
    """Take over attempts that children show and the status lacks: it was lost, or its write failed.

    What they have taken so far the children tell, too (`spending.adopted`).
    """
    for child in sorted(scope.observed.children, key=lambda c: (c.attempt, c.role == Role.FINALISE)):
        if not child.is_work or child.is_leaving or child.role not in (Role.STAGE, Role.FINALISE):
            continue
        entry, result = scope.entries.get(child.stage), scope.known.get(child.stage)
        if result is not None and result.fingerprint == child.fingerprint:
            continue
        if entry is not None and (
            entry.fingerprint != child.fingerprint or _knows_of(entry, child, _step(scope, child))
        ):
            continue
        if entry is None:
            # Under which generation it began went with the status; its failure must not bar what an edit mended since.
            entry = attempts.new(child.stage, child.fingerprint, generation=0)
        taken = entry.with_(
            attempt=child.attempt, step=_step(scope, child), since=child.created or scope.now, is_checked=True
        )
        scope.put(spending.adopted(scope, entry, taken, child))


def _knows_of(entry: StageAttempts, child: Child, step: Step) -> bool:
    """The entry is as far as the child shows.

    An attempt whose Job exists no longer waits for servers. If it seemed to wait, the Job's good end would count as an
    attempt without a result, and servers that go away would take the Job with them.
    """
    if entry.attempt != child.attempt:
        return entry.attempt > child.attempt
    order = list(Step)
    return entry.step is None or order.index(entry.step) >= order.index(step)


def _step(scope: Scope, child: Child) -> Step:
    """Of the attempt that the child was made for. In a queue, a Job without its file waits for servers."""
    if child.role == Role.FINALISE:
        return Step.FINALISE
    of_it = [c for c in scope.observed.children if c.role == Role.STAGE and c.stage == child.stage]
    has_file = any((c.attempt, c.fingerprint, c.is_work) == (child.attempt, child.fingerprint, False) for c in of_it)
    return Step.WORK if has_file or not scope.queue else Step.SERVERS


def _harvest(scope: Scope) -> None:
    """Record how the attempts under way ended."""
    store_checks.take_preflight(scope)
    store_checks.take_inspect(scope)
    stages = build(scope.resource).stages
    for entry in list(scope.entries.values()):
        if entry.step is None or entry.stage in CHECKS:
            continue
        ended = outcomes.outcome(scope.observed, entry, now=scope.now, place_within=scope.place_within)
        match ended:
            case None:
                child = outcomes.working_child(scope.observed, entry)
                if child is not None:
                    _hear(scope, entry, child, stages.get(entry.stage))
            case Done(result):
                # The same work may have been done as a stage of another name.
                scope.known[entry.stage] = result.with_(stage=entry.stage)
                del scope.entries[entry.stage]
            case Worked():
                scope.put(attempts.move(entry, Step.FINALISE, now=scope.now))
            case Deferred(waiting, calls):
                served = len(stages[entry.stage].serves) if entry.stage in stages else 0
                _defer(scope, entry, waiting, calls=calls, turns=max(served, 1))
            case Failed(reason, message, is_permanent):
                scope.fail(entry, reason, message, is_permanent=is_permanent)
            case Released(message, has_begun):
                scope.release(entry.with_(releases=0) if has_begun else entry, message)
            case Overtaken(message):
                scope.put(attempts.overtaken(entry, message=message, now=scope.now, run=scope.observed.owner.uid))
            case _:
                assert_never(ended)


def _hear(scope: Scope, entry: StageAttempts, child: Child, stage: Stage | None) -> None:
    """What its pods say: how far it is, and which models it will not ask again."""
    if child.progress is not None:
        entry = attempts.heard(entry, child.progress)
    # In a queue servers are one pod group, of which no part can go.
    if stage is not None and entry.at_work_since is not None and not scope.queue:
        models = [name for name in stage.serves if name in child.finished_with - {*entry.finished_with}]
        if models:
            spent = scope.metered[entry.stage, entry.fingerprint]
            entry = attempts.finished_with(entry, models, gpu_seconds=spent.gpu_seconds, now=scope.now)
    scope.put(entry)


def _defer(scope: Scope, entry: StageAttempts, waiting: Mapping[str, int], *, calls: int, turns: int) -> None:
    later = attempts.deferred(entry, waiting, calls=calls)
    if later.idle_turns >= turns:
        names = ", ".join(f"{model} ({rows})" for model, rows in waiting.items()) or "models that the job did not name"
        message = f"rows wait for {names}, and serving each of its models in turn sent no further call"
        scope.fail(later, "RowsStuck", message, is_permanent=True)
    else:
        scope.put(later)


def _hold(scope: Scope) -> None:
    scope.held = hold(scope.resource, scope.known)
    for name in [name for name in scope.entries if name in scope.held.results]:
        del scope.entries[name]


def _decide(scope: Scope) -> None:
    """Ask the plan, stop what it stops, start what it starts as far as the store and the cluster allow."""
    running = _live(scope) | {
        e.stage: e.fingerprint for e in scope.entries.values() if e.step and e.stage not in CHECKS
    }
    failures = {
        entry.fingerprint: Failure(entry.failures, entry.is_permanent, entry.message)
        for entry in scope.entries.values()
        if entry.failures and entry.stage not in CHECKS
    }
    world = World(scope.held.results, running=running, failures=failures, account=scope.account)
    scope.decision = decision = decide(scope.held.graph, scope.resource, world)
    if decision.over_budget:
        funds = funds_of(scope.resource, world)
        scope.over_budget = out_of_budget(funds, scope.held.graph, scope.held.results, decision.over_budget)
    for stage in decision.stop:
        _stop(scope, stage)
    if scope.resource.spec.suspend:
        for check in CHECKS:
            if check in scope.entries:
                scope.put(attempts.idle(scope.entries[check]))
        return
    if decision.is_finished or decision.is_stuck or decision.is_out_of_budget:
        return
    wanted: list[Identity] = []
    is_storage_ready = store_checks.preflight(scope)
    for identity in decision.start:
        if not is_storage_ready:
            scope.postponed[identity.stage.id] = "the store is being checked"
        elif reason := _start(scope, identity, wanted):
            scope.postponed[identity.stage.id] = reason
    if is_storage_ready:
        store_checks.inspect(scope, wanted)


def _live(scope: Scope) -> dict[str, str]:
    """Children that may still hold machines although no attempt is under way for them."""
    return {
        child.stage: child.fingerprint
        for child in scope.observed.children
        if child.is_live and child.role in (Role.STAGE, Role.FINALISE)
    }


def _stop(scope: Scope, stage: str) -> None:
    """The sweep deletes what runs of it."""
    entry = scope.entries.get(stage)
    if entry is None:
        return
    identity = scope.held.identities.get(stage)
    if identity is not None and identity.fingerprint == entry.fingerprint:
        reason = "Suspended" if scope.resource.spec.suspend else "Stopped"
        scope.put(attempts.idle(entry, reason=BUDGET_EXHAUSTED if stage in scope.decision.over_budget else reason))
    elif scope.resource.spec.suspend and identity is None:
        scope.put(attempts.idle(entry, reason="Suspended"))
    else:
        del scope.entries[stage]


def _start(scope: Scope, identity: Identity, wanted: list[Identity]) -> str | None:
    """Begin an attempt, or say why not yet. `wanted` collects stages that the store must be asked about first."""
    stage = identity.stage
    entry = scope.entries.get(stage.id)
    if entry is None or entry.fingerprint != identity.fingerprint:
        entry = attempts.new(stage.id, identity.fingerprint, scope.observed.generation)
        scope.put(entry)
    if entry.retry_after is not None and entry.retry_after > scope.now:
        scope.wake.append(entry.retry_after)
        if attempts.is_overtaken(entry):
            return (
                "another run of equal inputs is at work on it; its result is taken once it is there (looks again at "
                f"{entry.retry_after:%H:%M:%S} UTC)"
            )
        return f"tries again at {entry.retry_after:%H:%M:%S} UTC after: {entry.message}"
    if not entry.is_checked and not KINDS[stage.kind].is_quick:
        wanted.append(identity)
        return "the store is asked whether it is done already"
    if stage.kind in TRAINING and RAYJOB.kind in scope.observed.missing:
        scope.blocked.append(
            Problem(
                "KubeRayMissing",
                f"{stage.id} needs a RayJob and the cluster has no CustomResourceDefinition rayjobs.ray.io; install "
                "KubeRay 1.6 or newer",
            )
        )
        return "KubeRay is not installed"
    return launch.begin(scope, identity, entry)


def _state(scope: Scope) -> RunState:
    """How the run stands, for status, conditions and Events."""
    training = _training(scope)
    scope.blocked += dict.fromkeys(scope.observed.refusals.values())
    children = [c for entry in scope.running() if (c := outcomes.working_child(scope.observed, entry))]
    checks = [scope.entries[check] for check in CHECKS if check in scope.entries]
    asking = [c for entry in checks if entry.step and (c := outcomes.working_child(scope.observed, entry))]
    held_back = {child.stage: child.problem for child in asking if child.is_queued and child.problem}
    found = [scope.servers.problem if scope.servers else None, training.problem if training else None]
    found += [child.problem for child in children]
    by_hand = [problem for problem in found if problem is not None and problem.reason in HUMAN]
    return RunState(
        generation=scope.observed.generation,
        now=scope.now,
        resource=scope.resource,
        held=scope.held,
        decision=scope.decision,
        attempts=scope.entries,
        postponed=scope.postponed,
        storage=scope.entries.get(PREFLIGHT),
        servers=scope.servers,
        training=training,
        blocked=(*scope.blocked, *(problem for problem in by_hand if problem not in scope.blocked)),
        hindered={child.stage: child.problem for child in children if child.problem and not child.is_running}
        | held_back,
        repeating=tuple(repeating(scope)),
        progress={child.stage: child.progress for child in children if child.progress},
        over_budget=scope.over_budget,
        spent=tuple(spending.bounded([*scope.observed.status.spent, *scope.closed], last_closed(scope.held.results))),
        account=scope.account,
    )


def _training(scope: Scope) -> Training | None:
    """The training that is under way or due; None: there is none, or its manifest is being written."""
    for entry in scope.running():
        if scope.held.graph.stages[entry.stage].kind in TRAINING and entry.step is not Step.FINALISE:
            child = outcomes.working_child(scope.observed, entry)
            if child is not None:
                return Training(child.problem)
            refused = [problem for (kind, _), problem in scope.observed.refusals.items() if kind == "RayJob"]
            return Training(refused[0] if refused else Problem("Starting", "the RayJob is being made"))
    missing = next((problem for problem in scope.blocked if problem.reason == "KubeRayMissing"), None)
    return Training(missing) if missing is not None else None


def _is_newly_silent(child: Child | Server, now: datetime) -> bool:
    """Made a moment ago and without pods. Why there are none is in an Event, or in a queue's Workload, and neither is
    watched."""
    is_quiet = child.is_queued or (isinstance(child, Child) and child.is_silent)
    return is_quiet and child.created is not None and (now - child.created).total_seconds() < 10 * SILENT_S


def _requeue_after(scope: Scope) -> float:
    """Seconds to the next deadline, at most to the regular look, which bounds what a lost event costs."""
    is_active = any(entry.step is not None for entry in scope.entries.values()) or bool(scope.create or scope.apply)
    regular = scope.settings.resync_active_s if is_active else scope.settings.resync_idle_s
    times = [(moment - scope.now).total_seconds() for moment in scope.wake]
    holders: list[Child | Server] = [*scope.observed.children, *scope.observed.servers]
    if any(_is_newly_silent(one, scope.now) for one in holders):
        times.append(SILENT_S)
    going_on = [child for child in scope.observed.children if child.end is End.RUNNING and not child.is_leaving]
    ends = [at for child in going_on for at in outcomes.deadlines(child, place_within=scope.place_within)]
    times += [(at - scope.now).total_seconds() for at in ends]
    return max(min([regular, *times]), 0.5)
