"""The operator as a process of its own against the real API server, and a namespace for it to work in."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from moaa_operator.kube.api import Api
from moaa_operator.kube.errors import Busy, Conflict, NotFound
from moaa_operator.kube.kinds import MOAA, SERVICE, Kind
from tests.chart import only, render
from tests.integration.apiserver import SERVICE_ACCOUNT, ApiServer, make_namespace
from tests.integration.fault_proxy import FaultProxy
from tests.integration.kubelet import Kubelet
from tests.with_parent import with_parent

Object = dict[str, Any]
ROOT = Path(__file__).parents[2]
PATIENCE_S = 150.0
STOP_TIMEOUT_S = 45.0
RBAC = "rbac.authorization.k8s.io/v1"
INSTALLED = {
    kind.kind: kind
    for kind in (
        SERVICE,
        SERVICE_ACCOUNT,
        Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
        Kind(RBAC, "Role", "roles"),
        Kind(RBAC, "RoleBinding", "rolebindings"),
        Kind(RBAC, "ClusterRole", "clusterroles"),
        Kind(RBAC, "ClusterRoleBinding", "clusterrolebindings"),
    )
}
"""What the chart makes beside the CRD, which is there, and the Deployment, whose place `Operator` takes."""
QUICK: dict[str, object] = {
    "health_host": "127.0.0.1",
    "health_port": 0,
    "metrics_port": 0,
    "backoff_s": 0.1,
    "backoff_max_s": 1.0,
    "retry_s": 0.2,
    # A machine that is busy with other tests must not cost the lease where that is not what is tried.
    "lease_duration_s": 120,
    "lease_renew_s": 100,
    "lease_retry_s": 0.5,
    "watch_timeout_s": 20,
    "request_timeout_s": 30,
}
"""Shorter than in a cluster; regular looks stay as rare as they are there, so that nothing rests on them."""


def tiny(name: str, **changes: object) -> Object:
    """The tiny example in S3; `changes` are fields of its spec."""
    text = (ROOT / "examples" / "tiny" / "moaa.yaml").read_text()
    document: Object = yaml.safe_load(re.sub(r"file://\.\.?/", "s3://tiny/", text))
    document["metadata"]["name"] = name
    document["spec"] |= {"serviceAccountName": "moaa-run", **changes}
    return document


def short(name: str, **changes: object) -> Object:
    """One iteration of answering and SFT, and nothing else."""
    spec = tiny(name, iterations=1)["spec"]
    for left_out in ("judge", "evaluation", "anchors"):
        del spec[left_out]
    del spec["data"]["preference"], spec["training"]["dpo"]
    spec["mixture"]["addStudent"] = False
    return {**tiny(name), "spec": {**spec, **changes}}


def install(server: ApiServer, namespace: str, *, release: str, cluster_wide: bool) -> tuple[str, dict[str, str]]:
    """The chart, as Helm would install it; the token of the operator's account and the environment of its pod."""
    values = {"clusterWide": cluster_wide, "runNamespaces": [{"name": namespace}]}
    objects = render(values, release=release, namespace=namespace)
    for item in objects:
        kind = INSTALLED.get(item["kind"])
        if kind is not None:
            server.admin.create(kind, item["metadata"].get("namespace", ""), item)
    pod = only(objects, "Deployment")["spec"]["template"]["spec"]
    given = {entry["name"]: entry.get("value") for entry in pod["containers"][0]["env"]}
    assert [name for name, value in given.items() if value is None] == ["MOAA_OPERATOR_NAMESPACE"]
    environment = {**given, "MOAA_OPERATOR_NAMESPACE": namespace}
    return server.token(namespace, pod["serviceAccountName"]), environment


