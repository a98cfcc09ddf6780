"""The outcomes of attempts under way, read from their Jobs and RayJobs. Pure.

Once an outcome is in the status, its child may go. A stage is done when a Job that read its manifest says so in its
termination message; that a Job ended well is not enough.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from moaa.api.attempts import StageAttempts, Step
from moaa.contract.answers import FailureAnswer, WaitingAnswer
from moaa.contract.checks import CheckAnswer
from moaa.contract.exits import Exit
from moaa.plan.result import StageResult
from moaa_operator.kube.owner import Role
from moaa_operator.observe import pods
from moaa_operator.observe.observed import Child, End, Observed
from moaa_operator.observe.pods import Termination

HEAD_GRACE = timedelta(minutes=2)
"""KubeRay notices most lost heads by itself, and its words say more."""
LEAVING_GRACE = timedelta(minutes=5)
"""A pod so long past its end is on a machine that does not answer: it never ends, and its Job waits for it."""
SERVERS_FAILED = "ServersFailed"
"""The reason of attempts whose model servers did not answer; the next one gets new ones."""
_COUNTING = frozenset({"BackoffLimitExceeded", "MaxFailedIndexesExceeded", "FailedIndexes", "PodFailurePolicy"})
"""Reasons of a Job that say how often it failed, not why."""


@dataclass(frozen=True)
class Done:
    result: StageResult


@dataclass(frozen=True)
class Worked:
    """The work is done, its result is not known yet."""


@dataclass(frozen=True)
class Deferred:
    waiting: Mapping[str, int]
    """Rows by model."""
    calls: int
    """Sent by this attempt; 0 when it brought nothing new."""


@dataclass(frozen=True)
class Failed:
    reason: str
    message: str
    is_permanent: bool


@dataclass(frozen=True)
class Released:
    """Pods of it found no machine in time; it gives back the machines that the others have."""

    message: str
    has_begun: bool
    """It had all its machines once, and lost one since."""


@dataclass(frozen=True)
class Overtaken:
    """Another run of equal inputs has claimed the work since."""

    message: str


Outcome = Done | Worked | Deferred | Failed | Released | Overtaken


def children_of(observed: Observed, entry: StageAttempts) -> list[Child]:
    """The children of the attempt under way. For checks of the store the number alone counts."""
    return [
        child
        for child in observed.children
        if child.stage == entry.stage
        and child.attempt == entry.attempt
        and (child.fingerprint == entry.fingerprint or child.role in (Role.INSPECT, Role.PREFLIGHT))
    ]


def working_child(observed: Observed, entry: StageAttempts) -> Child | None:
    """The Job or RayJob that the entry's step is about, if it exists."""
    roles = (Role.FINALISE,) if entry.step is Step.FINALISE else (Role.STAGE, Role.INSPECT, Role.PREFLIGHT)
    found = [child for child in children_of(observed, entry) if child.is_work and child.role in roles]
    return found[0] if found else None


def outcome(observed: Observed, entry: StageAttempts, *, now: datetime, place_within: timedelta) -> Outcome | None:
    """How the step under way ended; None while it goes on, or its child is not there (yet).

    `place_within`: how long the pods of a RayJob may wait for machines.
    """
    child = working_child(observed, entry)
    if child is None:
        return None
    match child.end:
        case End.RUNNING:
            return _given_up(child, now=now, place_within=place_within)
        case End.FAILED:
            return _failure(child)
        case End.SUCCEEDED:
            return _success(child, entry)
        case _:
            assert_never(child.end)


def _success(child: Child, entry: StageAttempts) -> Outcome:
    result = _result(child, entry.fingerprint)
    if result is not None:
        return Done(result)
    if entry.step is Step.WORK:
        return Worked()
    return Failed(
        "NoResult",
        f"{child.ref.kind} {child.ref.name} ended well and left no result; are the jobs' image and the operator of the "
        "same version?",
        is_permanent=False,
    )


def deadlines(child: Child, *, place_within: timedelta) -> list[datetime]:
    """When time alone ends a child that goes on."""
    found = (
        (child.lost_since, HEAD_GRACE),
        (child.told_to_go, LEAVING_GRACE),
        (child.unplaced_since, place_within),
    )
    return [since + grace for since, grace in found if since is not None]


