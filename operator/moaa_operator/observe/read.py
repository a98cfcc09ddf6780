"""From the informers' copies to what a decision needs: one frozen value for each MoAA. Pure.

Children are recognised by what rendering wrote on them (label of the run, role, stage; annotations with fingerprint,
attempt and model) and by the owner's UID: a child of a deleted MoAA of the same name is nobody's and is passed over.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from moaa.api.status import MoAAStatus, StageProgress
from moaa.contract.answers import FailureAnswer
from moaa.contract.answers import read as read_answer
from moaa_operator.kube import rejections
from moaa_operator.kube.owner import (
    ATTEMPT_ANNOTATION,
    FINGERPRINT_ANNOTATION,
    HASH_ANNOTATION,
    JOB_FILE,
    MODEL_ANNOTATION,
    ROLE_LABEL,
    STAGE_LABEL,
    Owner,
)
from moaa_operator.observe import pods
from moaa_operator.observe.pods import Problem, Termination, moment
from moaa_operator.tell.progress import PodFigures, combine

Object = Mapping[str, Any]
Place = tuple[str, str]
"""Kind and name of an object of the run."""


class Role(StrEnum):
    """What a child is for: the value of ROLE_LABEL."""

    SERVER = "server"
    STAGE = "stage"
    FINALISE = "finalise"
    INSPECT = "inspect"
    PREFLIGHT = "preflight"


class End(StrEnum):
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@dataclass(frozen=True)
class Ref:
    """One object, not just a name."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True)
class Child:
    """A Job, RayJob or ConfigMap of one attempt of a stage, or of a check of the store."""

    ref: Ref
    role: str
    stage: str
    fingerprint: str
    attempt: int
    is_leaving: bool = False
    end: End = End.RUNNING
    created: datetime | None = None
    terminations: tuple[Termination, ...] = ()
    """How its containers ended, those that are still known."""
    problem: Problem | None = None
    """Why it does not go on, or how it failed in Kubernetes' words."""
    progress: StageProgress | None = None
    """How far it is, as far as its pods or its shards tell."""
    is_running: bool = False
    """At least one of its pods runs; of a RayJob: its head does."""
    lost_since: datetime | None = None
    """Of a RayJob that says it runs: since when its head, and with it the driver, is another one than it began on."""
    unplaced_since: datetime | None = None
    """Of a RayJob: since when a pod of its cluster finds no machine."""
    told_to_go: datetime | None = None
    """Of a Job: by when a pod that was told to end should have ended, the earliest of those that have not. Until it
    has, the Job makes no other in its place."""
    job_file: str = ""
    """Of a ConfigMap: what its job reads, as JSON."""
    is_silent: bool = False
    """It should have pods and has none."""

    @property
    def is_work(self) -> bool:
        """Runs something, other than a ConfigMap."""
        return self.ref.kind != "ConfigMap"

    @property
    def is_live(self) -> bool:
        """May still hold machines."""
        return self.is_work and (self.end is End.RUNNING or self.is_leaving)


@dataclass(frozen=True)
class Server:
    """A model server's Deployment with its pods."""

    ref: Ref
    model: str
    hash: str
    is_ready: bool = False
    """At least one replica answers."""
    is_leaving: bool = False
    created: datetime | None = None
    unscheduled_since: datetime | None = None
    """No replica has a machine; since when the first waits for one."""
    scheduled_at: datetime | None = None
    """When the first replica got its machine."""
    restarts: int = 0
    problem: Problem | None = None


@dataclass(frozen=True)
class Observed:
    """Everything a decision about one MoAA rests on."""

    owner: Owner
    generation: int
    document: Object
    """The MoAA as the API server has it."""
    status: MoAAStatus
    is_leaving: bool = False
    children: tuple[Child, ...] = ()
    servers: tuple[Server, ...] = ()
    services: Mapping[str, Ref] = field(default_factory=dict)
    """Services of servers, by name."""
    service_hashes: Mapping[str, str] = field(default_factory=dict)
    has_kuberay: bool = True
    """The cluster knows RayJobs."""
    refusals: Mapping[Place, Problem] = field(default_factory=dict)
    """What the API server would not let the operator make just now."""


