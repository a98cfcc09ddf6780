"""A real kube-apiserver over a real etcd, with our CRD, KubeRay's and LeaderWorkerSet's; no kubelet, no controllers.

Both listen on free loopback ports, are started and stopped by process id, and die with the process that started them.
RBAC, Pod Security and the enforcement of owner references are on. What a cluster's controllers would do, garbage
collection among it, the tests play.
"""

import base64
import http.client
import json
import os
import socket
import ssl
import subprocess
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from moaa.api.crd.definition import crd
from moaa_operator.kube.api import Api, connect
from moaa_operator.kube.kinds import Kind
from tests.tools import KUBERAY, LEADER_WORKER_SET, ToolUnavailable, module_folder, tool
from tests.with_parent import with_parent

Object = dict[str, Any]

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 10.0
ADMIN_TOKEN = "admin-of-the-tests"

NAMESPACE = Kind("v1", "Namespace", "namespaces")
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
CRD = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions")


@dataclass
class ApiServer:
    """Started by `run_api_server`; may be killed and started again over the same etcd."""

    folder: Path
    port: int
    etcd_port: int
    options: Sequence[str] = ()
    """Further options of the API server's command line."""
    _processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    _admin: Api | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca_file(self) -> Path:
        """The server's certificate, which is its own authority."""
        return self.folder / "pki" / "server.crt"

    @property
    def admin_kubeconfig(self) -> Path:
        return self.kubeconfig("admin", ADMIN_TOKEN)

    @property
    def admin(self) -> Api:
        """Who may do everything."""
        if self._admin is None:
            self._admin = connect(timeout_s=30.0, kubeconfig=str(self.admin_kubeconfig))
        return self._admin

    def request(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        *,
        query: Mapping[str, str] | None = None,
        accept: str = "application/json",
    ) -> tuple[int, Object]:
        """One request of the admin's as it stands: status and answer, whatever they are."""
        target = f"{path}?{urllib.parse.urlencode(query or {})}"
        code, text = self._ask(method, target, json.dumps(body) if body is not None else None, accept=accept)
        return code, json.loads(text)

    def _ask(
        self, method: str, target: str, body: str | None = None, *, accept: str = "application/json"
    ) -> tuple[int, bytes]:
        context = ssl.create_default_context(cafile=str(self.ca_file))
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=context)
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}", "Accept": accept, "Content-Type": "application/json"}
        with closing(connection):
            connection.request(method, target, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def kubeconfig(self, name: str, token: str, *, url: str | None = None) -> Path:
        """A kubeconfig with that token; `url`: of something between the client and the server."""
        cluster: Object = {"server": url or self.url}
        if url is None:
            cluster["certificate-authority-data"] = base64.b64encode(self.ca_file.read_bytes()).decode()
        place = self.folder / f"{name}.kubeconfig"
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "it", "cluster": cluster}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": name}}],
            "current-context": "it",
        }
        place.write_text(yaml.safe_dump(document))
        return place

    def token(self, namespace: str, account: str) -> str:
        """A token of a service account, as the server itself gives it to a pod."""
        asked = Kind("v1", "TokenRequest", f"namespaces/{namespace}/serviceaccounts/{account}/token")
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}}
        answer = self.admin.create(asked, "", body)
        return str(answer["status"]["token"])

    def start(self) -> None:
        """The API server, until it answers that it is ready."""
        pki = self.folder / "pki"
        arguments = [
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--tls-cert-file={self.ca_file}",
            f"--tls-private-key-file={pki / 'server.key'}",
            "--authorization-mode=RBAC",
            f"--token-auth-file={pki / 'tokens.csv'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki / 'server.key'}",
            f"--service-account-signing-key-file={pki / 'server.key'}",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
            "--endpoint-reconciler-type=none",
            "--profiling=false",
            *self.options,
        ]
        self._run("kube-apiserver", arguments)
        self._wait("kube-apiserver", self.is_ready)

    def start_etcd(self) -> None:
        peer = f"http://127.0.0.1:{free_port()}"
        client = f"http://127.0.0.1:{self.etcd_port}"
        arguments = [
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]
        self._run("etcd", arguments)

    def pid(self, name: str) -> int:
        """Of `etcd` or `kube-apiserver`."""
        return self._processes[name].pid

    def kill(self) -> None:
        """The API server, without a word."""
        process = self._processes.pop("kube-apiserver")
        process.kill()
        process.wait(STOP_TIMEOUT_S)

    def stop(self) -> None:
        if self._admin is not None:
            self._admin.close()
        for process in reversed(self._processes.values()):
            process.kill()  # nothing of it is to last
            process.wait(STOP_TIMEOUT_S)
        self._processes.clear()

    def is_ready(self) -> bool:
        """All of its parts are, the roles that it makes itself among them."""
        try:
            return self._ask("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def _run(self, name: str, arguments: Sequence[str]) -> None:
        environment = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "TMPDIR")}
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                with_parent([tool(name), *arguments]),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment,
            )

    def _wait(self, name: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not condition():
            if time.monotonic() > deadline or self._processes[name].poll() is not None:
                log = (self.folder / f"{name}.log").read_text(errors="replace")
                raise ToolUnavailable(f"{name} did not get ready: {log[-3000:]}")
            time.sleep(0.1)


@contextmanager
def run_api_server(folder: Path, options: Sequence[str] = ()) -> Iterator[ApiServer]:
    """An empty cluster until the block ends.

    Raises:
        ToolUnavailable: it did not start; the text ends with its log.
    """
    pki = folder / "pki"
    pki.mkdir(parents=True)
    (pki / "tokens.csv").write_text(f"{ADMIN_TOKEN},admin,admin,system:masters\n")
    (pki / "tokens.csv").chmod(0o600)
    _make_certificate(pki)
    server = ApiServer(folder, free_port(), free_port(), options)
    try:
        server.start_etcd()
        server.start()
        yield server
    finally:
        server.stop()


def _make_certificate(pki: Path) -> None:
    """For the server; its key signs the tokens of service accounts, too."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "7", "-subj", "/CN=apiserver"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(pki / "server.key"), "-out", str(pki / "server.crt")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def install_crds(server: ApiServer) -> None:
    """Ours, KubeRay's and LeaderWorkerSet's."""
    install_crd(server, crd())
    install_kuberay(server)
    install_lws(server)


def install_kuberay(server: ApiServer) -> None:
    file = module_folder(KUBERAY) / "config" / "crd" / "bases" / "ray.io_rayjobs.yaml"
    install_crd(server, yaml.load(file.read_text(), Loader=yaml.CSafeLoader))


def install_lws(server: ApiServer) -> None:
    bases = module_folder(LEADER_WORKER_SET) / "config" / "crd" / "bases"
    file = bases / "leaderworkerset.x-k8s.io_leaderworkersets.yaml"
    install_crd(server, yaml.load(file.read_text(), Loader=yaml.CSafeLoader))


def install_crd(server: ApiServer, definition: Object) -> None:
    """Until the server serves the kind, and so has found nothing wrong with its schema."""
    server.admin.create(CRD, "", definition)
    name = definition["metadata"]["name"]
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        found = (server.admin.get(CRD, "", name).get("status") or {}).get("conditions") or []
        states = {condition["type"]: condition for condition in found}
        for bad in ("NonStructuralSchema", "Terminating"):
            if states.get(bad, {}).get("status") == "True":
                raise AssertionError(f"{name}: {states[bad]['message']}")
        if states.get("Established", {}).get("status") == "True":
            return
        assert time.monotonic() < deadline, f"{name} is not served: {found}"
        time.sleep(0.1)


def make_namespace(api: Api, name: str) -> None:
    """A namespace under Pod Security `restricted`, with the service account that a controller would make."""
    about = {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
    api.create(NAMESPACE, "", {"apiVersion": "v1", "kind": "Namespace", "metadata": about})
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}}
    api.create(SERVICE_ACCOUNT, name, account)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
