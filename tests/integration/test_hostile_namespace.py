"""A namespace that means harm, on a real API server: each try is refused or contained, and honest runs go on.

Resources that reach for more than their creator has, accounts that use their rights, objects made up to look like a
run's, resources that nobody can read, and pods that answer anything.
"""

import copy
import json
import zlib
from base64 import b85encode
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from moaa.contract.answers import failure, pack
from moaa_operator.kube.api import Api, connect
from moaa_operator.kube.errors import ApiError
from moaa_operator.kube.kinds import (
    CHILDREN,
    CONFIG_MAP,
    DEPLOYMENT,
    EVENT,
    JOB,
    LEASE,
    MOAA,
    POD,
    Kind,
)
from moaa_operator.kube.owner import RUN_LABEL
from tests.integration.apiserver import SERVICE_ACCOUNT, ApiServer, make_namespace
from tests.integration.kubelet import DONE, Fate, role_of, run_of
from tests.integration.operator_world import RBAC, World, short

pytestmark = pytest.mark.timeout(600)
Object = dict[str, Any]
SECRET = Kind("v1", "Secret", "secrets")
ROLE, BINDING = Kind(RBAC, "Role", "roles"), Kind(RBAC, "RoleBinding", "rolebindings")
ALLOWED = {
    "serviceAccounts": ["*/moaa-run"],
    "secrets": ["*/moaa-*"],
    "images": [],
    "tolerations": [],
    "priorityClasses": [],
    "nodeSelectors": [],
    "endpointHosts": ["api.example"],
}
"""What a platform team lets strangers choose."""


# Escalation: what a resource reaches for


def of_pod(spec: Object) -> Callable[[Object], None]:
    """Into the template of a model server."""

    def change(document: Object) -> None:
        document["spec"]["models"][0].setdefault("serving", {})["template"] = {"spec": spec}

    return change


def of_container(name: str = "vllm", **fields: object) -> Callable[[Object], None]:
    return of_pod({"containers": [{"name": name, **fields}]})


def of_trainer(spec: Object) -> Callable[[Object], None]:
    def change(document: Object) -> None:
        document["spec"]["training"].setdefault("resources", {})["template"] = {"spec": spec}

    return change


def of_metadata(**metadata: object) -> Callable[[Object], None]:
    def change(document: Object) -> None:
        document["spec"]["models"][0].setdefault("serving", {})["template"] = {"metadata": metadata}

    return change


def of_spec(**fields: object) -> Callable[[Object], None]:
    return lambda document: document["spec"].update(copy.deepcopy(fields))


def of_model(**fields: object) -> Callable[[Object], None]:
    return lambda document: document["spec"]["models"][0].update(copy.deepcopy(fields))


def volume(**kind: object) -> Callable[[Object], None]:
    return of_pod({"volumes": [{"name": "v", **kind}]})


