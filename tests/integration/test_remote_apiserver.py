"""`moaa submit`, `status`, `logs`, `cancel` as processes, against a real API server and a kubelet that serves logs."""

import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from moaa_operator.kube.kinds import MOAA, POD, Kind
from moaa_operator.kube.owner import RUN_LABEL, STAGE_LABEL
from tests.integration.apiserver import ApiServer
from tests.integration.kubelet import DONE, HELD, Object, stage_of
from tests.integration.operator_world import ROOT, World, short

NODE = Kind("v1", "Node", "nodes")
ROLE, BINDING = (Kind("rbac.authorization.k8s.io/v1", k, f"{k.lower()}s") for k in ("Role", "RoleBinding"))


@dataclass
class Person:
    """Somebody at a terminal's pipe, with a kubeconfig."""

    kubeconfig: Path
    namespace: str

    def __call__(self, *words: str, code: int = 0) -> str:
        """What the command wrote; it ended with this code."""
        path = os.pathsep.join(str(ROOT / part) for part in ("", "jobs", "operator"))
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("KUBE", "MOAA_"))}
        ended = subprocess.run(
            [sys.executable, "-m", "moaa.cli", *words, "--kubeconfig", str(self.kubeconfig), "-n", self.namespace],
            env={**environment, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == code, ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr
        return ended.stdout + ended.stderr


@pytest.fixture
def person(world: World) -> Person:
    return Person(world.server.admin_kubeconfig, world.namespace)


def written(folder: Path, document: Object) -> str:
    file = folder / "moaa.yaml"
    file.write_text(yaml.safe_dump(document))
    return str(file)


def test_a_run_is_submitted_changed_suspended_and_deleted(world: World, person: Person, tmp_path: Path) -> None:
    document = short("tiny")
    file = written(tmp_path, document)
    assert "tiny: would be created" in person("submit", file, "--dry-run")
    assert "no runs in namespace" in person("status")
    said = person("submit", file)
    assert "tiny is valid: 5 models" in said
    assert f"{world.namespace}/tiny: created; watch it: moaa status tiny" in said
    assert "is there already, and as the file says" in person("submit", file)
    assert "not looked at yet" in person("status")
    assert f"{world.namespace}/tiny: no operator has looked at it yet" in person("status", "tiny")
    file = written(tmp_path, {**document, "spec": {**document["spec"], "iterations": 2}})
    for options, generation in ((["--dry-run"], 1), ([], 2)):
        assert "spec.iterations 1 → 2" in person("submit", file, *options)
        assert world.api.get(MOAA, world.namespace, "tiny")["metadata"]["generation"] == generation
    assert "tiny: suspended; its pods and servers end" in person("cancel", "tiny")
    assert "is suspended already" in person("cancel", "tiny")
    assert "spec.suspend True → False" in person("submit", file)
    assert world.api.get(MOAA, world.namespace, "tiny")["spec"]["suspend"] is False
    assert "Nobody is there to answer; say --yes" in person("cancel", "tiny", "--delete", code=2)
    assert "tiny: deleted; what is finished stays in s3://tiny" in person("cancel", "tiny", "--delete", "--yes")
    assert f"there is no MoAA 'tiny' in namespace {world.namespace}" in person("status", "tiny", code=2)


def test_the_server_refuses_in_its_own_words_before_anything_is_changed(
    world: World, person: Person, tmp_path: Path
) -> None:
    person("submit", written(tmp_path, short("tiny")))
    other = short("tiny")
    other["spec"]["seed"] = 7
    said = person("submit", written(tmp_path, other), code=2)
    assert f"cannot change {world.namespace}/tiny: the cluster refuses: " in said
    assert "seed" in said
    assert person("submit", written(tmp_path, {**other, "spec": {}}), code=2).startswith("moaa: ")
    assert world.api.get(MOAA, world.namespace, "tiny")["metadata"]["generation"] == 1


def steps(world: World) -> list[tuple[str, str | None]]:
    return [(entry["stage"], entry.get("step")) for entry in world.status("tiny").get("attempts", ())]


def test_an_edit_that_repeats_finished_stages_is_asked_about(world: World, person: Person, tmp_path: Path) -> None:
    world.kubelet.fate = lambda item: HELD if stage_of(item) == "i1-sft" else DONE
    document = short("tiny")
    person("submit", written(tmp_path, document))
    world.operator()
    world.until(lambda: "i1-generate" in world.done("tiny"))
    world.until(lambda: ("i1-sft", "Work") in steps(world))
    said = person("status", "tiny")
    assert [line.split()[1:3] for line in said.splitlines() if line[1:2] in "✓●○"] == [
        ["i0-resolve", "done"], ["i0-stage-data", "done"], ["i1-generate", "done"], ["i1-sft", "running"],
    ]  # fmt: skip
    document["spec"]["mixture"]["aggregator"]["temperature"] = "0.1"
    file = written(tmp_path, document)
    said = person("submit", file, code=2)
    assert "repeats 1 finished stages: i1-generate" in said
    assert "ends the attempt under way of i1-sft" in said
    assert "Change it, and do this work again? Nobody is there to answer" in said
    assert world.api.get(MOAA, world.namespace, "tiny")["metadata"]["generation"] == 1
    assert "tiny: changed" in person("submit", file, "--yes")
    world.until(lambda: "i1-generate" not in world.done("tiny"))


def test_who_may_not_and_where_no_operator_was_installed(world: World, person: Person, api_server: ApiServer) -> None:
    token = api_server.token(world.namespace, "default")
    stranger = Person(api_server.kubeconfig(f"{world.namespace}-stranger", token), world.namespace)
    said = stranger("status", code=2)
    assert "cannot list runs in namespace" in said
    assert "cannot list resource" in said
    assert "ask for the right" in said
    nobody = Person(api_server.kubeconfig(f"{world.namespace}-nobody", "wrong-token"), world.namespace)
    said = nobody("status", code=2)
    assert "does not take your credentials" in said
    assert "wrong-token" not in said


# logs


class Kubelet(BaseHTTPRequestHandler):
    """Serves each container's log: its lines, then, where it is followed, one more."""

    asked: list[str] = []

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""

    def do_GET(self) -> None:
        where = urlsplit(self.path)
        _, _, _namespace, pod, container = where.path.split("/")
        query = parse_qs(where.query)
        said = [f"{pod} {container} line {number}\n" for number in range(3)]
        said = said[-int(query["tailLines"][0]) :] if "tailLines" in query else said
        said += ["and goes on\n"] if query.get("follow") == ["true"] else []
        self.asked.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write("".join(said).encode())


@pytest.fixture
def node(api_server: ApiServer) -> Iterator[str]:
    """The name of a node whose kubelet answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(api_server.ca_file, api_server.folder / "pki" / "server.key")
    with ThreadingHTTPServer(("127.0.0.1", 0), Kubelet) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        name = f"node-{server.server_address[1]}"
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": server.server_address[1]}},
        }
        body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": status}
        api_server.admin.create(NODE, "", body)
        yield name
        api_server.admin.delete(NODE, "", name)
        server.shutdown()
        thread.join()


def pod(world: World, name: str, node: str, *, phase: str, state: Object) -> None:
    labels = {RUN_LABEL: "tiny", STAGE_LABEL: "i1-sft"}
    security = {
        "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    body = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": world.namespace, "labels": labels},
        "spec": {"nodeName": node, "containers": [{"name": "job", "image": "x", "securityContext": security}]},
    }  # fmt: skip
    made = world.api.create(POD, world.namespace, body)
    container = {"name": "job", "image": "x", "imageID": "x", "ready": False, "restartCount": 0, "state": state}
    world.api.replace_status(
        POD, world.namespace, {**made, "status": {"phase": phase, "containerStatuses": [container]}}
    )


def test_logs_of_ended_pods_and_of_one_that_goes_on(world: World, person: Person, node: str, tmp_path: Path) -> None:
    person("submit", written(tmp_path, short("tiny")))
    assert "no stage has begun yet" in person("logs", "tiny", code=2)
    assert "i1-sft: no pods of it are there. It has not begun" in person("logs", "tiny", "--stage", "i1-sft", code=1)
    pod(world, "a", node, phase="Failed", state={"terminated": {"exitCode": 3}})
    pod(world, "b", node, phase="Succeeded", state={"terminated": {"exitCode": 0}})
    said = person("logs", "tiny", "--stage", "i1-sft")
    assert said.splitlines() == [
        "==> a/job (Failed, exit code 3)", "a job line 0", "a job line 1", "a job line 2",
        "==> b/job (Succeeded)", "b job line 0", "b job line 1", "b job line 2",
    ]  # fmt: skip
    assert "line 1" not in person("logs", "tiny", "--stage", "i1-sft", "--tail", "1")
    said = person("logs", "tiny", "--stage", "i1-sft", "--follow", "--tail", "1")
    assert sorted(said.splitlines()) == [
        "[a/job] a job line 2", "[a/job] and goes on", "[b/job] and goes on", "[b/job] b job line 2",
    ]  # fmt: skip
    assert json.dumps(Kubelet.asked).count("follow=true") == 2