def owner_of(document: Object) -> Owner:
    meta = document["metadata"]
    return Owner(name=str(meta["name"]), namespace=str(meta["namespace"]), uid=str(meta["uid"]))


def observe(
    document: Object,
    objects: Mapping[str, Iterable[Object]],
    *,
    has_kuberay: bool = True,
    figures: Mapping[str, PodFigures] | None = None,
) -> Observed:
    """`objects` are the run's objects by kind, its pods among them, and Events about silent children; `figures` are
    what pods said of their progress, by their UIDs.

    A status that no version of ours wrote counts as lost: what it said is found again.
    """
    owner = owner_of(document)
    mine = {kind: [item for item in items if _is_owned(item, owner)] for kind, items in objects.items()}
    found_pods = list(objects.get("Pod", ()))
    services = mine.get("Service", [])
    heard = _Heard(_last_words(objects.get("Event", ())), figures or {})
    return Observed(
        owner=owner,
        generation=int(document["metadata"].get("generation") or 0),
        document=document,
        status=_status(document),
        is_leaving=pods.is_leaving(document),
        children=tuple(
            child
            for kind, read in (("Job", _job), ("RayJob", _rayjob), ("ConfigMap", _config_map))
            for item in mine.get(kind, [])
            if (child := read(item, found_pods, heard)) is not None
        ),
        servers=tuple(_server(item, found_pods) for item in mine.get("Deployment", []) if _is_server(item)),
        services={pods.name_of(s): _ref(s, "Service") for s in services if _is_server(s)},
        service_hashes={pods.name_of(s): _annotation(s, HASH_ANNOTATION) for s in services if _is_server(s)},
        has_kuberay=has_kuberay,
    )


def _status(document: Object) -> MoAAStatus:
    try:
        return MoAAStatus.model_validate(document.get("status") or {})
    except ValueError:
        return MoAAStatus()


def _is_owned(item: Object, owner: Owner) -> bool:
    return any(ref.get("uid") == owner.uid for ref in item["metadata"].get("ownerReferences") or ())


def _is_server(item: Object) -> bool:
    return _label(item, ROLE_LABEL) == Role.SERVER


def _label(item: Object, name: str) -> str:
    return str((item["metadata"].get("labels") or {}).get(name) or "")


def _annotation(item: Object, name: str) -> str:
    return str((item["metadata"].get("annotations") or {}).get(name) or "")


def _ref(item: Object, kind: str) -> Ref:
    return Ref(kind, pods.name_of(item), str(item["metadata"].get("uid") or ""))


def _child(item: Object, kind: str, **state: Any) -> Child | None:
    """None: it carries no attempt, so it is not a stage's."""
    attempt, role = _annotation(item, ATTEMPT_ANNOTATION), _label(item, ROLE_LABEL)
    if not attempt.isdigit() or role not in set(Role):
        return None
    return Child(
        ref=_ref(item, kind),
        role=role,
        stage=_label(item, STAGE_LABEL) or role,
        fingerprint=_annotation(item, FINGERPRINT_ANNOTATION),
        attempt=int(attempt),
        is_leaving=pods.is_leaving(item),
        created=moment(item["metadata"].get("creationTimestamp")),
        **state,
    )


@dataclass(frozen=True)
class _Heard:
    """What was said of children and pods beside their status, by UID."""

    events: Mapping[str, Object]
    figures: Mapping[str, PodFigures]

    def of(self, pods: Iterable[Object]) -> list[PodFigures]:
        return [self.figures[uid] for pod in pods if (uid := str(pod["metadata"].get("uid"))) in self.figures]


def _last_words(events: Iterable[Object]) -> dict[str, Object]:
    """The newest Event about each object, by its UID."""
    newest: dict[str, Object] = {}
    for event in sorted(events, key=lambda e: str(e.get("lastTimestamp") or e.get("eventTime") or "")):
        newest[str((event.get("involvedObject") or {}).get("uid") or "")] = event
    return newest


