"""Kueue: how an object joins a queue, and what the Workload of one that waits says. Pure.

A MoAA's labels under `kueue.x-k8s.io/` pass to everything of it that holds machines. Kueue suspends a Job or a RayJob,
and gates a server's pods, until it has quota for them. Servers that come up together are one pod group, and so one
Workload: all of them are admitted, or none is.
"""

import re
from collections.abc import Mapping

from moaa_operator.kube.objects import Fields, Manifest, Problem, condition, holds, name_of
from moaa_operator.kube.owner import GANG_ANNOTATION, QUEUE_ANNOTATION

PREFIX = "kueue.x-k8s.io/"
QUEUE_LABEL = f"{PREFIX}queue-name"
GROUP_LABEL = f"{PREFIX}pod-group-name"
COUNT_ANNOTATION = f"{PREFIX}pod-group-total-count"
SERVING_ANNOTATION = f"{PREFIX}pod-group-serving"
"""The group is never finished, and a pod of it that ends gets a successor."""
JOB_UID_LABEL = f"{PREFIX}job-uid"
"""On a Workload: the UID of the Job or RayJob that it is of. That of a pod group has the group's name."""

QUEUED, PREEMPTED, EVICTED = "Queued", "Preempted", "Evicted"
WAITS = frozenset({QUEUED, PREEMPTED, EVICTED})
"""Reasons of what a queue will admit by itself."""
NOT_FOUND, TOO_SMALL, DEACTIVATED = "QueueNotFound", "QuotaTooSmall", "WorkloadDeactivated"
NEEDS_A_PERSON = frozenset({NOT_FOUND, TOO_SMALL, DEACTIVATED})
MAX_WORDS = 700

_NO_QUEUE = re.compile(r"(?:LocalQueue|ClusterQueue)\b.*(?:doesn't exist|does not exist|not found)")
_NEVER = re.compile(r"maximum capacity")


def labels_of(labels: Mapping[str, str]) -> dict[str, str]:
    """Those of a MoAA's labels that its children take over."""
    return {name: value for name, value in labels.items() if name.startswith(PREFIX)}


def queue_of(labels: Mapping[str, str]) -> str:
    """The queue that a MoAA with these labels asks for; empty: none."""
    return labels.get(QUEUE_LABEL, "")


def asked(labels: Mapping[str, str]) -> dict[str, str]:
    """The annotation of a child that says which queue it was made for. Kueue may write the label itself."""
    return {QUEUE_ANNOTATION: queue} if (queue := queue_of(labels)) else {}


def grouped(deployment: Manifest, group: str, count: int) -> Manifest:
    """A server's Deployment as a member of a pod group of `count` pods; the argument is not changed."""
    about, spec = deployment["metadata"], deployment["spec"]
    template, inner = spec["template"], spec["template"]["metadata"]
    notes = {**inner.get("annotations", {}), COUNT_ANNOTATION: str(count), SERVING_ANNOTATION: "true"}
    member = {**inner, "labels": {**inner.get("labels", {}), GROUP_LABEL: group}, "annotations": notes}
    return {
        **deployment,
        "metadata": {**about, "annotations": {**about.get("annotations", {}), GANG_ANNOTATION: group}},
        "spec": {**spec, "template": {**template, "metadata": member}},
    }


def is_evicted(workload: Fields | None) -> bool:
    """Its quota was taken away, and it has not got any since."""
    return workload is not None and holds(workload, "Evicted") is not None


def problem(what: str, workload: Fields | None) -> Problem:
    """Why something waits in its queue, in Kueue's words. `what` names it: `Job x`; None: Kueue says nothing of it."""
    if workload is None:
        return Problem(QUEUED, f"{what} is suspended; its queue has not admitted it yet")
    words, name = _words(workload), name_of(workload)
    if (workload.get("spec") or {}).get("active") is False:
        remedy = f"Set spec.active of Workload {name} to true once the cause is mended"
        return Problem(DEACTIVATED, f"{what} waits in its queue without end: {words}. {remedy}")
    if _NO_QUEUE.search(words):
        remedy = f"Name one that exists in the MoAA's label {QUEUE_LABEL} (kubectl get localqueues), or create it"
        return Problem(NOT_FOUND, f"{what} waits for a queue that is not there: {words}. {remedy}")
    if _NEVER.search(words):
        remedy = "It asks for more than the queue can ever give: raise the ClusterQueue's quota, or ask for less"
        return Problem(TOO_SMALL, f"{what} waits in its queue without end: {words}. {remedy}")
    evicted = holds(workload, "Evicted")
    if evicted is not None:
        why = str(evicted.get("reason") or EVICTED)
        told = f"{what} lost its quota ({why}: {_cut(evicted.get('message'))}) and waits in its queue again: {words}"
        return Problem(PREEMPTED if why == PREEMPTED else EVICTED, told)
    return Problem(QUEUED, f"{what} waits in its queue: {words}")


def _words(workload: Fields) -> str:
    reserved = condition(workload, "QuotaReserved")
    if reserved is not None and reserved.get("status") == "True":
        checks = (workload.get("status") or {}).get("admissionChecks") or ()
        told = ", ".join(f"{c.get('name')} {c.get('state')} {c.get('message') or ''}".strip() for c in checks)
        return _cut(f"quota is reserved; admission checks: {told or 'none'}")
    return _cut((reserved or {}).get("message") or "Kueue has not looked at it yet")


def _cut(words: object) -> str:
    text = str(words or "").strip().rstrip(".")
    return text if len(text) <= MAX_WORDS else f"{text[:MAX_WORDS]} …"
