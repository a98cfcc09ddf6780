"""Read a pod's status: why it does not run, since when, and how its containers ended. Pure.

A reason is one word for programs. A message is for people and keeps the words of the scheduler, the image registry or
the container's last lines.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from moaa.cause import cause
from moaa.contract import answers
from moaa.contract.answers import AnswerT, FailureAnswer
from moaa.text import shown
from moaa_operator.kube.objects import (
    Fields,
    Problem,
    annotation,
    condition,
    created_at,
    is_leaving,
    moment,
    name_of,
    number_of,
)

INDEX_ANNOTATION = "batch.kubernetes.io/job-completion-index"
GPU = "nvidia.com/gpu"
GPUS_UNAVAILABLE = "GPUsUnavailable"
NO_MACHINE = frozenset({"Unschedulable", "SchedulingGated", GPUS_UNAVAILABLE})
"""Reasons of pods that wait for a machine, which may come by itself."""
_IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"})
IMAGE = "ImagePullBackOff"
"""One word for images that cannot be pulled; the kubelet's word changes with every try."""
_REMEDIES: Mapping[str, str] = {
    IMAGE: "Check the image's name in the chart's values, and imagePullSecrets for a private registry.",
    "CreateContainerConfigError": "Create the Secret, ConfigMap or key that it names.",
}
STARTING = frozenset({"ContainerCreating", "PodInitializing"})
MAX_MESSAGE = 1000


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

    def said(self, expected: type[AnswerT]) -> AnswerT | None:
        """Its answer of that kind; None when the termination message holds none."""
        return answers.read(self.message, expected)


def unscheduled_since(pod: Fields) -> datetime | None:
    """Since when the scheduler finds no machine for the pod; None when it has one or was not looked at yet."""
    scheduled = condition(pod, "PodScheduled")
    if scheduled is None or scheduled.get("status") != "False" or is_leaving(pod):
        return None
    return moment(scheduled.get("lastTransitionTime")) or created_at(pod)


def is_gated(pod: Fields) -> bool:
    """A queue keeps it from the scheduler."""
    scheduled = condition(pod, "PodScheduled")
    return scheduled is not None and scheduled.get("reason") == "SchedulingGated" and not is_leaving(pod)


def scheduled_at(pod: Fields) -> datetime | None:
    scheduled = condition(pod, "PodScheduled")
    if scheduled is None or scheduled.get("status") != "True":
        return None
    return moment(scheduled.get("lastTransitionTime"))


def has_ended(pod: Fields) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def told_to_go(pod: Fields) -> datetime | None:
    """By when a pod that is being deleted should have ended; None when it is not, or has ended."""
    return None if has_ended(pod) else moment(pod["metadata"].get("deletionTimestamp"))


def index_of(pod: Fields) -> int | None:
    """Of a pod of an Indexed Job: which one it is."""
    return number_of(annotation(pod, INDEX_ANNOTATION))


def is_running(pod: Fields) -> bool:
    return (pod.get("status") or {}).get("phase") == "Running" and not is_leaving(pod)


def started_at(pod: Fields, container: str) -> datetime | None:
    """When that container started, by its node's clock; None while it does not run."""
    states = [c.get("state") or {} for c in _containers(pod) if c.get("name") == container]
    return next((moment((state.get("running") or {}).get("startedAt")) for state in states), None)


def restarts(pod: Fields) -> int:
    return sum(int(c.get("restartCount") or 0) for c in _containers(pod))


def problem(pod: Fields) -> Problem | None:
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


def terminations(pod: Fields) -> Iterator[Termination]:
    """How the pod's own containers ended, those that did."""
    index = index_of(pod)
    for container in (pod.get("status") or {}).get("containerStatuses") or ():
        ended = (container.get("state") or {}).get("terminated")
        if ended:
            yield Termination(
                exit_code=int(ended.get("exitCode") or 0),
                message=str(ended.get("message") or ""),
                reason=str(ended.get("reason") or ""),
                index=index,
            )


def first_problem(pods: Iterable[Fields]) -> Problem | None:
    """Of several pods' problems the one that says most: one that waits for a machine comes last."""
    found = [p for pod in pods if not is_leaving(pod) and (p := problem(pod))]
    return min(found, key=lambda p: p.reason in NO_MACHINE, default=None)


def describe(ended: Termination) -> str:
    """What to tell a person about a container that failed."""
    failure = ended.said(FailureAnswer)
    if failure is not None and failure.error:
        return _cut(failure.error)
    if ended.reason == "OOMKilled":
        return _cut(f"it needed more memory than its limit (OOMKilled); give it more. Last lines:\n{ended.message}")
    how = f"signal {ended.exit_code - 128}" if ended.exit_code > 128 else f"exit code {ended.exit_code}"
    if not ended.message:
        return f"ended by {how}"
    found = cause(ended.message.splitlines()) if ended.exit_code <= 128 else None
    why = f": {found.text}. Its" if found else "; its"
    return _cut(f"it ended with {how}{why} last lines:\n{ended.message.strip()}")


def _containers(pod: Fields) -> Iterator[Fields]:
    status = pod.get("status") or {}
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()


def _last_words(ended: Fields) -> str:
    return describe(
        Termination(
            exit_code=int(ended.get("exitCode") or 0),
            message=str(ended.get("message") or ""),
            reason=str(ended.get("reason") or ""),
        )
    )


def _cut(given: str) -> str:
    """Its beginning and its end: the first says what, the last says why. Without what would change a terminal."""
    text = shown(given)
    if len(text) <= MAX_MESSAGE:
        return text
    return f"{text[: MAX_MESSAGE // 3]} … {text[-(MAX_MESSAGE * 2 // 3 - 3) :]}"
