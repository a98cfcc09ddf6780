"""What a cluster's controllers, scheduler, kubelets and KubeRay would do with a run's children, one look at a time.

Pods are made from the children's own templates, so the API server's admission (Pod Security above all) judges them.
Jobs do what the jobs' image would: their answers come from the job files, and `manifests` is the store. `fate` says
what becomes of a child; GPUs are handed out first come, first served.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from moaa.api.base import Spec
from moaa.contract.answers import PreflightAnswer, failure, pack
from moaa.contract.checks import CheckJob
from moaa.contract.job import StageJob
from moaa.plan.result import StageResult
from moaa_operator.kube.api import Api
from moaa_operator.kube.errors import AlreadyExists, Conflict, NotFound
from moaa_operator.kube.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    EVENT,
    GROUP_LABEL,
    JOB,
    LEADER_WORKER_SET,
    MOAA,
    POD,
    RANK_LABEL,
    RAYJOB,
    SERVICE,
    SET_LABEL,
    Kind,
)
from moaa_operator.kube.owner import JOB_FILE, ROLE_LABEL, RUN_LABEL, STAGE_LABEL, Role
from tests.operator_helpers import finished, inspected

Object = dict[str, Any]
OWNERS = (MOAA, DEPLOYMENT, LEADER_WORKER_SET, JOB, RAYJOB)
GPU = "nvidia.com/gpu"
INDEX = "batch.kubernetes.io/job-completion-index"


@dataclass(frozen=True)
class Fate:
    """What becomes of a child."""

    is_held: bool = False
    """It goes on and on; a server finds no machine."""
    refusal: str = ""
    """Why a Job may not make its pods."""
    code: int = 0
    """How its container ends; of a server, not 0: again and again."""
    answer: Spec = field(default_factory=PreflightAnswer)
    """Its termination message, where `code` is not 0."""
    words: str = ""
    """Its termination message in place of any answer, however it ends."""
    reason: str = ""
    """KubeRay's or the Job controller's word for a failure."""


DONE, HELD = Fate(), Fate(is_held=True)
CRASH = Fate(code=1, answer=failure("it broke", permanent=False))


def permanent(message: str) -> Fate:
    return Fate(code=64, answer=failure(message, permanent=True))


class Kubelet:
    """Acts on what lies in one namespace."""

    def __init__(self, api: Api, namespace: str, *, gpus: int = 10**6) -> None:
        self.fate: Callable[[Object], Fate] = lambda _: DONE
        self.manifests: dict[str, StageResult] = {}
        self.ended: list[tuple[str, str, int]] = []
        """Role, stage and exit code of every Job and RayJob that ended, in order."""
        self._api = api
        self._namespace = namespace
        self.gpus = gpus
        self.pod_ip = ""
        """Of pods of Jobs that go on; empty: they have none, and nobody asks them how far they are."""
        self._seen: dict[Kind, list[Object]] = {}

    def step(self) -> None:
        """One look at everything. What somebody else changed meanwhile is left for the next."""
        self._seen = {kind: self.all(kind) for kind in (*OWNERS, SERVICE, CONFIG_MAP, POD)}
        for act in (self._collect_garbage, self._serve, self._serve_groups, self._work, self._train):
            try:
                act()
            except (AlreadyExists, Conflict, NotFound):
                continue

    def look(
        self, kind: Kind, item: Object, *, pods: Iterable[Object] = (), files: Iterable[Object] = ()
    ) -> list[Object]:
        """At one child alone, with its pods and its job file; its pods after that. Raises what the server says."""
        self._seen = {DEPLOYMENT: [], JOB: [], RAYJOB: [], CONFIG_MAP: list(files), POD: list(pods), kind: [item]}
        for act in (self._serve, self._work, self._train):
            act()
        return self._seen[POD]

    def all(self, kind: Kind) -> list[Object]:
        try:
            # The items of a list do not say what they are.
            named = {"apiVersion": kind.api_version, "kind": kind.kind}
            return [{**named, **item} for item in self._api.list(kind, self._namespace)[0]]
        except NotFound:  # the cluster has no such kind
            return []

    def clean(self) -> None:
        """Remove every run, and what belongs to it."""
        for item in self.all(MOAA):
            self._api.delete(MOAA, self._namespace, item["metadata"]["name"])
        for _ in range(3):  # a run's, then its Jobs', then nothing is left
            self._seen = {kind: self.all(kind) for kind in (*OWNERS, SERVICE, CONFIG_MAP, POD)}
            self._collect_garbage()

    def _collect_garbage(self) -> None:
        """What belongs to something that is gone goes."""
        alive = {item["metadata"]["uid"] for kind in OWNERS for item in self._seen[kind]}
        for kind in (DEPLOYMENT, LEADER_WORKER_SET, SERVICE, JOB, RAYJOB, CONFIG_MAP, POD):
            for about in [item["metadata"] for item in self._seen[kind]]:
                owners = about.get("ownerReferences") or ()
                if owners and not alive & {owner["uid"] for owner in owners}:
                    self._api.delete(kind, self._namespace, about["name"], uid=about["uid"])

    # Deployments

    def _serve(self) -> None:
        pods = self._pods()
        for item in self._seen[DEPLOYMENT]:
            generation = item["metadata"]["generation"]
            mine = pods.get(item["metadata"]["uid"], [])
            for old in [pod for pod in mine if pod["metadata"]["annotations"]["generation"] != str(generation)]:
                self._api.delete(POD, self._namespace, old["metadata"]["name"])
                mine.remove(old)
            fate = self.fate(item)
            for pod in mine or [self._make_pod(item, DEPLOYMENT, item["spec"]["template"], "0", generation)]:
                self._drive_server(item, pod, fate)

    def _drive_server(self, item: Object, pod: Object, fate: Fate) -> None:
        is_placed = _is_placed(pod) or (not fate.is_held and self._has_room(pod))
        is_ready = is_placed and fate.code == 0
        state: Object = {"running": {"startedAt": stamp()}}
        if fate.code:
            state = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off restarting failed container"}}
        status: Object = {
            "phase": "Running" if is_placed else "Pending",
            "conditions": _conditions(is_placed, is_ready),
        }
        if is_placed:
            last = {"lastState": {"terminated": _ended(fate.code, "no such weights")}} if fate.code else {}
            status["containerStatuses"] = [
                {**_container(pod, state), "ready": is_ready, "restartCount": 3 if fate.code else 0, **last}
            ]
        if _differs(pod, status):
            self._put_status(POD, pod, status)
        counts = {
            "observedGeneration": item["metadata"]["generation"],
            "replicas": 1,
            "updatedReplicas": 1,
            **({"readyReplicas": 1, "availableReplicas": 1} if is_ready else {"unavailableReplicas": 1}),
        }
        if item.get("status") != counts:
            self._put_status(DEPLOYMENT, item, counts)

    # LeaderWorkerSets

    def _serve_groups(self) -> None:
        """Each replica is a group of pods, which find machines together; the leader answers once all run. A group of
        which a pod fails is made anew."""
        pods = self._pods()
        for item in self._seen[LEADER_WORKER_SET]:
            fate, mine = self.fate(item), pods.get(item["metadata"]["uid"], [])
            if fate.code:
                for pod in mine:
                    self._api.delete(POD, self._namespace, pod["metadata"]["name"])
                continue
            for number in range(item["spec"]["replicas"]):
                group = [pod for pod in mine if pod["metadata"]["labels"][GROUP_LABEL] == str(number)]
                self._drive_group(group or self._make_group(item, number), fate)

    def _drive_group(self, group: list[Object], fate: Fate) -> None:
        waiting = [pod for pod in group if not _is_placed(pod)]
        if waiting and (fate.is_held or not self._has_room(*waiting)):
            return
        for pod in waiting:
            status: Object = {"phase": "Running", "conditions": _conditions(True, True)}
            status["containerStatuses"] = [{**_container(pod, {"running": {"startedAt": stamp()}}), "ready": True}]
            self._put_status(POD, pod, status)

    def _make_group(self, item: Object, number: int) -> list[Object]:
        spec, name = item["spec"]["leaderWorkerTemplate"], item["metadata"]["name"]
        made = []
        for rank in range(spec["size"]):
            template = spec["workerTemplate" if rank else "leaderTemplate"]
            told = {SET_LABEL: name, GROUP_LABEL: str(number), RANK_LABEL: str(rank)}
            about = {**template["metadata"], "labels": {**template["metadata"]["labels"], **told}}
            made.append(self._make_pod(item, LEADER_WORKER_SET, {**template, "metadata": about}, f"{number}-{rank}"))
        return made

    def _has_room(self, *pods: Object) -> bool:
        placed = [pod for pod in self._seen[POD] if _is_placed(pod) and pod["status"]["phase"] == "Running"]
        return sum(map(_gpus, [*placed, *pods])) <= self.gpus

    # Jobs

    def _work(self) -> None:
        files = {item["metadata"]["name"]: item for item in self._seen[CONFIG_MAP]}
        pods_of = self._pods()
        for item in self._seen[JOB]:
            if has_ended(item):
                continue
            fate = self.fate(item)
            if fate.refusal:
                self._refuse_pods(item, fate.refusal)
                continue
            shards = range(item["spec"]["completions"] if _is_indexed(item) else 1)
            pods = pods_of.get(item["metadata"]["uid"]) or [
                self._make_pod(item, JOB, item["spec"]["template"], str(shard)) for shard in shards
            ]
            if fate.is_held:
                self._hold_job(item, pods)
            else:
                self._end_job(item, pods, fate, self._answer(item, files, fate))

    def _refuse_pods(self, item: Object, message: str) -> None:
        """The Job's controller tells of it in an Event, and nowhere else."""
        about = {key: item["metadata"][key] for key in ("name", "namespace", "uid")}
        event = {
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": f"{about['name']}.refused"}, "type": "Warning",
            "reason": "FailedCreate", "message": message, "lastTimestamp": stamp(), "count": 1,
            "involvedObject": {"apiVersion": JOB.api_version, "kind": JOB.kind, **about},
        }  # fmt: skip
        with suppress(AlreadyExists):
            self._api.create(EVENT, self._namespace, event)

    def _hold_job(self, item: Object, pods: list[Object]) -> None:
        if (item.get("status") or {}).get("active"):
            return
        for pod in pods:
            running = {"phase": "Running", "conditions": _conditions(True, True)}
            running["containerStatuses"] = [_container(pod, {"running": {"startedAt": stamp()}})]
            running |= {"podIP": self.pod_ip, "podIPs": [{"ip": self.pod_ip}]} if self.pod_ip else {}
            self._put_status(POD, pod, running)
        body = {"startTime": stamp(), "active": len(pods), "ready": len(pods), "terminating": 0}
        self._put_status(JOB, item, body)

    def _end_job(self, item: Object, pods: list[Object], fate: Fate, message: str) -> None:
        for pod in pods:
            state = {"terminated": _ended(fate.code, message)}
            phase = "Failed" if fate.code else "Succeeded"
            status: Object = {"phase": phase, "conditions": _conditions(True, False)}
            status["containerStatuses"] = [_container(pod, state)]
            self._put_status(POD, pod, status)
        kinds = ("FailureTarget", "Failed") if fate.code else ("SuccessCriteriaMet", "Complete")
        reason = fate.reason or ("BackoffLimitExceeded" if fate.code else "CompletionsReached")
        indexes = f"0-{len(pods) - 1}" if len(pods) > 1 else "0"
        start = (item.get("status") or {}).get("startTime") or stamp()
        status = {
            "startTime": start,
            "conditions": [
                {"type": kind, "status": "True", "reason": reason, "message": "the test says so",
                 "lastTransitionTime": stamp(), "lastProbeTime": stamp()} for kind in kinds
            ],
            "terminating": 0,
            "ready": 0,
            **({"failed": len(pods)} if fate.code else {"succeeded": len(pods), "completionTime": stamp()}),
        }  # fmt: skip
        if _is_indexed(item) and not fate.code:
            status["completedIndexes"] = indexes
        if _is_indexed(item) and fate.code:
            status["failedIndexes"] = indexes
        self._put_status(JOB, item, status)
        self._note(item, fate)

    def _answer(self, item: Object, files: Mapping[str, Object], fate: Fate) -> str:
        """The termination message of the Job's pods."""
        if fate.words:
            return fate.words
        if fate.code:
            return pack(fate.answer) or ""
        text = files[item["metadata"]["name"]]["data"][JOB_FILE]
        match role_of(item):
            case Role.PREFLIGHT:
                return "{}"
            case Role.INSPECT:
                found = inspected(CheckJob.model_validate_json(text), self.manifests)
                return pack(found) or ""
            case Role.STAGE if _is_indexed(item):
                return ""
        job = StageJob.model_validate_json(text)
        result = self.manifests.setdefault(job.fingerprint, finished(job))
        return pack(result) or ""

    # RayJobs

    def _train(self) -> None:
        for item in self._seen[RAYJOB]:
            status = item.get("status") or {}
            if has_ended(item) or item["spec"].get("suspend"):
                continue
            name = item["metadata"]["name"]
            cluster = {"rayClusterName": f"{name}-c"}
            if not status:
                self._make_ray_pods(item, cluster["rayClusterName"])
                begun = {**cluster, "jobDeploymentStatus": "Initializing", "startTime": stamp()}
                item = self._put_status(RAYJOB, item, begun)
            fate = self.fate(item)
            if not self._place(item) or fate.is_held:
                continue
            end = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED", "message": "Job finished successfully."}
            if fate.code:
                said = f"Job entrypoint command failed with exit code {fate.code}, last available logs:\n"
                end = {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": fate.reason or "AppFailed"}
                end["message"] = said + (pack(fate.answer) or "")
            self._put_status(RAYJOB, item, {**item["status"], **end})
            self._note(item, fate)

    def _place(self, item: Object) -> bool:
        """Whether all of its pods that need GPUs have them: all at once, as a queue would admit them."""
        waiting = [pod for pod in self._pods()[item["metadata"]["uid"]] if _gpus(pod) and not _is_placed(pod)]
        if not self._has_room(*waiting):
            return False
        for pod in waiting:
            self._put_status(POD, pod, {"phase": "Running", "conditions": _conditions(True, True)})
        return True

    def _make_ray_pods(self, item: Object, cluster: str) -> None:
        spec = item["spec"]["rayClusterSpec"]
        [workers] = spec["workerGroupSpecs"]
        templates = [spec["headGroupSpec"]["template"], item["spec"]["submitterPodTemplate"]]
        for number, template in enumerate([*templates, *[workers["template"]] * workers["replicas"]]):
            labelled = {**template["metadata"].get("labels", {}), "ray.io/cluster": cluster}
            body = {**template, "metadata": {**template["metadata"], "labels": labelled}}
            self._make_pod(item, RAYJOB, body, str(number))

    # All of them

    def _pods(self) -> dict[str, list[Object]]:
        """Those that are there, by the UID of their owner."""
        found: dict[str, list[Object]] = {}
        for pod in self._seen[POD]:
            found.setdefault(pod["metadata"]["ownerReferences"][0]["uid"], []).append(pod)
        return found

    def _make_pod(self, item: Object, kind: Kind, template: Object, suffix: str, generation: int = 1) -> Object:
        about = item["metadata"]
        labels = dict(template["metadata"].get("labels") or {})
        annotations = {**(template["metadata"].get("annotations") or {}), "generation": str(generation)}
        if kind is JOB:
            labels["batch.kubernetes.io/job-name"] = about["name"]
            annotations[INDEX] = suffix
        owners = [{"apiVersion": kind.api_version, "kind": kind.kind, "name": about["name"], "uid": about["uid"]}]
        if cluster := labels.get("ray.io/cluster"):
            owners.append({"apiVersion": kind.api_version, "kind": "RayCluster", "name": cluster, "uid": cluster})
        name = f"{about['name']}-{suffix}-{generation}"
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": labels, "annotations": annotations, "ownerReferences": owners},
            "spec": template["spec"],
        }
        made = self._api.create(POD, self._namespace, body)
        self._seen[POD].append(made)
        return made

    def _put_status(self, kind: Kind, item: Object, status: Object) -> Object:
        """In what was seen, too, so that GPUs are not handed out twice."""
        item["status"] = status
        written = self._api.replace_status(kind, self._namespace, item)
        item["metadata"]["resourceVersion"] = written["metadata"]["resourceVersion"]
        return item

    def _note(self, item: Object, fate: Fate) -> None:
        self.ended.append((role_of(item), stage_of(item), fate.code))


