"""Kubernetes Events: what people see in `kubectl describe`.

`between` compares two statuses and gives an Event for what people should notice in the step from one to the next, so an
Event is due exactly when its status was written. Its name follows from what it says and when that became true: sent
twice, it is one object.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, assert_never

from moaa.api.attempts import StageAttempts, Step
from moaa.api.resource import API_VERSION, KIND
from moaa.api.status import SUCCEEDED, Condition, MoAAStatus
from moaa.plan.budget.spent import EARLIER
from moaa_operator.kube import kueue
from moaa_operator.kube.owner import Owner
from moaa_operator.tell import conditions

MAX_MESSAGE = 1000


@dataclass(frozen=True)
class Event:
    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    key: str
    """Tells two events with the same words apart: an attempt's number, a transition's time."""


def between(before: MoAAStatus, after: MoAAStatus) -> list[Event]:
    """What has happened from one status to the next. What several conditions say in the same words appears once."""
    found = [*_conditions(before, after), *_stages(before, after), *_closed(before, after), *_attempts(before, after)]
    found += _recounted(before, after)
    once: dict[tuple[str, str], Event] = {}
    for event in found:
        once.setdefault((event.reason, event.message), event)
    return list(once.values())


def _conditions(before: MoAAStatus, after: MoAAStatus) -> Iterator[Event]:
    earlier = {condition.type: condition for condition in before.conditions}
    later = {condition.type: condition for condition in after.conditions}
    for kind, condition in later.items():
        last = earlier.get(kind)
        is_same = last is not None and (last.status, last.reason) == (condition.status, condition.reason)
        if is_same and not _is_another_edit(last, condition):
            continue
        event = _condition(condition, is_new=last is None or last.status != condition.status)
        if event is not None:
            yield event
    if conditions.SUSPENDED in earlier and conditions.SUSPENDED not in later:
        yield Event("Normal", "Resumed", "spec.suspend is false again", _when(earlier[conditions.SUSPENDED]))


def _is_another_edit(last: Condition | None, condition: Condition) -> bool:
    """While one edit's stages are still repeated, another has come; fewer stages to repeat are no news."""
    if last is None or condition.type != conditions.REPEATING:
        return False
    return last.observed_generation != condition.observed_generation and last.message != condition.message


def _condition(condition: Condition, *, is_new: bool) -> Event | None:
    key = f"{_when(condition)} {condition.reason}"
    match condition.type, condition.status:
        case conditions.ACCEPTED, "False":
            return Event("Warning", "Invalid", condition.message, f"{key} {condition.observed_generation}")
        case conditions.STORAGE, "True":
            return Event("Normal", "StorageReady", "the store passed its preflight", key) if is_new else None
        case conditions.STORAGE, "Unknown" if condition.reason in kueue.WAITS:
            return Event("Normal", condition.reason, condition.message, key)
        case ((conditions.STORAGE | conditions.STALLED), _):
            is_bad = condition.status == ("False" if condition.type == conditions.STORAGE else "True")
            return Event("Warning", condition.reason, condition.message, key) if is_bad else None
        case ((conditions.SERVERS | conditions.TRAINING), "False") if condition.reason not in ("Starting", "Running"):
            return Event("Warning", condition.reason, condition.message, key)
        case conditions.SERVERS, "True":
            return Event("Normal", "ServersReady", "every model that is asked answers", key) if is_new else None
        case conditions.REPEATING, "True":
            return Event("Normal", "Repeating", condition.message, f"{key} {condition.observed_generation}")
        case conditions.BUDGET_EXHAUSTED, "True":
            return Event("Warning", conditions.BUDGET_EXHAUSTED, condition.message, key) if is_new else None
        case conditions.SUSPENDED, "True":
            return Event("Normal", "Suspended", condition.message, key)
        case "Succeeded", "True":
            return Event("Normal", SUCCEEDED, condition.message, key)
        case "Succeeded", "False":
            return Event("Warning", condition.reason, condition.message, key)
    return None


