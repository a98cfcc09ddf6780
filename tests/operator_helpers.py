"""A cluster in memory for tests of the operator: it does what Kubernetes and people would, when told to."""

import copy
import json
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from moaa.api import MoAA
from moaa.api.base import Spec
from moaa.api.status import MoAAStatus
from moaa.contract.checks import CheckAnswer, CheckJob, Took
from moaa.contract.job import StageJob
from moaa.errors import Problem
from moaa.plan.canonical import digest_of
from moaa.plan.fingerprint import identify
from moaa.plan.graph import build
from moaa.plan.kinds.table import TRAINING
from moaa.plan.result import Identity, StageResult, stage_path
from moaa.plan.stage import Kind
from moaa.weights.served import ServedModel
from moaa_operator.decide.reconcile import Desired, reconcile
from moaa_operator.decide.renderer import Renderer
from moaa_operator.kube.kinds import GROUP_LABEL, RANK_LABEL, SET_LABEL, ServerKind
from moaa_operator.kube.owner import (
    ATTEMPT_ANNOTATION,
    FINGERPRINT_ANNOTATION,
    HASH_ANNOTATION,
    MODEL_ANNOTATION,
    ROLE_LABEL,
    RUN_LABEL,
    STAGE_LABEL,
    Check,
    Owner,
    Role,
)
from moaa_operator.observe.observed import Observed
from moaa_operator.observe.progress import PodFigures
from moaa_operator.observe.read import observe
from moaa_operator.render.admission import refusals
from moaa_operator.render.serving import fitting
from moaa_operator.settings import Allowed, Settings
from moaa_operator.tell.status import document as status_document
from tests.plan_helpers import finish, tree

Object = dict[str, Any]
START = datetime(2026, 1, 1, tzinfo=UTC)
OWNER = Owner("small", "team", "uid-1")
ON_S3: dict[str, Any] = {
    "spec__storage__uri": "s3://bucket/prefix",
    "spec__data__sft__0__source": "s3://bucket/sft.jsonl",
    "spec__data__preference__0__source": "s3://bucket/pref.jsonl",
    "spec__evaluation__selection__0__source": "s3://bucket/held.jsonl",
}
"""Pods see no folder of one machine."""
SHORT: dict[str, Any] = {
    "spec__training__dpo": None, "spec__data__preference": [], "spec__judge": None, "spec__evaluation": None,
}  # fmt: skip
"""Changes of the resource that leave resolve, stage-data, generate, sft and promote."""
SETTINGS = Settings(retry_s=10, retry_max_s=60)


