"""A run to render: a resource that uses every feature, results with made-up digests, and what cluster rules demand."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from moaa.api import MoAA
from moaa.contract.job import StageJob, stage_job
from moaa.plan.fingerprint import identify
from moaa.plan.graph import build
from moaa.plan.kinds.table import KINDS
from moaa.plan.result import Output, StageResult
from moaa.plan.stage import Kind
from moaa.weights.served import server_of
from moaa_operator import render
from moaa_operator.kube.owner import Owner, Role
from moaa_operator.settings import Settings

OWNER = Owner(name="demo", namespace="team", uid="0f0e0d0c-0b0a-0908-0706-050403020100")
SETTINGS = Settings(image_pull_secrets=("regcred",), job_priority_class="low", training_priority_class="high")

RESOURCE: dict[str, Any] = {
    "apiVersion": "moaa.dev/v1alpha1",
    "kind": "MoAA",
    "metadata": {"name": "demo", "namespace": "team", "labels": {"kueue.x-k8s.io/queue-name": "gpus", "team": "a"}},
    "spec": {
        "storage": {
            "uri": "s3://bucket/prefix",
            "endpoint": "http://s3.team.svc:7070",
            "region": "eu-west-1",
            "secret": {"name": "s3"},
        },
        "models": [
            {
                "name": "big",
                "source": "hf://owner/big",
                "tokenSecret": {"name": "hub", "key": "token"},
                "serving": {"gpus": 8, "replicas": 2, "args": ["--quantization", "fp8"]},
            },
            {"name": "small", "source": "s3://weights/small", "serving": {"gpus": 0, "memoryGib": "3"}},
            {"name": "claimed", "source": "pvc://models/some/folder", "serving": {"gpus": 1}},
            {"name": "foreign", "endpoint": {"url": "https://x/v1", "model": "m", "secret": {"name": "x", "key": "k"}}},
            {"name": "student", "source": "s3://weights/student", "serving": {"gpus": 1}},
        ],
        "student": "student",
        "mixture": {
            "layers": [{"proposers": [{"model": "big"}, {"model": "small"}, {"model": "foreign"}]}],
            "aggregator": {"model": "claimed"},
        },
        "judge": {"method": "Single", "aggregator": {"model": "big"}},
        "data": {
            "sft": [{"source": "s3://data/sft.jsonl", "limit": 1000}],
            "preference": [{"source": "s3://data/preference.jsonl", "limit": 500}],
        },
        "training": {
            "resources": {"workers": 4, "gpusPerWorker": 1, "cpusPerWorker": 6, "memoryGib": "48"},
            "sft": {"batchSize": 8},
            "dpo": {"batchSize": 8},
        },
    },
}
MODELS = ("big", "small", "claimed", "student", "@i1-sft")
MOAA = MoAA.model_validate(RESOURCE)


def changed(path: str, value: object) -> MoAA:
    """The resource with one field replaced, for example `spec.models.0.serving.replicas`."""
    *parents, last = path.split(".")
    document = _copy(RESOURCE)
    node = document
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
    node[int(last) if isinstance(node, list) else last] = value
    return MoAA.model_validate(document)


def _copy(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _copy(value) for key, value in node.items()}
    return [_copy(value) for value in node] if isinstance(node, list) else node


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def results(resource: MoAA) -> dict[str, StageResult]:
    """Of every stage up to the first promotion."""
    tables = ("sft-0", "preference-0")
    found: dict[str, StageResult] = {}
    for stage in build(resource).stages.values():
        if stage.kind is Kind.PROMOTE:
            continue
        read = {Kind.JUDGE: ("rankings", "pairs"), Kind.EVALUATE: ("answers", "scores")}
        names = read.get(stage.kind, KINDS[stage.kind].outputs) or tables
        found[stage.id] = StageResult(
            stage=stage.id,
            kind=stage.kind,
            inputs=digest(f"{stage.id} inputs"),
            fingerprint=digest(stage.id),
            outputs={
                name: Output(
                    digest=digest(f"{stage.id} {name}"),
                    rows=100,
                    uri=f"stages/{stage.kind}/x/out/1/model" if name == "model" else None,
                )
                for name in names
            },
            models={m.name: digest(m.name) for m in resource.spec.models} if stage.kind is Kind.RESOLVE else {},
        )
    return found


def job_of(stage: str, resource: MoAA) -> StageJob:
    known = results(resource)
    identity = identify(build(resource).stages[stage], resource, known)
    assert identity is not None
    return stage_job(identity, resource, known, run=OWNER.run)


def find(manifests: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [m for m in manifests if m["kind"] == kind]
    return found


def pod_templates(node: Any) -> Iterator[dict[str, Any]]:
    """Every pod template inside a manifest: whatever has a `spec` with containers."""
    if isinstance(node, dict):
        if isinstance(node.get("spec"), dict) and "containers" in node["spec"]:
            yield node
        for value in node.values():
            yield from pod_templates(value)
    elif isinstance(node, list):
        for value in node:
            yield from pod_templates(value)


ALLOWED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def restricted(template: Mapping[str, Any]) -> list[str]:
    """What Pod Security `restricted` objects to (kubernetes.io/docs/concepts/security/pod-security-standards)."""
    spec = template["spec"]
    found = [field for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    for volume in spec.get("volumes", []):
        if not set(volume) - {"name"} <= ALLOWED_VOLUMES:
            found.append(f"volume {volume}")
    of_pod = spec.get("securityContext", {})
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        own = container.get("securityContext", {})
        both = {**of_pod, **own}
        at = container["name"]
        if own.get("privileged") or own.get("allowPrivilegeEscalation") is not False:
            found.append(f"{at}: privileges")
        if own.get("capabilities", {}).get("drop") != ["ALL"] or own["capabilities"].get("add", []):
            found.append(f"{at}: capabilities")
        if both.get("runAsNonRoot") is not True or both.get("runAsUser") == 0:
            found.append(f"{at}: root")
        if both.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            found.append(f"{at}: seccomp")
        if any("hostPort" in port for port in container.get("ports", [])):
            found.append(f"{at}: hostPort")
    return found


DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def rayjob_objections(manifest: Mapping[str, Any]) -> list[str]:
    """What KubeRay 1.6 and 1.7 refuse in a RayJob (ray-operator/controllers/ray/utils/validation.go)."""
    spec, name = manifest["spec"], manifest["metadata"]["name"]
    cluster = spec["rayClusterSpec"]
    head, groups = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    mode = spec.get("submissionMode", "K8sJobMode")
    queued = "kueue.x-k8s.io/queue-name" in manifest["metadata"].get("labels", {})
    rules = {
        "name": len(name) <= 47 and DNS_1035.fullmatch(name),
        "suspend needs shutdown": not spec.get("suspend") or spec["shutdownAfterJobFinishes"],
        "queue needs shutdown and leaves suspend alone": not queued
        or (spec["shutdownAfterJobFinishes"] and "suspend" not in spec and len(groups) <= 17),
        "ttl needs shutdown": spec.get("ttlSecondsAfterFinished", 0) == 0 or spec["shutdownAfterJobFinishes"],
        "ttl is not negative": spec.get("ttlSecondsAfterFinished", 0) >= 0,
        "deadlines are positive": all(
            spec[field] > 0 for field in ("activeDeadlineSeconds", "preRunningDeadlineSeconds") if field in spec
        ),
        "backoffLimit is not negative": spec.get("backoffLimit", 0) >= 0,
        "sidecar has no submitter": mode != "SidecarMode"
        or not {"submitterPodTemplate", "submitterConfig"} & spec.keys(),
        "head has a container": len(head["template"]["spec"]["containers"]) > 0,
        "submitter does not restart": spec["submitterPodTemplate"]["spec"]["restartPolicy"] in ("Never", "OnFailure"),
        "groups are named": len({group["groupName"] for group in groups}) == len(groups),
        "group sizes agree": all(g["minReplicas"] <= g["replicas"] <= g["maxReplicas"] for g in groups),
        "groups have containers": all(group["template"]["spec"]["containers"] for group in groups),
        "rayStartParams are texts": all(
            isinstance(value, str) for part in (head, *groups) for value in part["rayStartParams"].values()
        ),
        "shm is left to KubeRay": all(
            mount["mountPath"] != "/dev/shm"
            for part in (head, *groups)
            for mount in part["template"]["spec"]["containers"][0].get("volumeMounts", [])
        ),
        "selector excludes a cluster": "clusterSelector" not in spec,
    }
    return [rule for rule, holds in rules.items() if not holds]


def bound(resource: MoAA = MOAA, settings: Settings = SETTINGS) -> render.Rendered:
    """The rendering of a resource."""
    return render.bind(resource, OWNER, settings)


def servers(resource: MoAA, *names: str) -> list[dict[str, Any]]:
    """Children of these models' servers, or of all."""
    served = [server_of(name, resource, results(resource)) for name in names or MODELS]
    return bound(resource).servers([model for model in served if model])