def _given_up(child: Child, *, now: datetime, place_within: timedelta) -> Failed | Released | None:
    """The failure of a child that says it goes on and does not."""
    if child.lost_since is not None and now >= child.lost_since + HEAD_GRACE:
        return _lost(child)
    if child.told_to_go is not None and now >= child.told_to_go + LEAVING_GRACE:
        return _unreachable(child)
    if child.unplaced_since is not None and now >= child.unplaced_since + place_within:
        said = child.problem.message if child.problem else "the scheduler said nothing"
        minutes = int(place_within.total_seconds() // 60)
        why = f"RayJob {child.ref.name} found no machines for all its pods in {minutes} minutes: {said}"
        return Released(why, has_begun=child.is_running)
    return None


def _unreachable(child: Child) -> Failed:
    return Failed(
        "NodeUnreachable",
        f"a pod of {child.ref.kind} {child.ref.name} was to end by {child.told_to_go:%H:%M:%S} UTC and has not: its "
        "node does not answer (kubectl get nodes; restart or delete it). Another attempt goes on without it",
        is_permanent=False,
    )


def _lost(child: Child) -> Failed:
    return Failed(
        "HeadLost",
        f"RayJob {child.ref.name} still says that it runs, but the Ray head it ran on was replaced at "
        f"{child.lost_since:%H:%M:%S} UTC; another attempt goes on from the newest checkpoint",
        is_permanent=False,
    )


def answer(observed: Observed, entry: StageAttempts, *, now: datetime) -> CheckAnswer | Failed | None:
    """What an inspection found, or how it failed; None while it goes on."""
    child = working_child(observed, entry)
    if child is None:
        return None
    match child.end:
        case End.RUNNING:
            given_up = _given_up(child, now=now, place_within=timedelta.max)
            return given_up if isinstance(given_up, Failed) else None
        case End.FAILED:
            failure = _failure(child)
            return (
                failure
                if isinstance(failure, Failed)
                else Failed("Failed", "it ended as a stage ends", is_permanent=False)
            )
        case End.SUCCEEDED:
            return _found(child)
        case _:
            assert_never(child.end)


def _found(child: Child) -> CheckAnswer | Failed:
    for ended in child.terminations:
        found = ended.said(CheckAnswer)
        if found is not None:
            return found
    return Failed("NoAnswer", f"Job {child.ref.name} ended well and left no answer", is_permanent=False)


def _result(child: Child, fingerprint: str) -> StageResult | None:
    for ended in child.terminations:
        result = ended.said(StageResult)
        if result is not None and result.fingerprint == fingerprint:
            return result
    return None


def _failure(child: Child) -> Failed | Deferred | Overtaken:
    """One answer for all containers: a permanent failure outweighs a newer attempt elsewhere, that rows that wait, and
    those outweigh crashes."""
    permanent = [t for t in child.terminations if t.exit_code == Exit.PERMANENT or _is_permanent(t)]
    if permanent:
        return Failed("PermanentFailure", pods.describe(permanent[0]), is_permanent=True)
    overtaken = [t for t in child.terminations if t.exit_code == Exit.FENCED]
    if overtaken:
        return Overtaken(pods.describe(overtaken[0]))
    waiting = [t for t in child.terminations if t.exit_code == Exit.DEFERRED]
    if waiting:
        said = [answer for t in waiting if (answer := t.said(WaitingAnswer)) is not None]
        return Deferred(_add([answer.waiting for answer in said]), calls=sum(answer.calls for answer in said))
    silent = [t for t in child.terminations if (said_so := t.said(FailureAnswer)) is not None and said_so.servers]
    if silent:
        return Failed(SERVERS_FAILED, f"{_shard(silent[0])}{pods.describe(silent[0])}", is_permanent=False)
    crashed = [t for t in child.terminations if t.exit_code != Exit.DONE]
    problem = child.problem
    reason = problem.reason if problem else "Failed"
    if crashed:
        message = f"{_shard(crashed[-1])}{pods.describe(crashed[-1])}"
        reason = "OutOfMemory" if crashed[-1].reason == "OOMKilled" else "Crashed" if reason in _COUNTING else reason
        return Failed(reason, message, is_permanent=False)
    return Failed(
        reason,
        problem.message if problem else f"{child.ref.kind} {child.ref.name} failed and nothing is left that says why",
        is_permanent=reason == "ValidationFailed",
    )


def _shard(ended: Termination) -> str:
    return f"shard {ended.index}: " if ended.index is not None else ""


def _is_permanent(ended: Termination) -> bool:
    said = ended.said(FailureAnswer)
    return said is not None and said.permanent


def _add(counts: list[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in counts:
        for model, rows in part.items():
            total[model] = total.get(model, 0) + rows
    return total
