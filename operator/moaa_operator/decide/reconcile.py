"""The decision about one MoAA: what was observed and the time in, what should exist and the status out. Pure.

What always holds, whatever happened before and however often it is asked:
- a stage with a result is never run again, and one with a stage missing before it never starts;
- an attempt's number is used once, and its objects' names follow from it: made twice, they are the same objects;
- an outcome is in the status before the child that it was read from is deleted (deletions come after the write);
- a stage starts only when all its servers answer; no server is up that no stage ahead of the next training asks;
- an edit that changes a fingerprint stops that stage's attempt; suspend leaves nothing that holds a machine;
- attempts are bounded per edit, so that every run comes to an end or waits for something it names.

Children that vanish before their outcome was seen are made again under the same number: the store makes that harmless
(finished shards stay finished, every durable call is reused).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from moaa.api import MoAA
from moaa.api.attempts import StageAttempts, Step
from moaa.api.reading.load import load_document
from moaa.api.status import MoAAStatus
from moaa.errors import ResourceError
from moaa.plan.graph import build
from moaa.plan.kinds.table import TRAINING
from moaa.plan.ready import Failure, World, candidates, decide
from moaa.plan.result import Identity
from moaa.plan.stage import Kind
from moaa_operator.decide import attempts, launch, outcomes, store_checks
from moaa_operator.decide.cleanup import sweep
from moaa_operator.decide.edits import repeating
from moaa_operator.decide.outcomes import Deferred, Done, Failed, Released, Worked
from moaa_operator.decide.renderer import Manifest, Renderer
from moaa_operator.decide.scope import CHECKS, PREFLIGHT, Work
from moaa_operator.kube import rejections
from moaa_operator.observe.pods import Problem
from moaa_operator.observe.read import Child, End, Observed, Ref, Role
from moaa_operator.settings import Settings
from moaa_operator.tell.results import hold, results_of
from moaa_operator.tell.run_state import View
from moaa_operator.tell.status import status_of

QUICK = frozenset({Kind.RESOLVE, Kind.STAGE_DATA, Kind.PROMOTE})
"""Stages whose own Job finds a manifest as soon as an inspection would."""
HUMAN = frozenset(
    {
        "ImagePullBackOff", "CreateContainerConfigError",
        "CreateContainerError", "CrashLoopBackOff", "FailedCreate", "RunContainerError", *rejections.REASONS,
    }
)  # fmt: skip
"""Reasons that a person has to do something about; a machine that is missing may come by itself."""


SILENT_S = 3.0
"""How soon to look again at a Job without pods."""


@dataclass(frozen=True)
class Desired:
    """What is to be done, in this order: apply and create, write the status, delete."""

    status: MoAAStatus
    apply: tuple[Manifest, ...] = ()
    """Deployments and Services."""
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
        resource = _admitted(observed, render)
    except ResourceError as error:
        view = View(generation=observed.generation, now=now, resource=None, refusal=str(error))
        return Desired(status_of(view, observed.status), requeue_after_s=settings.resync_idle_s)
    entries = {entry.stage: attempts.edited(entry, observed.generation) for entry in observed.status.attempts}
    work = Work(observed, now, settings, render, resource, results_of(observed.status), entries)
    _adopt(work)
    _harvest(work)
    _hold(work)
    _decide(work)
    if not resource.spec.suspend:
        launch.serve(work)
        launch.carry_out(work)
    delete = sweep(work)
    return Desired(
        status=status_of(_view(work), observed.status),
        apply=tuple(work.apply),
        create=tuple(work.create),
        delete=tuple(delete),
        is_refused=bool(observed.refusals),
        requeue_after_s=_requeue_after(work),
    )


def _admitted(observed: Observed, render: Renderer) -> MoAA:
    """Raises ResourceError: the resource is wrong, or sound and nothing that a cluster can carry out."""
    name = f"MoAA {observed.owner.namespace}/{observed.owner.name}"
    resource = load_document(observed.document, name=name)
    problems = render.refusals(resource)
    if problems:
        raise ResourceError(name, problems)
    return resource


def _adopt(work: Work) -> None:
    """What the children tell of attempts beyond the status: it was lost, or its write failed."""
    for child in sorted(work.observed.children, key=lambda c: (c.attempt, c.role == Role.FINALISE)):
        if not child.is_work or child.is_leaving or child.role not in (Role.STAGE, Role.FINALISE):
            continue
        entry, result = work.entries.get(child.stage), work.known.get(child.stage)
        if result is not None and result.fingerprint == child.fingerprint:
            continue
        if entry is not None and (entry.fingerprint != child.fingerprint or _knows_of(entry, child)):
            continue
        if entry is None:
            # Under which generation it began went with the status; its failure must not bar what an edit mended since.
            entry = attempts.new(child.stage, child.fingerprint, generation=0)
        work.put(
            entry.with_(attempt=child.attempt, step=_step(child), since=child.created or work.now, is_checked=True)
        )


def _knows_of(entry: StageAttempts, child: Child) -> bool:
    """The entry is as far as the child shows.

    One whose Job exists does not wait for servers any more: as if it did, the Job's good end would be taken for an
    attempt without a result, and servers that go away would take the Job with them.
    """
    if entry.attempt != child.attempt:
        return entry.attempt > child.attempt
    order = list(Step)
    return entry.step is None or order.index(entry.step) >= order.index(_step(child))


def _step(child: Child) -> Step:
    """Of the attempt that the child was made for."""
    return Step.FINALISE if child.role == Role.FINALISE else Step.WORK


def _harvest(work: Work) -> None:
    """Record what the attempts under way have come to."""
    store_checks.take_preflight(work)
    store_checks.take_inspect(work)
    stages = build(work.resource).stages
    for entry in list(work.entries.values()):
        if entry.step is None or entry.stage in CHECKS:
            continue
        match outcomes.outcome(work.observed, entry, now=work.now, place_within=work.place_within):
            case Done(result):
                # The same work may have been done as a stage of another name.
                work.known[entry.stage] = result.with_(stage=entry.stage)
                del work.entries[entry.stage]
            case Worked():
                work.put(attempts.move(entry, Step.FINALISE, now=work.now))
            case Deferred(waiting, calls):
                served = len(stages[entry.stage].serves) if entry.stage in stages else 0
                _defer(work, entry, waiting, calls=calls, turns=max(served, 1))
            case Failed(reason, message, is_permanent):
                work.fail(entry, reason, message, is_permanent=is_permanent)
            case Released(message):
                work.release(entry, message)


def _defer(work: Work, entry: StageAttempts, waiting: Mapping[str, int], *, calls: int, turns: int) -> None:
    later = attempts.deferred(entry, waiting, calls=calls)
    if later.idle_turns >= turns:
        names = ", ".join(f"{model} ({rows})" for model, rows in waiting.items()) or "models that the job did not name"
        message = f"rows wait for {names}, and serving each of its models in turn sent no further call"
        work.fail(later, "RowsStuck", message, is_permanent=True)
    else:
        work.put(later)


def _hold(work: Work) -> None:
    work.graph, work.results, work.aside = hold(work.resource, work.known)
    work.identities = {i.stage.id: i for i in candidates(work.graph, work.resource, work.results)}
    for name in [name for name in work.entries if name in work.results]:
        del work.entries[name]


def _decide(work: Work) -> None:
    """Ask the plan, stop what it stops, start what it starts as far as the store and the cluster allow."""
    running = _live(work) | {e.stage: e.fingerprint for e in work.entries.values() if e.step and e.stage not in CHECKS}
    failures = {
        entry.fingerprint: Failure(entry.failures, entry.is_permanent, entry.message)
        for entry in work.entries.values()
        if entry.failures and entry.stage not in CHECKS
    }
    decision = decide(work.graph, work.resource, World(work.results, running=running, failures=failures))
    work.waiting |= decision.waiting
    work.failed |= decision.failed
    work.is_finished, work.is_stuck = decision.is_finished, decision.is_stuck
    for stage in decision.stop:
        _stop(work, stage)
    if work.resource.spec.suspend:
        for check in CHECKS:
            if check in work.entries:
                work.put(attempts.idle(work.entries[check]))
        return
    if decision.is_finished or decision.is_stuck:
        return
    wanted: list[Identity] = []
    is_storage_ready = store_checks.preflight(work)
    for identity in decision.start:
        if not is_storage_ready:
            work.waiting[identity.stage.id] = "the store is being checked"
        elif reason := _start(work, identity, wanted):
            work.waiting[identity.stage.id] = reason
    if is_storage_ready:
        store_checks.inspect(work, wanted)


def _live(work: Work) -> dict[str, str]:
    """Children that may still hold machines although no attempt is under way for them."""
    return {
        child.stage: child.fingerprint
        for child in work.observed.children
        if child.is_live and child.role in (Role.STAGE, Role.FINALISE)
    }


def _stop(work: Work, stage: str) -> None:
    """The sweep deletes what runs of it."""
    entry = work.entries.get(stage)
    if entry is None:
        return
    identity = work.identities.get(stage)
    if identity is not None and identity.fingerprint == entry.fingerprint:
        work.put(attempts.idle(entry, reason="Suspended" if work.resource.spec.suspend else "Stopped"))
    elif work.resource.spec.suspend and identity is None:
        work.put(attempts.idle(entry, reason="Suspended"))
    else:
        del work.entries[stage]


def _start(work: Work, identity: Identity, wanted: list[Identity]) -> str | None:
    """Begin an attempt, or say why not yet; what the store is to be asked for first goes into `wanted`."""
    stage = identity.stage
    entry = work.entries.get(stage.id)
    if entry is None or entry.fingerprint != identity.fingerprint:
        entry = attempts.new(stage.id, identity.fingerprint, work.observed.generation)
        work.put(entry)
    if entry.retry_after is not None and entry.retry_after > work.now:
        work.wake.append(entry.retry_after)
        return f"tries again at {entry.retry_after:%H:%M:%S} UTC after: {entry.message}"
    if not entry.is_checked and stage.kind not in QUICK:
        wanted.append(identity)
        return "the store is asked whether it is done already"
    if stage.kind in TRAINING and not work.observed.has_kuberay:
        work.blocked.append(
            Problem(
                "KubeRayMissing",
                f"{stage.id} needs a RayJob and the cluster has no CustomResourceDefinition rayjobs.ray.io; install "
                "KubeRay 1.6 or newer",
            )
        )
        return "KubeRay is not installed"
    return launch.begin(work, identity, entry)


def _view(work: Work) -> View:
    training = _training(work)
    work.blocked += dict.fromkeys(work.observed.refusals.values())
    problems = [*work.blocked, *([work.servers] if work.servers else []), *([training[1]] if training[1] else [])]
    children = [c for entry in work.running() if (c := outcomes.working_child(work.observed, entry))]
    problems += [child.problem for child in children if child.problem]
    hindered = {child.stage: child.problem for child in children if child.problem and not child.is_running}
    blocked = [p for p in problems if p in work.blocked or p.reason in HUMAN]
    return View(
        generation=work.observed.generation,
        now=work.now,
        resource=work.resource,
        graph=work.graph,
        results=work.results,
        aside=work.aside,
        attempts=work.entries,
        waiting=work.waiting,
        failed=work.failed,
        is_finished=work.is_finished,
        is_stuck=work.is_stuck,
        storage=work.entries.get(PREFLIGHT),
        servers=work.servers,
        are_servers_ready=work.are_servers_ready,
        training=training[1],
        is_training=training[0],
        blocked=tuple(blocked),
        hindered=hindered,
        repeating=tuple(repeating(work)),
        progress={child.stage: child.progress for child in children if child.progress},
    )


def _training(work: Work) -> tuple[bool, Problem | None]:
    """Whether a training is under way, and why its RayJob does not go on."""
    missing = next((p for p in work.blocked if p.reason == "KubeRayMissing"), None)
    for entry in work.running():
        if work.graph.stages[entry.stage].kind in TRAINING:
            child = outcomes.working_child(work.observed, entry)
            if child is not None:
                return True, child.problem
            refused = [problem for (kind, _), problem in work.observed.refusals.items() if kind == "RayJob"]
            return True, refused[0] if refused else Problem("Starting", "the RayJob is being made")
    return False, missing


def _is_newly_silent(child: Child, now: datetime) -> bool:
    """Made a moment ago and without pods; that they cannot be made is an Event, which wakes nobody."""
    return child.is_silent and child.created is not None and (now - child.created).total_seconds() < 10 * SILENT_S


def _requeue_after(work: Work) -> float:
    """By time alone: the next deadline, and the regular look that makes a lost event cost no more than that."""
    is_active = any(entry.step is not None for entry in work.entries.values()) or bool(work.create or work.apply)
    regular = work.settings.resync_active_s if is_active else work.settings.resync_idle_s
    times = [(moment - work.now).total_seconds() for moment in work.wake]
    if any(_is_newly_silent(child, work.now) for child in work.observed.children):
        times.append(SILENT_S)
    going_on = [child for child in work.observed.children if child.end is End.RUNNING and not child.is_leaving]
    ends = [at for child in going_on for at in outcomes.deadlines(child, place_within=work.place_within)]
    times += [(at - work.now).total_seconds() for at in ends]
    return max(min([regular, *times]), 0.5)
