"""What a model server's Deployment or LeaderWorkerSet and its pods say. Pure."""

from collections.abc import Iterable
from datetime import datetime
from typing import assert_never

from moaa_operator.kube import kueue, rejections
from moaa_operator.kube.kinds import GROUP_LABEL, LEADER, RANK_LABEL, SET_LABEL, ServerKind
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
    TEMPLATE_ANNOTATION,
    Role,
)
from moaa_operator.observe import pods
from moaa_operator.observe.children import Heard
from moaa_operator.observe.observed import Server


def is_server(item: Fields) -> bool:
    """What makes a server's pods, or its Service."""
    return label(item, ROLE_LABEL) == Role.SERVER


def pods_of(item: Fields, kind: ServerKind, all_pods: Iterable[Fields]) -> list[Fields]:
    """Of a server, by labels; those on their way out are left out."""
    selector = _selector(item, kind)
    return [
        pod
        for pod in all_pods
        if selector and selector.items() <= (pod["metadata"].get("labels") or {}).items() and not is_leaving(pod)
    ]


def _selector(item: Fields, kind: ServerKind) -> Fields:
    match kind:
        case ServerKind.DEPLOYMENT:
            return ((item.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
        case ServerKind.GROUPS:
            return {SET_LABEL: name_of(item)}
        case _:
            assert_never(kind)


def waits_for_quota(item: Fields, kind: ServerKind, all_pods: Iterable[Fields]) -> bool:
    """It is in a queue and not all of its pods have machines, or do not answer: its Workload says more."""
    if is_leaving(item):
        return False
    mine = pods_of(item, kind, all_pods)
    match kind:
        case ServerKind.DEPLOYMENT:
            return bool(annotation(item, GANG_ANNOTATION)) and any(pods.unscheduled_since(pod) for pod in mine)
        case ServerKind.GROUPS:
            return bool(label(item, kueue.QUEUE_LABEL)) and not _answers(item, kind, mine)
        case _:
            assert_never(kind)


def server(item: Fields, kind: ServerKind, all_pods: list[Fields], heard: Heard) -> Server:
    mine, gang = pods_of(item, kind, all_pods), annotation(item, GANG_ANNOTATION)
    waiting = [since for pod in mine if (since := pods.unscheduled_since(pod))]
    placed = _placed(item, kind, mine)
    is_queued = not any(map(pods.scheduled_at, mine)) and any(map(pods.is_gated, mine))
    workload = _workload(item, kind, all_pods, heard)
    admitted = _admitted_at(workload)
    if admitted is not None:
        # A pod's condition keeps the time at which it was gated.
        waiting = [max(since, admitted) for since in waiting]
    problem = pods.first_problem(mine)
    refused = holds(item, "ReplicaFailure")
    if problem is None and refused is not None:
        what, words = f"a pod of {kind} {name_of(item)}", str(refused.get("message") or "")
        problem = rejections.problem(what, words, reason=str(refused.get("reason") or ""))
    if is_queued:
        problem = kueue.problem(f"pod group {gang}" if gang else f"a pod of {kind} {name_of(item)}", workload)
    return Server(
        ref=ref_of(item, kind),
        model=annotation(item, MODEL_ANNOTATION),
        hash=annotation(item, HASH_ANNOTATION),
        is_ready=_answers(item, kind, mine),
        is_leaving=is_leaving(item),
        replicas=int((item.get("spec") or {}).get("replicas", 1)),
        created=created_at(item),
        unscheduled_since=min(waiting) if waiting and not placed else None,
        scheduled_at=min(placed, default=None),
        begun=_begun(item, kind, admitted),
        restarts=max(map(pods.restarts, mine), default=0),
        problem=problem,
        queue=annotation(item, QUEUE_ANNOTATION),
        gang=gang,
        is_queued=is_queued,
        is_evicted=kueue.is_evicted(workload),
    )


def _answers(item: Fields, kind: ServerKind, mine: Iterable[Fields]) -> bool:
    """At least one replica, as the object is now."""
    match kind:
        case ServerKind.DEPLOYMENT:
            status = item.get("status") or {}
            is_current = int(status.get("observedGeneration") or 0) >= int(item["metadata"].get("generation") or 0)
            return is_current and int(status.get("readyReplicas") or 0) > 0
        case ServerKind.GROUPS:
            # The status does not say of which version of the object it is; the pods do. A leader answers for its group.
            made_from = annotation(item, TEMPLATE_ANNOTATION)
            return any(
                label(pod, RANK_LABEL) == LEADER
                and annotation(pod, TEMPLATE_ANNOTATION) == made_from
                and holds(pod, "Ready") is not None
                for pod in mine
            )
        case _:
            assert_never(kind)


def _placed(item: Fields, kind: ServerKind, mine: Iterable[Fields]) -> list[datetime]:
    """When each replica got its machine; of a group, when the last of its pods did."""
    match kind:
        case ServerKind.DEPLOYMENT:
            return [at for pod in mine if (at := pods.scheduled_at(pod))]
        case ServerKind.GROUPS:
            size = int(((item.get("spec") or {}).get("leaderWorkerTemplate") or {}).get("size") or 1)
            groups: dict[str, list[datetime]] = {}
            for pod in mine:
                if at := pods.scheduled_at(pod):
                    groups.setdefault(label(pod, GROUP_LABEL), []).append(at)
            return [max(times) for times in groups.values() if len(times) >= size]
        case _:
            assert_never(kind)


def _begun(item: Fields, kind: ServerKind, admitted: datetime | None) -> datetime | None:
    match kind:
        case ServerKind.DEPLOYMENT:
            return None
        case ServerKind.GROUPS:
            return admitted if label(item, kueue.QUEUE_LABEL) else created_at(item)
        case _:
            assert_never(kind)


def _workload(item: Fields, kind: ServerKind, all_pods: Iterable[Fields], heard: Heard) -> Fields | None:
    """Kueue's, if it is ours: anybody may make one of any name."""
    match kind:
        case ServerKind.DEPLOYMENT:
            found = heard.workloads.get(annotation(item, GANG_ANNOTATION))
            return found if found and any(is_owned_by(found, uid_of(pod)) for pod in all_pods) else None
        case ServerKind.GROUPS:
            return heard.workloads.get(uid_of(item))
        case _:
            assert_never(kind)


def _admitted_at(workload: Fields | None) -> datetime | None:
    """Since when its quota is there; None: it is not."""
    admitted = holds(workload, "Admitted") if workload is not None else None
    return moment(admitted.get("lastTransitionTime")) if admitted is not None else None