ESCALATIONS: Mapping[str, Callable[[Object], None]] = {
    "the node's disk": volume(hostPath={"path": "/"}),
    "the node's disk for training": of_trainer({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
    "a file server's disk": volume(nfs={"server": "10.0.0.1", "path": "/"}),
    "an image as a disk": volume(image={"reference": "evil/x"}),
    "the node's network": of_pod({"hostNetwork": True}),
    "the node's processes": of_pod({"hostPID": True}),
    "the node's memory": of_trainer({"hostIPC": True}),
    "a port of the node": of_container(ports=[{"containerPort": 1, "hostPort": 22}]),
    "all privileges": of_container(securityContext={"privileged": True}),
    "more privileges later": of_container(securityContext={"allowPrivilegeEscalation": True}),
    "the kernel's /proc": of_container(securityContext={"procMount": "Unmasked"}),
    "root": of_container(securityContext={"runAsUser": 0}),
    "root for all": of_pod({"securityContext": {"runAsNonRoot": False}}),
    "capabilities": of_container(securityContext={"capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]}}),
    "system calls": of_pod({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}),
    "another SELinux type": of_pod({"securityContext": {"seLinuxOptions": {"type": "spc_t"}}}),
    "the kernel's parameters": of_pod({"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}),
    "no AppArmor": of_metadata(annotations={"container.apparmor.security.beta.kubernetes.io/vllm": "unconfined"}),
    "less security by null": of_pod({"securityContext": {"readOnlyRootFilesystem": None}}),
    "another account in a template": of_pod({"serviceAccountName": "admin"}),
    "the account's token": of_pod({"automountServiceAccountToken": True}),
    "the account's token as a volume": volume(projected={"sources": [{"serviceAccountToken": {"path": "t"}}]}),
    "a command of ours": of_container(command=["sh", "-c", "id"]),
    "a hook in our container": of_container(lifecycle={"postStart": {"exec": {"command": ["id"]}}}),
    "a probe in our container": of_container(livenessProbe={"exec": {"command": ["id"]}}),
    "a command for the trainer": of_trainer({"containers": [{"name": "ray-worker", "command": ["id"]}]}),
    "a container for debugging": of_pod({"ephemeralContainers": [{"name": "d", "image": "x"}]}),
    "pods for ever": of_trainer({"restartPolicy": "Always"}),
    "labels of another run": of_metadata(labels={"moaa.dev/run": "honest"}),
    "another queue": of_metadata(labels={"kueue.x-k8s.io/queue-name": "theirs"}),
    "another account": of_spec(serviceAccountName="admin"),
    "an account of another namespace": of_spec(serviceAccountName="kube-system/admin"),
    "a Secret of somebody": of_model(source="hf://o/m", tokenSecret={"name": "root", "key": "k"}),
    "a Secret of another namespace": of_model(source="hf://o/m", tokenSecret={"name": "kube-system/root", "key": "k"}),
    "a Secret as a volume": volume(secret={"name": "moaa-s3", "secretName": "root"}),
    "an image of one's own": of_container("miner", image="evil/miner"),
    "our image replaced": of_container(image="evil/vllm"),
    "a priority over all": of_pod({"priorityClassName": "system-node-critical"}),
    "the control plane's nodes": of_pod({"tolerations": [{"operator": "Exists"}]}),
    "somebody's node": of_pod({"nodeName": "control-plane"}),
    "a model author's code": of_model(serving={"args": ["--trust-remote-code"]}),
    "a module named in JSON": of_model(serving={"args": ['--kv-transfer-config={"kv_connector_module_path": "x"}']}),
    "a file of vLLM's own options": of_model(serving={"args": ["--config=/etc/x.yaml"]}),
    "the cloud's metadata": of_model(
        source=None, serving=None, endpoint={"url": "http://169.254.169.254/latest", "model": "m"}
    ),
    "files of the node as a store": of_spec(storage={"uri": "file:///var/lib"}),
    "files of the node as weights": of_model(source="file:///var/lib"),
}
"""By what they reach for: what is changed in a resource that is right. An API server or the operator refuses each."""


# Exhaustion: what a resource costs


def nested(levels: int) -> str:
    return '{"a": ' * levels + "1" + "}" * levels


BOMBS: Mapping[str, Callable[[Object], None]] = {
    "depth that Python can just read": of_metadata(annotations="@900"),
    "depth that it cannot": of_metadata(annotations="@1500"),
    "depth without end": of_metadata(annotations="@9000"),
    "more models than there may be": lambda d: d["spec"].update(models=d["spec"]["models"] * 30),
    "a number of servers": of_model(serving={"replicas": 10**9}),
    "GPUs without end": of_model(serving={"gpus": 10**9}),
    "workers without end": lambda d: d["spec"]["training"].update(resources={"workers": 10**9}),
    "iterations without end": of_spec(iterations=10**9),
    "a decimal without end": lambda d: d["spec"]["training"]["sft"].update(learningRate="1" * 10**5),
    "an exponent": lambda d: d["spec"]["training"]["sft"].update(learningRate="1e-999999999"),
    "containers without end": of_pod({"containers": [{"name": f"c{n}", "image": "x"} for n in range(500)]}),
    "a name that leaves no room": lambda d: d["metadata"].update(name="x" * 60),
    "two megabytes": of_metadata(annotations={"x": "x" * 2_000_000}),
}
"""The same for what nobody could carry out, hold or read. `@900` stands for that many levels."""


def send(server: ApiServer, namespace: str, name: str, change: Callable[[Object], None]) -> tuple[int, str]:
    """Status and words for the changed resource."""
    document = json.loads(json.dumps(short(name)))  # its models share parts
    change(document)
    for model in document["spec"]["models"]:
        for field in [field for field, value in model.items() if value is None]:
            del model[field]
    body = json.dumps(document)
    for levels in (900, 1500, 9000):
        body = body.replace(f'"@{levels}"', nested(levels))
    code, answer = server._ask("POST", f"/apis/moaa.dev/v1alpha1/namespaces/{namespace}/moaas", body)
    # What is stored may be nested deeper than can be read here.
    return code, answer[:4000].decode(errors="replace")


def test_what_reaches_for_more_or_cannot_be_carried_is_refused_and_others_go_on(world: World) -> None:
    stored: dict[str, str] = {}
    for number, (what, change) in enumerate({**ESCALATIONS, **BOMBS}.items()):
        name = f"try-{number}"
        code, words = send(world.server, world.namespace, name, change)
        if code == 201:
            stored[what] = name
        else:
            assert code in (400, 403, 413, 422) or "request is too large" in words, (what, words)
    assert len(stored) > 20
    world.operator(allowed=json.dumps(ALLOWED))
    world.apply(short("honest"))
    world.until(lambda: "i0-stage-data" in world.done("honest"))

    def refused() -> Mapping[str, str]:
        """Why, by the resource."""
        conditions = [
            (item["metadata"]["name"], condition)
            for item in world.kubelet.all(MOAA)
            for condition in item.get("status", {}).get("conditions", ())
        ]
        return {name: c["message"] for name, c in conditions if (c["type"], c["status"]) == ("Accepted", "False")}

    world.until(lambda: refused().keys() == set(stored.values()))
    assert [what for what, name in stored.items() if "spec." not in refused()[name]] == []
    made = [item for kind in CHILDREN for item in world.kubelet.all(kind)]
    assert {item["metadata"].get("labels", {}).get(RUN_LABEL) for item in made} - {None} == {"honest"}
    assert not world.operators[0].has_ended


# What accounts may do


def account(server: ApiServer, namespace: str, name: str, role: str) -> Api:
    """A service account bound to a cluster role in its namespace; without one when `role` is empty."""
    about = {"name": name, "namespace": namespace}
    server.admin.create(SERVICE_ACCOUNT, namespace, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": about})
    if role:
        subject = {"kind": "ServiceAccount", **about}
        reference = {"apiGroup": RBAC.split("/")[0], "kind": "ClusterRole", "name": role}
        body = {"apiVersion": RBAC, "kind": "RoleBinding", "metadata": about, "roleRef": reference}
        server.admin.create(BINDING, namespace, {**body, "subjects": [subject]})
    file = server.kubeconfig(f"{namespace}-{name}", server.token(namespace, name))
    return connect(timeout_s=30.0, kubeconfig=str(file))


def pod(name: str = "x") -> Object:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [{"name": "x"}]}}


FORBIDDEN: Mapping[str, tuple[str, Callable[[Api, str], object]]] = {
    "a creator makes up a status": ("creator", lambda api, ns: api.replace_status(MOAA, ns, short("tried"))),
    "a creator makes a pod": ("creator", lambda api, ns: api.create(POD, ns, pod())),
    "a creator makes a Job": ("creator", lambda api, ns: api.create(JOB, ns, {"metadata": {"name": "x"}})),
    "a creator reads Secrets": ("creator", lambda api, ns: api.list(SECRET, ns)),
    "a creator works elsewhere": ("creator", lambda api, _: api.create(MOAA, "default", short("tried"))),
    "a creator takes the lease": ("creator", lambda api, ns: api.list(LEASE, ns)),
    "a run's pod lists pods": ("pod", lambda api, ns: api.list(POD, ns)),
    "a run's pod reads Secrets": ("pod", lambda api, ns: api.list(SECRET, ns)),
    "a run's pod makes a MoAA": ("pod", lambda api, ns: api.create(MOAA, ns, short("tried"))),
    "a run's pod reads a MoAA": ("pod", lambda api, ns: api.list(MOAA, ns)),
    "the operator reads Secrets": ("operator", lambda api, ns: api.list(SECRET, ns)),
    "the operator makes a pod": ("operator", lambda api, ns: api.create(POD, ns, pod())),
    "the operator edits a MoAA": ("operator", lambda api, ns: api.replace(MOAA, ns, short("tried"))),
    "the operator gives rights": ("operator", lambda api, ns: api.create(ROLE, ns, {"metadata": {"name": "x"}})),
    "the operator looks elsewhere": ("operator", lambda api, _: api.list(MOAA, "default")),
    "the operator looks everywhere": ("operator", lambda api, _: api.list(POD, None)),
}
"""By what is tried: whose account, and the request."""


def test_accounts_have_no_more_rights_than_they_need(world: World) -> None:
    world.operator()
    release = world._release
    server, namespace = world.server, world.namespace
    apis = {
        "creator": account(server, namespace, "creator", f"{release}-moaa-edit"),
        "pod": account(server, namespace, "lone", ""),
        "operator": connect(
            timeout_s=30.0,
            kubeconfig=str(server.kubeconfig("op", server.token(namespace, f"{release}-moaa"))),
        ),
    }
    apis["creator"].create(MOAA, namespace, short("tried"))
    for what, (who, request) in FORBIDDEN.items():
        with pytest.raises(ApiError, match="forbidden") as refused:
            request(apis[who], namespace)
        assert refused.value.status == 403, what
    for api in apis.values():
        api.close()


# Neighbours, who make up objects


def test_what_looks_like_a_runs_and_is_not_changes_nothing(world: World) -> None:
    elsewhere = f"{world.namespace[:50]}-near"
    make_namespace(world.api, elsewhere)
    document = world.apply(
        {**short("honest"), "status": {"phase": "Succeeded", "iteration": "1/1", "promoted": {"digest": "0" * 64}}}
    )
    assert "status" not in document  # what its creator says of it is not kept
    labels = {"moaa.dev/run": "honest", "moaa.dev/role": "stage", "moaa.dev/stage": "i0-resolve"}
    notes = {"moaa.dev/attempt": "1", "moaa.dev/fingerprint": "0" * 64}
    meta = {"labels": labels, "annotations": notes}
    container = {"name": "job", "image": "x", "securityContext": {
        "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"}}}  # fmt: skip
    spec = {"restartPolicy": "Never", "containers": [container]}
    another = {"apiVersion": MOAA.api_version, "kind": MOAA.kind, "name": "honest", "uid": "not-the-ones"}
    for namespace in (elsewhere, world.namespace):
        forged = {"apiVersion": "v1", "kind": "Pod", "metadata": {**meta, "name": "forged"}, "spec": spec}
        made = world.api.create(POD, namespace, forged)
        ended = {"terminated": {"exitCode": 0, "message": "{}", "reason": "Completed"}}
        said = {"name": "job", "image": "x", "imageID": "x", "ready": False, "restartCount": 0, "state": ended}
        world.api.replace_status(
            POD, namespace, {**made, "status": {"phase": "Succeeded", "containerStatuses": [said]}}
        )
        job = {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": spec}}}
        world.api.create(JOB, namespace, {**job, "metadata": {**meta, "name": "forged"}})
        world.api.create(JOB, namespace, {**job, "metadata": {**meta, "name": "owned", "ownerReferences": [another]}})
        files = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"job.json": "[" * 60_000}}
        world.api.create(CONFIG_MAP, namespace, {**files, "metadata": {**meta, "name": "forged"}})
        server = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {**meta, "name": "forged"}}
        alike = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        body = {"selector": {"matchLabels": labels}, "replicas": 0, "template": alike}
        world.api.create(DEPLOYMENT, namespace, {**server, "spec": body})
    for kind in (POD, JOB, CONFIG_MAP, DEPLOYMENT):  # only the run's own are the kubelet's to act on
        hide(world, kind, "forged", "owned")
    world.operator()
    world.until(lambda: world.phase("honest") == "Succeeded", timeout_s=300)
    assert {end for _, _, end in world.kubelet.ended} == {0}
    for kind, name in ((JOB, "forged"), (JOB, "owned"), (CONFIG_MAP, "forged"), (DEPLOYMENT, "forged")):
        for namespace in (elsewhere, world.namespace):
            assert world.api.get(kind, namespace, name)  # and what is not the run's is not swept


def hide(world: World, kind: Kind, *names: str) -> None:
    """Objects that the cluster of the test leaves alone."""
    everything = world.kubelet.all

    def others(asked: Kind) -> list[Object]:
        found = everything(asked)
        return [item for item in found if asked is not kind or item["metadata"]["name"] not in names]

    vars(world.kubelet)["all"] = others


# Pods that answer anything

_BOMB = json.dumps({"zlib85": b85encode(zlib.compress(b'{"a":"' + b"0" * 2_000_000 + b'"}', 9)).decode()})
ANSWERS: Mapping[str, str] = {
    "brackets without end": "[" * 4000,
    "objects without end": '{"a":' * 800,
    "a packed bomb": _BOMB[:4096],
    "what is packed and is not": '{"zlib85": "!!!!"}',
    "another stage's result": json.dumps({"stage": "i9-promote", "kind": "promote", "fingerprint": "0" * 64}),
    "numbers that are none": '{"outputs": NaN, "rows": Infinity}',
    "a number without end": '{"rows": ' + "9" * 4000 + "}",
    "colours and bells": "\x1b[31m\x07\u202e" * 300,
    "only zeros": "\x00" * 100,
    "half a letter": "\ud83d"[:0] + "ü" * 2047,
    "an error with a page": pack(failure("<script>alert(1)</script>" * 40, permanent=False)) or "",
    "an empty object": "{}",
}
"""Termination messages of a stage's pod that ended well or badly."""


@pytest.mark.parametrize("code", [0, 1])
def test_what_pods_say_fails_their_own_stage_and_nothing_else(world: World, code: int) -> None:
    names = {f"says-{number}": words for number, words in enumerate(ANSWERS.values())}
    for name in names:
        world.apply(short(name, failures={"retries": 0}))

    def fate(item: Object) -> Fate:
        is_liar = run_of(item) in names and item["kind"] == "Job" and role_of(item) in ("stage", "finalise")
        return Fate(code=code, words=names[run_of(item)]) if is_liar else DONE

    world.kubelet.fate = fate
    world.operator()
    world.until(lambda: all(world.phase(name) == "Failed" for name in names), timeout_s=300)
    for name in names:
        text = json.dumps(world.status(name), ensure_ascii=False)
        assert world.done(name) == []
        assert "\\u001b" not in text, name
        assert len(text) < 10_000
    world.apply(short("honest", seed=7))
    world.until(lambda: world.phase("honest") == "Succeeded", timeout_s=300)
    assert not world.operators[0].has_ended
    assert all(len(event["message"]) <= 1024 for event in world.kubelet.all(EVENT))
