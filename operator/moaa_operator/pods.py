"""What a pod's status says: why it does not run, since when, and how its containers ended. Pure.

A reason is one word for programs; a message is for people and keeps the words of whoever refused (the scheduler, the
image registry, the container's last lines).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from moaa.cause import cause
from moaa.plan.answers import unpack

Object = Mapping[str, Any]

INDEX_ANNOTATION = "batch.kubernetes.io/job-completion-index"
GPU = "nvidia.com/gpu"
GPUS_UNAVAILABLE = "GPUsUnavailable"
NO_MACHINE = frozenset({"Unschedulable", "SchedulingGated", GPUS_UNAVAILABLE})
"""Reasons of pods that wait for a machine, which may come by itself."""
_IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"})
IMAGE = "ImagePullBackOff"
"""One word for images that cannot be had: the kubelet's changes with every try."""
_REMEDIES: Mapping[str, str] = {
    IMAGE: "Check the image's name in the chart's values, and imagePullSecrets for a private registry.",
    "CreateContainerConfigError": "Create the Secret, ConfigMap or key that it names.",
}
STARTING = frozenset({"ContainerCreating", "PodInitializing"})
MAX_MESSAGE = 1000


@dataclass(frozen=True)
class Problem:
    """Why something does not go on, in words a person can act on."""

    reason: str
    message: str


@dataclass(frozen=True)
class Termination:
    """How a container ended."""

    exit_code: int
    message: str
    """Its termination message, or its last log lines."""
    reason: str = ""
    """Kubernetes' word, for example OOMKilled."""
    index: int | None = None
    """Of a pod of an Indexed Job."""

    @property
    def answer(self) -> Mapping[str, Any]:
        """The termination message as JSON; empty when it is something else."""
        return unpack(self.message)


def moment(text: object) -> datetime | None:
    """A Kubernetes time, or None."""
    return datetime.fromisoformat(text) if isinstance(text, str) and text else None


def name_of(item: Object) -> str:
    return str(item["metadata"]["name"])


def is_leaving(item: Object) -> bool:
    return bool(item["metadata"].get("deletionTimestamp"))


def condition(item: Object, name: str) -> Object | None:
    """The condition of that type in an object's status."""
    return next((c for c in (item.get("status") or {}).get("conditions") or () if c.get("type") == name), None)


def unscheduled_since(pod: Object) -> datetime | None:
    """Since when the scheduler finds no machine for the pod; None when it has one or was not looked at yet."""
    scheduled = condition(pod, "PodScheduled")
    if scheduled is None or scheduled.get("status") != "False" or is_leaving(pod):
        return None
    return moment(scheduled.get("lastTransitionTime")) or moment(pod["metadata"].get("creationTimestamp"))


def scheduled_at(pod: Object) -> datetime | None:
    scheduled = condition(pod, "PodScheduled")
    if scheduled is None or scheduled.get("status") != "True":
        return None
    return moment(scheduled.get("lastTransitionTime"))


def told_to_go(pod: Object) -> datetime | None:
    """By when a pod that was told to end should have ended; None when it was not told, or has ended."""
    has_ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    return None if has_ended else moment(pod["metadata"].get("deletionTimestamp"))


def is_running(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") == "Running" and not is_leaving(pod)


def is_ready(pod: Object) -> bool:
    ready = condition(pod, "Ready")
    return ready is not None and ready.get("status") == "True" and not is_leaving(pod)


def restarts(pod: Object) -> int:
    return sum(int(c.get("restartCount") or 0) for c in _containers(pod))


def problem(pod: Object) -> Problem | None:
    """Why the pod does not run or is not ready; None when nothing is wrong with it (it may still be starting)."""
    name = name_of(pod)
    scheduled = condition(pod, "PodScheduled")
    if scheduled is not None and scheduled.get("status") == "False":
        words = str(scheduled.get("message") or "the scheduler said nothing")
        reason = GPUS_UNAVAILABLE if f"Insufficient {GPU}" in words else scheduled.get("reason") or "Unschedulable"
        return Problem(str(reason), _cut(f"pod {name}: {words}"))
    for container in _containers(pod):
        state = container.get("state") or {}
        waiting = state.get("waiting") or {}
        reason = waiting.get("reason") or ""
        last = state.get("terminated") or (container.get("lastState") or {}).get("terminated")
        if container.get("restartCount") and last and not container.get("ready"):
            # Between two tries it may be running, or not yet waiting: why the last one ended is what matters.
            reason = reason or "Restarted"
        if not reason or reason in STARTING:
            continue
        words = _last_words(last) if last else (waiting.get("message") or reason)
        if reason in _IMAGE:
            reason, words = IMAGE, f"image {container.get('image') or '?'}: {words}"
        told = _cut(f"pod {name}, container {container.get('name')}: {words}")
        return Problem(reason, f"{told}. {_REMEDIES[reason]}" if reason in _REMEDIES else told)
    status = pod.get("status") or {}
    if status.get("phase") == "Failed" and status.get("reason"):  # Evicted, NodeLost, Preempted: no container ended
        return Problem(str(status["reason"]), _cut(f"pod {name}: {status.get('message') or status['reason']}"))
    return None


def terminations(pod: Object) -> Iterator[Termination]:
    """How the pod's own containers ended, those that did."""
    index = (pod["metadata"].get("annotations") or {}).get(INDEX_ANNOTATION)
    for container in (pod.get("status") or {}).get("containerStatuses") or ():
        ended = (container.get("state") or {}).get("terminated")
        if ended:
            yield Termination(
                exit_code=int(ended.get("exitCode") or 0),
                message=str(ended.get("message") or ""),
                reason=str(ended.get("reason") or ""),
                index=int(index) if index is not None and index.isdigit() else None,
            )


def first_problem(pods: Iterable[Object]) -> Problem | None:
    """Of several pods' problems the one that says most: one that waits for a machine comes last."""
    found = [p for pod in pods if not is_leaving(pod) and (p := problem(pod))]
    return min(found, key=lambda p: p.reason in NO_MACHINE, default=None)


def describe(ended: Termination) -> str:
    """What to tell a person about a container that failed."""
    error = ended.answer.get("error")
    if error:
        return _cut(str(error))
    if ended.reason == "OOMKilled":
        return _cut(f"it needed more memory than its limit (OOMKilled); give it more. Last lines:\n{ended.message}")
    how = f"signal {ended.exit_code - 128}" if ended.exit_code > 128 else f"exit code {ended.exit_code}"
    if not ended.message:
        return f"ended by {how}"
    found = cause(ended.message.splitlines()) if ended.exit_code <= 128 else None
    why = f": {found.text}. Its" if found else "; its"
    return _cut(f"it ended with {how}{why} last lines:\n{ended.message.strip()}")


def _containers(pod: Object) -> Iterator[Object]:
    status = pod.get("status") or {}
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()


def _last_words(ended: Object) -> str:
    return describe(
        Termination(
            exit_code=int(ended.get("exitCode") or 0),
            message=str(ended.get("message") or ""),
            reason=str(ended.get("reason") or ""),
        )
    )


def _cut(text: str) -> str:
    """Its beginning and its end: the first says what, the last says why."""
    if len(text) <= MAX_MESSAGE:
        return text
    return f"{text[: MAX_MESSAGE // 3]} … {text[-(MAX_MESSAGE * 2 // 3 - 3) :]}"