class FakeRender:
    """The rendering of one MoAA with as little in the manifests as decisions look at."""

    def __init__(self, resource: MoAA, owner: Owner, _settings: Settings) -> None:
        self._resource = resource
        self._owner = owner

    def refusals(self, missing: Collection[str] = ()) -> list[Problem]:
        return [*refusals(self._resource, Allowed()), *fitting.without_groups(self._resource, missing)]

    def policies(self) -> list[Object]:
        return []

    def servers(
        self, models: Iterable[ServedModel], replicas: Mapping[str, int] = MappingProxyType({})
    ) -> list[Object]:
        found: list[Object] = []
        for served in models:
            name = self._server(served)
            spec = self._resource.spec
            model = spec.model(spec.student if served.name.startswith("@") else served.name)
            serving = model.serving.with_(replicas=replicas.get(model.name, model.serving.replicas))
            notes = {
                MODEL_ANNOTATION: served.name,
                HASH_ANNOTATION: digest_of([served.digest, serving.model_dump(mode="json")]),
            }
            assert serving.nodes == 1, "groups are rendered for real: Cluster(render=bind)"
            for kind in ("Service", "Deployment"):
                made = _manifest(self._owner, kind, name, "server", notes)
                if kind == "Deployment":
                    template: Object = {"metadata": {}, "spec": {}}
                    selector = {"matchLabels": {"server": name}}
                    made["spec"] = {"selector": selector, "replicas": serving.replicas, "template": template}
                found.append(made)
        return found

    def gang(self, stage: str, fingerprint: str, members: list[str], *, attempt: int) -> str:
        return f"{self._owner.name}-{stage}-{attempt}-{digest_of([fingerprint, members])[:6]}"

    def server_url(self, model: ServedModel) -> str:
        return f"http://{self._server(model)}.{self._owner.namespace}.svc:8000/v1"

    def stage(self, job: StageJob, *, attempt: int, shards: int | None) -> list[Object]:
        made = self._attempt(job, "RayJob" if job.kind in TRAINING else "Job", Role.STAGE, attempt)
        made[1]["spec"] = {} if shards is None else {"completions": shards, "completionMode": "Indexed"}
        return made

    def finalise(self, job: StageJob, *, attempt: int) -> list[Object]:
        return self._attempt(job, "Job", Role.FINALISE, attempt)

    def check(self, job: Spec, role: Check, *, attempt: int) -> list[Object]:
        text = job.model_dump_json()
        name = f"{self._owner.name}-{role}-a{attempt}-{digest_of(text)[:6]}"
        notes = {ATTEMPT_ANNOTATION: str(attempt)}
        made = [_manifest(self._owner, kind, name, role, notes) for kind in ("ConfigMap", "Job")]
        made[0]["data"] = {"job.json": text}
        return made

    def _server(self, served: ServedModel) -> str:
        return f"{self._owner.name}-{served.served_name}-{served.digest[:6]}"

    def _attempt(self, job: StageJob, kind: str, role: Role, attempt: int) -> list[Object]:
        name = f"{self._owner.name}-{job.stage}-{role[0]}{attempt}-{job.fingerprint[:6]}"
        notes = {FINGERPRINT_ANNOTATION: job.fingerprint, ATTEMPT_ANNOTATION: str(attempt)}
        made = [_manifest(self._owner, k, name, role, notes, stage=job.stage) for k in ("ConfigMap", kind)]
        made[0]["data"] = {"job.json": job.model_dump_json()}
        return made


def _manifest(owner: Owner, kind: str, name: str, role: str, notes: dict[str, str], stage: str = "") -> Object:
    labels = {RUN_LABEL: owner.name, ROLE_LABEL: str(role), **({STAGE_LABEL: stage} if stage else {})}
    about = {
        "name": name,
        "namespace": owner.namespace,
        "labels": labels,
        "annotations": dict(notes),
        "ownerReferences": [dict(owner.reference)],
    }
    version = {"ConfigMap": "v1", "Service": "v1", "Deployment": "apps/v1", "Job": "batch/v1", "RayJob": "ray.io/v1"}
    return {"apiVersion": version[kind], "kind": kind, "metadata": about, "spec": {}}


def stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def finished(job: StageJob) -> StageResult:
    """What the stage's job would have come to."""
    resource = MoAA.model_validate(job.resource)
    identity = Identity(build(resource).stages[job.stage], job.inputs, job.fingerprint, job.document)
    assert stage_path(job.kind, job.inputs, job.fingerprint) == identity.path
    result = finish(identity, resource)
    if job.kind in TRAINING:
        trained = result.outputs["model"].with_(uri=f"{identity.path}/out/1/model")
        return result.with_(outputs={**result.outputs, "model": trained})
    if job.kind is Kind.PROMOTE:
        maker = job.candidates[-1].removeprefix("@")
        model = job.results[maker].outputs["model"]
        return result.with_(outputs={**result.outputs, "model": model}, decision=f"{maker} is promoted: as made up.")
    return result


def inspected(
    job: CheckJob,
    manifests: Mapping[str, StageResult],
    worked_on: Collection[str] = (),
    took: Mapping[str, Took] = MappingProxyType({}),
) -> CheckAnswer:
    """What a look into a store with these manifests, by fingerprint, would find. `took`: of those that the run made."""
    resource = MoAA.model_validate(job.resource)
    known, found, absent = dict(job.results), [], []
    for stage in build(resource).stages.values():
        identity = None if stage.id in known else identify(stage, resource, known)
        if identity is None:
            continue
        if identity.fingerprint in manifests:
            known[stage.id] = manifests[identity.fingerprint].with_(stage=stage.id)
            found.append(known[stage.id])
        else:
            absent.append(identity.fingerprint)
    busy = [fingerprint for fingerprint in absent if fingerprint in worked_on]
    mine = [took[result.fingerprint] for result in found[:3] if result.fingerprint in took]
    return CheckAnswer(results=found[:3], took=mine, absent=absent, worked_on=busy, is_complete=len(found) <= 3)