def stage(name: str, resource: MoAA = MOAA, *, attempt: int = 1, shards: int | None = None) -> list[dict[str, Any]]:
    job = job_of(name, resource)
    return bound(resource).stage(job, attempt=attempt, shards=shards)


def finalise(name: str) -> list[dict[str, Any]]:
    return bound().finalise(job_of(name, MOAA), attempt=1)


def everything(resource: MoAA = MOAA) -> list[dict[str, Any]]:
    """At least one child of every kind."""
    check = job_of("i0-resolve", resource)
    return [
        *servers(resource),
        *stage("i0-resolve", resource),
        *stage("i0-stage-data", resource),
        *stage("i1-generate", resource, shards=3),
        *stage("i1-sft", resource),
        *stage("i1-dpo", resource),
        *finalise("i1-generate"),
        *finalise("i1-sft"),
        *bound(resource).check(check, Role.INSPECT, attempt=1),
        *bound(resource).check(check, Role.PREFLIGHT, attempt=1),
    ]


def container(manifest: dict[str, Any], name: str) -> dict[str, Any]:
    """The one container of this name in a manifest's pod templates."""
    (found,) = [
        c
        for template in pod_templates(manifest)
        for c in [*template["spec"]["containers"], *template["spec"].get("initContainers", [])]
        if c["name"] == name
    ]
    return dict(found)


def environment(given: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in given["env"]}