def is_silent(item: Object, all_pods: Iterable[Object]) -> bool:
    """A Job or RayJob that goes on and has no pod. One that waits in a queue has none by design."""
    if pods.is_leaving(item) or (item.get("spec") or {}).get("suspend"):
        return False
    if item["kind"] == "RayJob":
        has_ended = _rayjob_end(item) is not End.RUNNING
        return not has_ended and not _pods_of_cluster(item, all_pods)
    has_ended = any(_holds(item, kind) for kind in ("Complete", "Failed"))
    return not has_ended and not _pods_of(item, all_pods)


def _pods_of(item: Object, all_pods: Iterable[Object]) -> list[Object]:
    uid = item["metadata"].get("uid")
    return [pod for pod in all_pods if any(r.get("uid") == uid for r in pod["metadata"].get("ownerReferences") or ())]


def _pods_of_cluster(item: Object, all_pods: Iterable[Object]) -> list[Object]:
    """Of a RayJob's cluster."""
    cluster = (item.get("status") or {}).get("rayClusterName")
    return [pod for pod in all_pods if cluster and _label(pod, "ray.io/cluster") == cluster]


def _no_pods(item: Object, kind: str, heard: _Heard) -> Problem | None:
    """Why a silent child has no pods, as far as somebody said so."""
    event = heard.events.get(str(item["metadata"].get("uid") or ""))
    if event is None:
        return None
    what = f"a pod of {kind} {pods.name_of(item)}"
    return rejections.problem(what, str(event.get("message") or ""), reason=str(event.get("reason") or ""))


def _config_map(item: Object, _pods: list[Object], _heard: _Heard) -> Child | None:
    return _child(item, "ConfigMap", job_file=str((item.get("data") or {}).get(JOB_FILE) or ""))


def _job(item: Object, all_pods: list[Object], heard: _Heard) -> Child | None:
    mine = _pods_of(item, all_pods)
    status, spec = item.get("status") or {}, item.get("spec") or {}
    end, problem = End.RUNNING, pods.first_problem(mine)
    if _holds(item, "Complete"):
        end, problem = End.SUCCEEDED, None
    elif failed := _holds(item, "Failed"):
        reason = str(failed.get("reason") or "Failed")
        end, problem = End.FAILED, Problem(reason, f"Job {pods.name_of(item)}: {failed.get('message') or reason}")
    is_quiet = is_silent(item, mine)
    if is_quiet:
        problem = _no_pods(item, "Job", heard)
    shards = int(spec.get("completions") or 0) if spec.get("completionMode") == "Indexed" else 0
    finished = int(status.get("succeeded") or 0)
    progress = combine(heard.of(mine), shards=shards, finished=finished) if end is End.RUNNING else None
    if progress is None and shards and end is End.RUNNING:
        progress = StageProgress(message=f"{finished}/{shards} shards")
    return _child(
        item,
        "Job",
        end=end,
        problem=problem,
        is_silent=is_quiet,
        is_running=any(map(pods.is_running, mine)),
        told_to_go=min((t for pod in mine if (t := pods.told_to_go(pod))), default=None),
        terminations=tuple(t for pod in mine for t in pods.terminations(pod)),
        progress=progress,
    )


_EXIT_CODE = re.compile(r"exit code (\d+)")


def _rayjob_end(item: Object) -> End:
    status = item.get("status") or {}
    deployment = str(status.get("jobDeploymentStatus") or "")
    if deployment not in ("Complete", "Failed", "ValidationFailed"):
        return End.RUNNING
    # A stopped Ray job ends as Complete, too: only its own status says that it succeeded.
    return End.SUCCEEDED if status.get("jobStatus") == "SUCCEEDED" and deployment == "Complete" else End.FAILED


