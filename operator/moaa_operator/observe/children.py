"""What Jobs, RayJobs and ConfigMaps share: what rendering wrote on them, their pods, and words about these. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from moaa_operator.kube import kueue, rejections
from moaa_operator.kube.objects import (
    Fields,
    Problem,
    annotation,
    created_at,
    holds,
    is_leaving,
    is_owned_by,
    label,
    name_of,
    number_of,
    ref_of,
    uid_of,
)
from moaa_operator.kube.owner import (
    ATTEMPT_ANNOTATION,
    FINGERPRINT_ANNOTATION,
    JOB_FILE,
    QUEUE_ANNOTATION,
    ROLE_LABEL,
    STAGE_LABEL,
    Role,
)
from moaa_operator.observe.observed import Child
from moaa_operator.observe.progress import PodFigures


@dataclass(frozen=True)
class Heard:
    """What was said of children and pods beside their status, by UID."""

    events: Mapping[str, Fields] = field(default_factory=dict)
    """The newest Event about each."""
    workloads: Mapping[str, Fields] = field(default_factory=dict)
    """Kueue's, by the UID of the Job, RayJob or LeaderWorkerSet and by their own names."""
    figures: Mapping[str, PodFigures] = field(default_factory=dict)

    def of(self, pods: Iterable[Fields]) -> list[PodFigures]:
        """The figures of those pods that gave some."""
        return [self.figures[uid] for pod in pods if (uid := uid_of(pod)) in self.figures]

    def no_pods(self, item: Fields, kind: str) -> Problem | None:
        """Why a silent child has no pods, as far as an Event says so."""
        event = self.events.get(uid_of(item))
        if event is None:
            return None
        what = f"a pod of {kind} {name_of(item)}"
        return rejections.problem(what, str(event.get("message") or ""), reason=str(event.get("reason") or ""))


def workloads_by(items: Iterable[Fields]) -> dict[str, Fields]:
    """Kueue's Workloads by name, and by the UID of the Job, RayJob or LeaderWorkerSet that they are of.

    Owner references say of whom one is: anybody who makes a Workload may write a label. A LeaderWorkerSet has one for
    each group; one that lacks quota speaks for all.
    """
    found = {name_of(item): item for item in sorted(items, key=lambda w: holds(w, "Admitted") is None)}
    of_jobs = {label(item, kueue.JOB_UID_LABEL): item for item in found.values()}
    return found | {uid: item for uid, item in of_jobs.items() if uid and is_owned_by(item, uid)}


def newest(events: Iterable[Fields]) -> dict[str, Fields]:
    """The newest Event about each object, by its UID."""
    found: dict[str, Fields] = {}
    for event in sorted(events, key=lambda e: str(e.get("lastTimestamp") or e.get("eventTime") or "")):
        found[str((event.get("involvedObject") or {}).get("uid") or "")] = event
    return found


def pods_of(item: Fields, all_pods: Iterable[Fields]) -> list[Fields]:
    uid = item["metadata"].get("uid")
    return [pod for pod in all_pods if is_owned_by(pod, uid)]


def child(item: Fields, kind: str, **state: Any) -> Child | None:
    """None: it carries no attempt or no role that we know, so it is not a stage's."""
    attempt, role = number_of(annotation(item, ATTEMPT_ANNOTATION)), label(item, ROLE_LABEL)
    if attempt is None or role not in set(Role):
        return None
    return Child(
        ref=ref_of(item, kind),
        role=Role(role),
        stage=label(item, STAGE_LABEL) or role,
        fingerprint=annotation(item, FINGERPRINT_ANNOTATION),
        attempt=attempt,
        is_leaving=is_leaving(item),
        created=created_at(item),
        queue=annotation(item, QUEUE_ANNOTATION),
        **state,
    )


def config_map(item: Fields, _pods: list[Fields], _heard: Heard) -> Child | None:
    return child(item, "ConfigMap", job_file=str((item.get("data") or {}).get(JOB_FILE) or ""))
