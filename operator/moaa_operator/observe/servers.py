"""What a model server's Deployment and its pods say. Pure."""

from collections.abc import Iterable

from moaa_operator.kube import kueue, rejections
from moaa_operator.kube.objects import (
    Fields,
    annotation,
    created_at,
    holds,
    is_leaving,
    is_owned_by,
    label,
    moment,
    name_of,
    ref_of,
    uid_of,
)
from moaa_operator.kube.owner import (
    GANG_ANNOTATION,
    HASH_ANNOTATION,
    MODEL_ANNOTATION,
    QUEUE_ANNOTATION,
    ROLE_LABEL,
    Role,
)
from moaa_operator.observe import pods
from moaa_operator.observe.children import Heard
from moaa_operator.observe.observed import Server


def is_server(item: Fields) -> bool:
    """A server's Deployment or Service."""
    return label(item, ROLE_LABEL) == Role.SERVER


def pods_of(item: Fields, all_pods: Iterable[Fields]) -> list[Fields]:
    """Of a server, by its selector; those on their way out are left out."""
    selector = ((item.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
    return [
        pod
        for pod in all_pods
        if selector and selector.items() <= (pod["metadata"].get("labels") or {}).items() and not is_leaving(pod)
    ]


def waits_for_quota(item: Fields, all_pods: Iterable[Fields]) -> bool:
    """It belongs to a pod group and not all of its pods have machines: the group's Workload says more."""
    is_member = bool(annotation(item, GANG_ANNOTATION)) and not is_leaving(item)
    return is_member and any(pods.unscheduled_since(pod) for pod in pods_of(item, all_pods))


def server(item: Fields, all_pods: list[Fields], heard: Heard) -> Server:
    mine, gang = pods_of(item, all_pods), annotation(item, GANG_ANNOTATION)
    waiting = [since for pod in mine if (since := pods.unscheduled_since(pod))]
    placed = [at for pod in mine if (at := pods.scheduled_at(pod))]
    is_queued = not placed and any(map(pods.is_gated, mine))
    workload = heard.workloads.get(gang) if gang else None
    if workload is not None and not any(is_owned_by(workload, uid_of(pod)) for pod in all_pods):
        workload = None  # somebody else's, by the same name
    if workload is not None and (admitted := holds(workload, "Admitted")):
        # A pod's condition keeps the time at which it was gated.
        waiting = [max(since, moment(admitted.get("lastTransitionTime")) or since) for since in waiting]
    problem = pods.first_problem(mine)
    refused = holds(item, "ReplicaFailure")
    if problem is None and refused is not None:
        what, words = f"a pod of Deployment {name_of(item)}", str(refused.get("message") or "")
        problem = rejections.problem(what, words, reason=str(refused.get("reason") or ""))
    if is_queued:
        what = f"the servers of {gang}" if gang else f"a pod of Deployment {name_of(item)}"
        problem = kueue.problem(what, workload)
    status = item.get("status") or {}
    is_current = int(status.get("observedGeneration") or 0) >= int(item["metadata"].get("generation") or 0)
    return Server(
        ref=ref_of(item, "Deployment"),
        model=annotation(item, MODEL_ANNOTATION),
        hash=annotation(item, HASH_ANNOTATION),
        is_ready=is_current and int(status.get("readyReplicas") or 0) > 0,
        is_leaving=is_leaving(item),
        created=created_at(item),
        unscheduled_since=min(waiting) if waiting and not placed else None,
        scheduled_at=min(placed, default=None),
        restarts=max(map(pods.restarts, mine), default=0),
        problem=problem,
        queue=annotation(item, QUEUE_ANNOTATION),
        gang=gang,
        is_queued=is_queued,
        is_evicted=kueue.is_evicted(workload),
    )