def _rayjob(item: Object, all_pods: list[Object], heard: _Heard) -> Child | None:
    status = item.get("status") or {}
    deployment, ray = str(status.get("jobDeploymentStatus") or ""), str(status.get("jobStatus") or "")
    message = str(status.get("message") or "")
    mine = _pods_of_cluster(item, all_pods)
    head = next((pod for pod in mine if _label(pod, "ray.io/node-type") == "head" and not pods.is_leaving(pod)), None)
    end, lost_since, problem, progress = _rayjob_end(item), None, None, None
    ended: tuple[Termination, ...] = ()
    if end is End.RUNNING:
        lost_since, progress = _lost_since(status, head), combine(heard.of(mine))
        problem = _rayjob_problem(item, mine, head, heard)
    else:
        reason = str(
            status.get("reason") or ("ValidationFailed" if deployment == "ValidationFailed" else ray or "Failed")
        )
        problem = None if end is End.SUCCEEDED else Problem(reason, f"RayJob {pods.name_of(item)}: {message or reason}")
        code = _EXIT_CODE.search(message)
        if end is End.FAILED and (code or read_answer(message, FailureAnswer)):
            ended = (Termination(int(code.group(1)) if code else 1, message),)
    return _child(
        item,
        "RayJob",
        end=end,
        problem=problem,
        terminations=ended,
        is_silent=is_silent(item, mine),
        is_running=ray == "RUNNING" and head is not None and pods.is_running(head),
        lost_since=lost_since,
        unplaced_since=min((t for pod in mine if (t := pods.unscheduled_since(pod))), default=None),
        progress=progress,
    )


def _lost_since(status: Object, head: Object | None) -> datetime | None:
    """When the head that a running job began on was replaced: the driver went with it, whatever the RayJob says.

    A job begins some seconds after its head, so one made in the same second (times have no less) is another.
    """
    begun = moment((status.get("rayJobInfo") or {}).get("startTime"))
    made = moment(head["metadata"].get("creationTimestamp")) if head is not None else None
    is_lost = status.get("jobStatus") == "RUNNING" and begun is not None and made is not None and made >= begun
    return made if is_lost else None


def _rayjob_problem(item: Object, mine: list[Object], head: Object | None, heard: _Heard) -> Problem | None:
    """Why a RayJob that has not ended does not go on."""
    name, status = pods.name_of(item), item.get("status") or {}
    if (item.get("spec") or {}).get("suspend"):
        return Problem("Queued", f"RayJob {name} is suspended; its queue has not admitted it yet")
    is_headless = status.get("jobStatus") == "RUNNING" and mine and head is None
    if is_headless or _lost_since(status, head) is not None:
        return Problem("HeadLost", f"RayJob {name} says that it runs, but the Ray head it ran on is gone")
    refused = _holds({"status": status.get("rayClusterStatus")}, "ReplicaFailure")
    if refused is not None:
        words = str(refused.get("message") or "")
        return rejections.problem(f"a pod of RayJob {name}", words, reason=str(refused.get("reason") or ""))
    return pods.first_problem(mine) if mine else _no_pods(item, "RayJob", heard)


def _server(item: Object, all_pods: list[Object]) -> Server:
    selector = ((item.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
    mine = [
        pod
        for pod in all_pods
        if selector and selector.items() <= (pod["metadata"].get("labels") or {}).items() and not pods.is_leaving(pod)
    ]
    waiting = [since for pod in mine if (since := pods.unscheduled_since(pod))]
    placed = [at for pod in mine if (at := pods.scheduled_at(pod))]
    problem = pods.first_problem(mine)
    refused = _holds(item, "ReplicaFailure")
    if problem is None and refused is not None:
        what, words = f"a pod of Deployment {pods.name_of(item)}", str(refused.get("message") or "")
        problem = rejections.problem(what, words, reason=str(refused.get("reason") or ""))
    status = item.get("status") or {}
    is_current = int(status.get("observedGeneration") or 0) >= int(item["metadata"].get("generation") or 0)
    return Server(
        ref=_ref(item, "Deployment"),
        model=_annotation(item, MODEL_ANNOTATION),
        hash=_annotation(item, HASH_ANNOTATION),
        is_ready=is_current and int(status.get("readyReplicas") or 0) > 0,
        is_leaving=pods.is_leaving(item),
        created=moment(item["metadata"].get("creationTimestamp")),
        unscheduled_since=min(waiting) if waiting and not placed else None,
        scheduled_at=min(placed, default=None),
        restarts=max(map(pods.restarts, mine), default=0),
        problem=problem,
    )


def _holds(item: Object, name: str) -> Object | None:
    found = pods.condition(item, name)
    return found if found is not None and found.get("status") == "True" else None
