"""What a model server's Deployment and its pods say. Pure."""

from moaa_operator.kube import rejections
from moaa_operator.kube.objects import Fields, annotation, created_at, holds, is_leaving, label, name_of, ref_of
from moaa_operator.kube.owner import HASH_ANNOTATION, MODEL_ANNOTATION, ROLE_LABEL, Role
from moaa_operator.observe import pods
from moaa_operator.observe.observed import Server


def is_server(item: Fields) -> bool:
    """A server's Deployment or Service."""
    return label(item, ROLE_LABEL) == Role.SERVER


def server(item: Fields, all_pods: list[Fields]) -> Server:
    spec = item.get("spec") or {}
    selector = (spec.get("selector") or {}).get("matchLabels") or {}
    mine = [
        pod
        for pod in all_pods
        if selector and selector.items() <= (pod["metadata"].get("labels") or {}).items() and not is_leaving(pod)
    ]
    waiting = [since for pod in mine if (since := pods.unscheduled_since(pod))]
    placed = [at for pod in mine if (at := pods.scheduled_at(pod))]
    problem = pods.first_problem(mine)
    refused = holds(item, "ReplicaFailure")
    if problem is None and refused is not None:
        what, words = f"a pod of Deployment {name_of(item)}", str(refused.get("message") or "")
        problem = rejections.problem(what, words, reason=str(refused.get("reason") or ""))
    status = item.get("status") or {}
    is_current = int(status.get("observedGeneration") or 0) >= int(item["metadata"].get("generation") or 0)
    return Server(
        ref=ref_of(item, "Deployment"),
        model=annotation(item, MODEL_ANNOTATION),
        hash=annotation(item, HASH_ANNOTATION),
        is_ready=is_current and int(status.get("readyReplicas") or 0) > 0,
        is_leaving=is_leaving(item),
        replicas=int(spec.get("replicas", 1)),
        created=created_at(item),
        unscheduled_since=min(waiting) if waiting and not placed else None,
        scheduled_at=min(placed, default=None),
        restarts=max(map(pods.restarts, mine), default=0),
        problem=problem,
    )
