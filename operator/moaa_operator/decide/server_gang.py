"""The servers of a stage as one: all up, or all given back. Pure.

A stage starts when all its models answer. Until then its servers wait for machines together. When one has found none
after `scheduleMinutes`, all are released: two runs that each hold half of what they need would block each other without
end. Those that wait in a queue, and hold nothing meanwhile, wait for their turn without a limit. Minutes of start-up
count from the moment a server has its machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from moaa.api import MoAA
from moaa.api.attempts import StageAttempts, Step
from moaa.api.resource import Schedule
from moaa.plan.ids import made_by
from moaa.plan.ready import next_in_turn
from moaa.plan.result import StageResult
from moaa.plan.stage import Stage
from moaa.weights.served import ServedModel, servers_of
from moaa_operator.kube.objects import Problem
from moaa_operator.observe.observed import Server

MAX_RESTARTS = 3
"""A server that never answered and ended this often is not tried further in this attempt."""
STARTUP_GRACE = timedelta(minutes=1)
"""The probe gives up first, so that its words are in the pod's status."""


class State(StrEnum):
    READY = "Ready"
    COMING = "Coming"
    NO_MACHINE = "NoMachine"
    """One waited for a machine for too long."""
    BROKEN = "Broken"
    """One cannot start."""


@dataclass(frozen=True)
class Gang:
    """How a stage's servers stand."""

    state: State
    reason: str = ""
    message: str = ""
    """About the server that the others wait for, in the words of the scheduler, kubelet or API server."""
    look_again: datetime | None = None
    """When time alone changes the state."""


def wanted(
    stage: Stage, entry: StageAttempts, resource: MoAA, results: Mapping[str, StageResult]
) -> dict[str, ServedModel]:
    """The servers that the stage's present attempt needs, by the names the stage uses."""
    found = servers_of(stage.serves, resource, results)
    match resource.spec.serving.schedule:
        case Schedule.TOGETHER:
            return found
        case Schedule.IN_TURN:
            return {name: served for name, served in found.items() if entry.turn in (None, name)}
        case _:
            assert_never(resource.spec.serving.schedule)


def without_finished(stage: Stage, entry: StageAttempts | None) -> Stage:
    """The stage, without the models that its attempt under way will not ask again."""
    if entry is None or entry.step is not Step.WORK:
        return stage
    return replace(stage, serves=tuple(name for name in stage.serves if name not in entry.finished_with))


def next_turn(stage: Stage, entry: StageAttempts, resource: MoAA, results: Mapping[str, StageResult]) -> str | None:
    """InTurn: whose turn the next attempt is; None: all models at once, or none of ours is asked."""
    ours = servers_of(stage.serves, resource, results)
    if not ours:
        return None
    match resource.spec.serving.schedule:
        case Schedule.TOGETHER:
            return None
        case Schedule.IN_TURN:
            waiting = {part.model: part.rows for part in entry.waiting if part.model in ours}
            return next_in_turn(stage, waiting, entry.turn) or entry.turn or next(iter(ours))
        case _:
            assert_never(resource.spec.serving.schedule)


def look(
    servers: Mapping[ServedModel, Server | None],
    resource: MoAA,
    *,
    refused: Mapping[ServedModel, Problem],
    since: datetime,
    now: datetime,
) -> Gang:
    """The worst state among a stage's servers.

    `servers` are those it needs, None where one does not exist yet. `refused` are those the API server did not take.
    `since` is when the stage began to wait.
    """
    worst, answering = Gang(State.READY), 0
    holds = any(server is not None and server.scheduled_at is not None for server in servers.values())
    rank = list(State)
    for served, server in servers.items():
        problem = refused.get(served)
        if server is None and problem is not None:
            found = _refused(served.name, problem, resource, since=since, now=now)
        elif server is not None and server.is_queued and server.problem is not None and not holds:
            # In a queue it holds no machine, so it may wait for its turn as long as that takes.
            found = Gang(State.COMING, server.problem.reason, server.problem.message)
        else:
            found = _one(served, server, resource, since=since, now=now)
        answering += found.state is State.READY
        if rank.index(found.state) > rank.index(worst.state):
            worst = found
        elif found.state is worst.state is State.COMING:
            soonest = min((t for t in (found.look_again, worst.look_again) if t), default=None)
            said = found if found.reason != "Starting" else worst
            worst = Gang(State.COMING, said.reason, said.message, soonest)
    if worst.state is State.COMING and len(servers) > 1:
        return replace(worst, message=f"{answering} of {len(servers)} servers answer; {worst.message}")
    return worst


def _one(served: ServedModel, server: Server | None, resource: MoAA, *, since: datetime, now: datetime) -> Gang:
    name = served.name
    if server is None or server.is_leaving:
        return Gang(State.COMING, "Starting", f"the server of {name} is being made")
    if server.is_ready:
        return Gang(State.READY)
    model = resource.spec.model(resource.spec.student if made_by(name) else name)
    said = server.problem.message if server.problem else ""
    reason = server.problem.reason if server.problem else "Starting"
    if server.scheduled_at is None:
        return _unplaced(name, server, resource, reason, said, since=since, now=now)
    placed = server.scheduled_at
    if server.begun is not None:  # its pods may be new ones in place of others, again and again
        latest = max(server.begun, since) + timedelta(minutes=resource.spec.serving.schedule_minutes)
        placed = min(placed, latest)
    deadline = placed + timedelta(minutes=model.serving.startup_minutes) + STARTUP_GRACE
    if server.restarts >= MAX_RESTARTS:
        return Gang(
            State.BROKEN, reason, f"the server of {name} ended {server.restarts} times before it answered: {said}"
        )
    if now >= deadline:
        return Gang(
            State.BROKEN,
            "StartupTimeout" if server.problem is None else reason,
            f"the server of {name} gave no completion in {model.serving.startup_minutes} minutes; raise "
            f"serving.startupMinutes if it only needs longer. {said}".strip(),
        )
    return Gang(State.COMING, reason, said or f"the server of {name} loads its weights", deadline)


def _refused(name: str, problem: Problem, resource: MoAA, *, since: datetime, now: datetime) -> Gang:
    """Wait for a refused server, but not without end: the run that fills the quota may wait for the others."""
    deadline = since + timedelta(minutes=resource.spec.serving.schedule_minutes)
    if now >= deadline:
        return Gang(State.NO_MACHINE, problem.reason, f"the server of {name}: {problem.message}")
    return Gang(State.COMING, problem.reason, problem.message, deadline)


def _unplaced(
    name: str, server: Server, resource: MoAA, reason: str, said: str, *, since: datetime, now: datetime
) -> Gang:
    minutes = resource.spec.serving.schedule_minutes
    waits_since = max(server.unscheduled_since or server.created or since, since)
    deadline = waits_since + timedelta(minutes=minutes)
    if now >= deadline:
        return Gang(
            State.NO_MACHINE,
            reason if server.problem else "Unschedulable",
            f"the server of {name} found no machine in {minutes} minutes: {said or 'the scheduler said nothing'}",
        )
    return Gang(State.COMING, reason, said or f"the server of {name} waits for a machine", deadline)