class Cluster:
    """One MoAA and its objects. `manifests` is the store: what stages have finished, by fingerprint."""

    def __init__(
        self,
        *,
        settings: Settings = SETTINGS,
        missing: Collection[str] = (),
        render: Renderer | None = None,
        **changes: Any,
    ) -> None:
        document = tree(**{**ON_S3, **changes})
        document["metadata"] |= {"name": OWNER.name, "namespace": OWNER.namespace, "uid": OWNER.uid, "generation": 1}
        self.document: Object = document
        self.objects: dict[tuple[str, str], Object] = {}
        self.now = START
        self.settings = settings
        self.missing = frozenset(missing)
        """Kinds that the cluster does not know."""
        self.render: Renderer = render or FakeRender
        self.manifests: dict[str, StageResult] = {}
        self.took: dict[str, Took] = {}
        """What the manifests say that stages took which this run made, by fingerprint."""
        self.worked_on: set[str] = set()
        """Fingerprints that another run of the same store works on."""
        self.created: list[str] = []
        """Names of every Job and RayJob ever made, in order; a name twice was made again."""
        self.uids = 0
        self.figures: dict[str, PodFigures] = {}
        """What pods say of their progress, by UID."""
        self.desired: Desired | None = None

    # What the operator does

    def observed(self) -> Observed:
        kinds: dict[str, list[Object]] = {}
        for (kind, _), item in self.objects.items():
            kinds.setdefault(kind, []).append(item)
        return observe(self.document, kinds, missing=self.missing, figures=self.figures)

    def decide(self) -> Desired:
        self.desired = reconcile(self.observed(), now=self.now, settings=self.settings, render=self.render)
        return self.desired

    def step(self, *, dies: str = "") -> Desired:
        """One pass; `dies` ends it after `apply` or `status`, as a kill would."""
        desired = self.decide()
        for manifest in (*desired.apply, *desired.create):
            self._make(manifest)
        if dies == "apply":
            return desired
        self.document["status"] = json.loads(json.dumps(status_document(desired.status)))
        if dies == "status":
            return desired
        for ref in desired.delete:
            found = self.objects.get((ref.kind, ref.name))
            if found is not None and found["metadata"]["uid"] == ref.uid:
                self.delete(ref.kind, ref.name)
        return desired

    def settle(self, limit: int = 20) -> Desired:
        """Steps until nothing changes any more."""
        for _ in range(limit):
            before = (json.dumps(self.document.get("status")), sorted(self.objects))
            desired = self.step()
            if before == (json.dumps(self.document.get("status")), sorted(self.objects)):
                return desired
        raise AssertionError(f"no rest after {limit} steps")

    def _make(self, manifest: Object) -> None:
        place = manifest["kind"], manifest["metadata"]["name"]
        item = copy.deepcopy(manifest)
        if place in self.objects:
            if manifest["kind"] in (*ServerKind, "Service"):
                self.objects[place]["metadata"]["annotations"] = item["metadata"]["annotations"]
            return
        self.uids += 1
        item["metadata"] |= {"uid": f"child-{self.uids}", "creationTimestamp": stamp(self.now), "generation": 1}
        self.objects[place] = item
        if manifest["kind"] in ("Job", "RayJob"):
            self.created.append(place[1])

    # What Kubernetes and people do

    def delete(self, kind: str, name: str) -> None:
        """With what it owns."""
        uid = self.objects.pop((kind, name))["metadata"]["uid"]
        for place in list(self.objects):
            if place in self.objects and any(
                r["uid"] == uid for r in self.objects[place]["metadata"]["ownerReferences"]
            ):
                self.delete(*place)

    def edit(self, **changes: Any) -> None:
        fresh = tree(**{**ON_S3, **changes})
        self.document["spec"] = fresh["spec"]
        self.document["metadata"]["generation"] += 1

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def of(self, kind: str, *, role: str | None = None, stage: str | None = None) -> list[Object]:
        return [
            item
            for (k, _), item in self.objects.items()
            if k == kind
            and (role is None or item["metadata"]["labels"][ROLE_LABEL] == role)
            and (stage is None or item["metadata"]["labels"].get(STAGE_LABEL) == stage)
        ]

    def running(self) -> list[Object]:
        """Jobs and RayJobs that have not ended."""
        return [item for item in (*self.of("Job"), *self.of("RayJob")) if not item.get("status")]

    def servers_answer(self) -> None:
        for item in self.of("Deployment"):
            item["status"] = {"observedGeneration": 1, "readyReplicas": 1}
        for item in self.of("LeaderWorkerSet"):
            self.group(item, leader=True)

    def group(self, item: Object, *, leader: bool = False, number: int = 0, **status: Any) -> list[Object]:
        """The pods of one of its groups, new ones: placed now, or with this status. `leader`: it answers."""
        placed = {"type": "PodScheduled", "status": "True", "lastTransitionTime": stamp(self.now)}
        spec, name = item["spec"]["leaderWorkerTemplate"], f"{item['metadata']['name']}-{number}"
        pods = []
        for rank in range(spec["size"]):
            template = spec["workerTemplate" if rank else "leaderTemplate"]["metadata"]
            ready = {"type": "Ready", "status": str(leader or rank > 0)}
            labels = {SET_LABEL: item["metadata"]["name"], GROUP_LABEL: str(number), RANK_LABEL: str(rank)}
            self.uids += 1
            pod: Object = {
                "kind": "Pod",
                "metadata": {
                    "name": f"{name}-{rank}" if rank else name,
                    "namespace": OWNER.namespace,
                    "labels": {**template["labels"], **labels},
                    "annotations": dict(template["annotations"]),
                    "uid": f"pod-{self.uids}",
                    "ownerReferences": [{"uid": item["metadata"]["uid"]}],
                },
                "status": status or {"phase": "Running", "conditions": [placed, ready]},
            }
            self.objects["Pod", pod["metadata"]["name"]] = pod
            pods.append(pod)
        return pods

    def server_pod(self, deployment: Object, **status: Any) -> Object:
        """The one pod of a server, with this status."""
        name = deployment["metadata"]["name"]
        pod: Object = {
            "kind": "Pod",
            "metadata": {
                "name": f"{name}-pod",
                "namespace": OWNER.namespace,
                "labels": {"server": name, RUN_LABEL: OWNER.name, ROLE_LABEL: "server"},
                "annotations": {},
                "uid": f"pod-{name}",
                "ownerReferences": [{"uid": deployment["metadata"]["uid"]}],
            },
            "status": status,
        }
        self.objects["Pod", pod["metadata"]["name"]] = pod
        return pod

    def end(self, item: Object, *, code: int = 0, message: str = "", reason: str = "") -> None:
        """The Job or RayJob ends; `message` is what its container leaves."""
        if item["kind"] == "RayJob":
            ray = "SUCCEEDED" if code == 0 else "FAILED"
            text = message if code == 0 else f"Job entrypoint command failed with exit code {code}, logs:\n{message}"
            item["status"] = {
                "jobDeploymentStatus": "Complete" if code == 0 else "Failed",
                "jobStatus": ray,
                "message": text,
                "reason": reason or ("" if code == 0 else "AppFailed"),
            }
            return
        name = item["metadata"]["name"]
        ended = {"exitCode": code, "message": message, "reason": "Completed" if code == 0 else "Error"}
        self.objects["Pod", f"{name}-pod"] = {
            "kind": "Pod",
            "metadata": {
                "name": f"{name}-pod",
                "namespace": OWNER.namespace,
                "labels": {RUN_LABEL: OWNER.name},
                "annotations": {},
                "uid": f"pod-{name}",
                "ownerReferences": [{"uid": item["metadata"]["uid"]}],
            },
            "status": {"containerStatuses": [{"name": "job", "state": {"terminated": ended}}]},
        }
        kind = "Complete" if code == 0 else "Failed"
        over = {"type": kind, "status": "True", "reason": reason or "BackoffLimitExceeded"}
        item["status"] = {"conditions": [{**over, "lastTransitionTime": stamp(self.now)}]}

    def job_of(self, item: Object) -> Any:
        """What the Job reads."""
        text = self.objects["ConfigMap", item["metadata"]["name"]]["data"]["job.json"]
        role = item["metadata"]["labels"][ROLE_LABEL]
        return (CheckJob if role in ("inspect", "preflight") else StageJob).model_validate_json(text)

    def work(self, item: Object) -> None:
        """The Job or RayJob does what its image would, and ends well."""
        role = item["metadata"]["labels"][ROLE_LABEL]
        if role == "preflight":
            self.end(item, message="{}")
        elif role == "inspect":
            found = inspected(self.job_of(item), self.manifests, self.worked_on, self.took)
            self.end(item, message=found.model_dump_json(by_alias=True))
        else:
            job: StageJob = self.job_of(item)
            whole = item["kind"] == "Job" and item["spec"].get("completionMode") != "Indexed"
            if role == "stage" and not whole:
                self.end(item)
                return
            result = self.manifests.setdefault(job.fingerprint, finished(job))
            self.end(item, message=result.model_dump_json(by_alias=True))

    def work_all(self) -> None:
        for item in self.running():
            self.work(item)

    def run(self, limit: int = 200) -> None:
        """Everything goes well until nothing is left to do."""
        for _ in range(limit):
            self.settle()
            self.servers_answer()
            if not self.running() and not any(self.of(kind) for kind in ServerKind):
                if self.phase in ("Succeeded", "Failed"):
                    return
                self.wait(60)
            self.work_all()
        raise AssertionError(f"not done after {limit} rounds: {self.status}")

    @property
    def status(self) -> Object:
        """With the defaults, which are not written."""
        read = MoAAStatus.model_validate(self.document.get("status") or {})
        return read.model_dump(mode="json", by_alias=True, exclude_none=True)

    @property
    def phase(self) -> str | None:
        phase = self.status.get("phase")
        return str(phase) if phase else None

    def condition(self, kind: str) -> Object | None:
        return next((dict(c) for c in self.status.get("conditions", ()) if c["type"] == kind), None)

    def entry(self, stage: str) -> Object:
        return next(dict(e) for e in self.status.get("attempts", ()) if e["stage"] == stage)

    @property
    def done(self) -> list[str]:
        return [entry["stage"] for entry in self.status.get("stages", ())]


