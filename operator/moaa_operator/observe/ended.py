"""Pods of Jobs that have ended, asked for where the copies do not show how.

Each kind is watched by itself, so a Job's end may be known before its pods' ends are, by as long as their watch is
broken. What a Job came to stands in its pods: without them finished work would be taken for lost and done again.
"""

from collections.abc import Iterable, Mapping

from moaa_operator.kube.api import POD, Api, Object
from moaa_operator.observe import pods

JOB_LABEL = "batch.kubernetes.io/job-name"


def with_ends(api: Api, namespace: str, objects: Mapping[str, Iterable[Object]]) -> list[Object]:
    """The run's pods, those of ended Jobs as the server has them where the copies lag. Raises ApiError."""
    found = {_uid(pod): pod for pod in objects.get("Pod", ())}
    for job in objects.get("Job", ()):
        if _ended_pods(job) > sum(_has_ended(pod) for pod in found.values() if _is_of(pod, job)):
            fresh, _ = api.list(POD, namespace, selector=f"{JOB_LABEL}={pods.name_of(job)}")
            found |= {_uid(pod): pod for pod in fresh}
    return list(found.values())


def _ended_pods(job: Object) -> int:
    """How many ended pods a Job that is over counts; 0 while it goes on."""
    is_over = any((c := pods.condition(job, kind)) and c.get("status") == "True" for kind in ("Complete", "Failed"))
    status = job.get("status") or {}
    return int(status.get("succeeded") or 0) + int(status.get("failed") or 0) if is_over else 0


def _has_ended(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _is_of(pod: Object, job: Object) -> bool:
    return any(ref.get("uid") == _uid(job) for ref in pod["metadata"].get("ownerReferences") or ())


def _uid(item: Object) -> str:
    return str(item["metadata"].get("uid") or "")