def _stages(before: MoAAStatus, after: MoAAStatus) -> Iterator[Event]:
    known = {(entry.stage, entry.fingerprint) for entry in before.stages}
    for entry in after.stages:
        if (entry.stage, entry.fingerprint) not in known:
            made = ", ".join(f"{output.name} {output.rows}" for output in entry.outputs if output.rows)
            said = f"{entry.stage} is done{f'; rows: {made}' if made else ''}"
            yield Event("Normal", "StageDone", said, entry.fingerprint)
            for number, warning in enumerate(entry.warnings):
                yield Event("Warning", "StageWarning", f"{entry.stage}: {warning}", f"{entry.fingerprint} {number}")


def _closed(before: MoAAStatus, after: MoAAStatus) -> Iterator[Event]:
    known = {entry.iteration for entry in before.history}
    for entry in after.history:
        if entry.iteration not in known and entry.why:
            said = f"iteration {entry.iteration}: {entry.why}"
            yield Event("Normal", "IterationClosed", said, entry.closed.isoformat())


def _recounted(before: MoAAStatus, after: MoAAStatus) -> Iterator[Event]:
    """Parts of the account that the status had lost, in one Event: they come together."""
    known = {(entry.stage, entry.fingerprint) for entry in before.spent if entry.is_least}
    new = [e for e in after.spent if e.is_least and (e.stage, e.fingerprint) not in known and e.stage != EARLIER]
    if new:
        said = (
            f"the status had lost what {', '.join(entry.stage for entry in new)} took; it is counted from their "
            "manifests and from what runs. GPU time of attempts that failed before is not in it: the run may take that "
            "much more than spec.budget allows"
        )
        yield Event("Warning", "AccountRecounted", said, " ".join(entry.fingerprint[:8] for entry in new))


def _attempts(before: MoAAStatus, after: MoAAStatus) -> Iterator[Event]:
    earlier = {(entry.stage, entry.fingerprint): entry for entry in before.attempts}
    for entry in after.attempts:
        last = earlier.get((entry.stage, entry.fingerprint))
        yield from _attempt(last, entry)


def is_release(last: StageAttempts | None, entry: StageAttempts) -> bool:
    """Between two statuses its servers or Ray cluster were given back without machines."""
    return was_under_way(last) and entry.step is None and entry.reason == conditions.NO_MACHINE


def was_under_way(last: StageAttempts | None) -> bool:
    return last is not None and last.step is not None


def _attempt(last: StageAttempts | None, entry: StageAttempts) -> Iterator[Event]:
    key = f"{entry.fingerprint} {entry.attempt}"
    if entry.failures and (last is None or last.failures < entry.failures):
        yield Event("Warning", "AttemptFailed", f"{entry.stage} attempt {entry.attempt}: {entry.message}", key)
    if is_release(last, entry):
        yield Event("Warning", "Released", f"{entry.stage}: {entry.message}", key)
    if was_under_way(last) and entry.step is None and entry.reason == kueue.PREEMPTED:
        yield Event("Warning", kueue.PREEMPTED, f"{entry.stage}: {entry.message}", key)
    if entry.reason == conditions.ANOTHER_RUN != (last.reason if last is not None else None):
        yield Event(
            "Normal", conditions.ANOTHER_RUN, f"{entry.stage}: another run of equal inputs is at work on it", key
        )
    moved = entry.step is not None and (last is None or (last.step, last.attempt) != (entry.step, entry.attempt))
    if not moved:
        return
    what = f"{entry.stage} attempt {entry.attempt}"
    match entry.step:
        case Step.SERVERS:
            yield Event("Normal", "ServersStarting", f"{what} waits for its servers", key)
        case Step.WORK:
            yield Event("Normal", "StageStarted", f"{what} starts", key)
        case Step.FINALISE | None:
            return
        case _:
            assert_never(entry.step)


def manifest(event: Event, owner: Owner, *, resource_version: str, now: datetime) -> dict[str, Any]:
    """The Event object; its name depends on the run, the reason and the key only."""
    digest = hashlib.sha256(f"{owner.uid} {event.reason} {event.key} {event.message}".encode()).hexdigest()[:16]
    moment = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{owner.name}.{digest}", "namespace": owner.namespace},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": owner.name,
            "namespace": owner.namespace,
            "uid": owner.uid,
            "resourceVersion": resource_version,
        },
        "type": event.type,
        "reason": conditions.word(event.reason),
        "message": event.message[:MAX_MESSAGE],
        "source": {"component": "moaa-operator"},
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }


def _when(condition: Condition) -> str:
    return condition.last_transition_time.isoformat()