def until(cluster: Cluster, stage: str, *, role: str = "stage") -> Object:
    """Everything goes well until the stage's Job of this role exists."""
    for _ in range(60):
        cluster.settle()
        cluster.servers_answer()
        found = [*cluster.of("Job", role=role, stage=stage), *cluster.of("RayJob", role=role, stage=stage)]
        if found:
            return found[-1]
        for item in cluster.running():
            cluster.work(item)
    raise AssertionError(f"{stage} never came: {cluster.status}")


def until_servers(cluster: Cluster) -> None:
    """Everything goes well until the first servers exist."""
    for _ in range(20):
        cluster.settle()
        if cluster.of("Deployment"):
            return
        cluster.work_all()
    raise AssertionError("no server came")


def unplaced(cluster: Cluster, words: str) -> Object:
    """The status of a pod that finds no machine since now."""
    since = stamp(cluster.now)
    waits = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "lastTransitionTime": since}
    return {"phase": "Pending", "conditions": [{**waits, "message": words}]}


def pod_of(cluster: Cluster, item: Object, status: Object, suffix: str = "", **labels: str) -> Object:
    """A pod of a Job or RayJob, with this status; one that is labelled as a Ray cluster's is owned by that, too."""
    item["status"] = item.get("status") or {}
    name = item["metadata"]["name"] + suffix
    meta = {"name": name, "namespace": OWNER.namespace, "uid": f"p-{name}", "labels": labels}
    ray = labels.get("ray.io/cluster")
    owned = [{"uid": item["metadata"]["uid"]}, *([{"kind": "RayCluster", "name": ray, "uid": ray}] if ray else [])]
    pod: Object = {"kind": "Pod", "metadata": {**meta, "ownerReferences": owned}, "status": status}
    cluster.objects["Pod", name] = pod
    return pod