def has_ended(item: Object) -> bool:
    """A Job or RayJob."""
    status = item.get("status") or {}
    if item["kind"] == RAYJOB.kind:
        return status.get("jobDeploymentStatus") in ("Complete", "Failed")
    return item["kind"] == JOB.kind and any(c["type"] in ("Complete", "Failed") for c in status.get("conditions") or ())


def role_of(item: Object) -> str:
    return str(item["metadata"]["labels"][ROLE_LABEL])


def stage_of(item: Object) -> str:
    return str(item["metadata"]["labels"].get(STAGE_LABEL, ""))


def run_of(item: Object) -> str:
    return str(item["metadata"]["labels"][RUN_LABEL])


def stamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _is_indexed(item: Object) -> bool:
    return bool(item["spec"].get("completionMode") == "Indexed")


def _is_placed(pod: Object) -> bool:
    return any(c["type"] == "PodScheduled" and c["status"] == "True" for c in _of(pod, "conditions"))


def _of(pod: Object, key: str) -> Iterable[Object]:
    found: list[Object] = (pod.get("status") or {}).get(key) or []
    return found


def _gpus(pod: Object) -> int:
    return sum(int((c.get("resources") or {}).get("limits", {}).get(GPU, 0)) for c in pod["spec"]["containers"])


def _conditions(is_placed: bool, is_ready: bool) -> list[Object]:
    placed = {"type": "PodScheduled", "status": str(is_placed), "lastTransitionTime": stamp()}
    if not is_placed:
        placed |= {"reason": "Unschedulable", "message": f"0/1 nodes are available: 1 Insufficient {GPU}."}
    return [placed, {"type": "Ready", "status": str(is_ready), "lastTransitionTime": stamp()}]


def _container(pod: Object, state: Object) -> Object:
    first = pod["spec"]["containers"][0]
    return {
        "name": first["name"],
        "image": first["image"],
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": state,
    }


def _ended(code: int, message: str) -> Object:
    return {
        "exitCode": code, "reason": "Error" if code else "Completed", "message": message, "startedAt": stamp(),
        "finishedAt": stamp(),
    }  # fmt: skip


def _differs(pod: Object, status: Object) -> bool:
    """Times aside."""
    return _states(pod.get("status") or {}) != _states(status)


def _states(status: Object) -> object:
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or ()}
    containers = [(c["ready"], sorted(c["state"])) for c in status.get("containerStatuses") or ()]
    return conditions, containers