class Operator:
    """`python -m moaa_operator`, with the rights of its service account and no others."""

    def __init__(self, kubeconfig: Path, log: Path, chart: dict[str, str], settings: dict[str, object]) -> None:
        self.log = log
        changed = {f"MOAA_OPERATOR_{name.upper()}": str(value) for name, value in settings.items()}
        path = os.pathsep.join(str(ROOT / part) for part in ("", "jobs", "operator"))
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("MOAA_", "KUBE"))},
            **chart,
            **changed,
            "PYTHONPATH": path,
            "KUBECONFIG": str(kubeconfig),
        }
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                with_parent([sys.executable, "-m", "moaa_operator"]),
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(STOP_TIMEOUT_S)

    def stop(self) -> int:
        """In order; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT_S)


class World:
    """A namespace, its kubelet, and operators that reach the server through a proxy."""

    def __init__(
        self, server: ApiServer, proxy: FaultProxy, namespace: str, folder: Path, *, gpus: int = 10**6
    ) -> None:
        self.server, self.proxy, self.namespace = server, proxy, namespace
        self.kubelet = Kubelet(server.admin, namespace, gpus=gpus)
        self.operators: list[Operator] = []
        self._folder = folder
        make_namespace(self.api, namespace)
        self._release = f"r-{hashlib.sha256(namespace.encode()).hexdigest()[:10]}"
        self._kubeconfig: Path | None = None
        self._environment: dict[str, str] = {}

    @property
    def api(self) -> Api:
        return self.server.admin

    def operator(self, *, cluster_wide: bool = False, **settings: object) -> Operator:
        """Another replica."""
        kubeconfig = self._kubeconfig or self._install(cluster_wide)
        log = self._folder / f"operator-{len(self.operators)}.log"
        self.operators.append(Operator(kubeconfig, log, self._environment, {**QUICK, **settings}))
        return self.operators[-1]

    def _install(self, cluster_wide: bool) -> Path:
        """The operator's kubeconfig."""
        token, self._environment = install(
            self.server, self.namespace, release=self._release, cluster_wide=cluster_wide
        )
        self._kubeconfig = self.server.kubeconfig(self.namespace, token, url=self.proxy.url)
        return self._kubeconfig

    def close(self) -> None:
        """No operator, no run and no child is left."""
        for operator in self.operators:
            if not operator.has_ended:
                operator.kill()
        self.kubelet.clean()

    # Runs

    def apply(self, document: Object) -> Object:
        return self.api.create(MOAA, self.namespace, document)

    def edit(self, name: str, change: Callable[[Object], object]) -> None:
        """As `kubectl edit`: again when somebody else wrote first."""
        while True:
            document = self.api.get(MOAA, self.namespace, name)
            change(document["spec"])
            try:
                self.api.replace(MOAA, self.namespace, document)
            except Conflict:
                continue
            return

    def delete(self, name: str) -> None:
        self.api.delete(MOAA, self.namespace, name)

    def status(self, name: str) -> Object:
        try:
            return dict(self.api.get(MOAA, self.namespace, name).get("status") or {})
        except NotFound:
            return {}

    def phase(self, name: str) -> str:
        return str(self.status(name).get("phase"))

    def done(self, name: str) -> list[str]:
        return [entry["stage"] for entry in self.status(name).get("stages", ())]

    def condition(self, name: str, kind: str) -> Object:
        found = self.status(name).get("conditions", ())
        return next((dict(condition) for condition in found if condition["type"] == kind), {})

    def until(self, condition: Callable[[], object], *, timeout_s: float = PATIENCE_S) -> None:
        """The cluster goes on meanwhile."""
        deadline = time.monotonic() + timeout_s
        while True:
            with suppress(Busy):  # the server is being started again
                if condition():
                    return
                self.kubelet.step()
            assert time.monotonic() < deadline, self.story()
            time.sleep(0.1)

    def story(self) -> str:
        """What a test that waited in vain shows."""
        runs = [f"{i['metadata']['name']}: {yaml.safe_dump(i.get('status'))}" for i in self.kubelet.all(MOAA)]
        logs = [operator.log.read_text(errors="replace")[-3000:] for operator in self.operators]
        return "\n".join(["it did not come", *runs, *logs])
