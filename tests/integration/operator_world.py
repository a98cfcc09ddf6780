"""The operator as a process of its own against the real API server, and a namespace for it to work in."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from moaa_operator.api import MOAA, Api
from moaa_operator.errors import Conflict, NotFound
from tests.integration.apiserver import (
    LEASE_RULES,
    NAMESPACED_RULES,
    ApiServer,
    grant,
    make_account,
    make_namespace,
)
from tests.integration.fault_proxy import FaultProxy
from tests.integration.kubelet import Kubelet

Object = dict[str, Any]
ROOT = Path(__file__).parents[2]
ACCOUNT = "operator"
PATIENCE_S = 90.0
STOP_TIMEOUT_S = 45.0
QUICK: dict[str, object] = {
    "health_host": "127.0.0.1",
    "health_port": 0,
    "metrics_port": 0,
    "backoff_s": 0.1,
    "backoff_max_s": 1.0,
    "retry_s": 0.2,
    "lease_duration_s": 3.0,
    "lease_renew_s": 2.0,
    "lease_retry_s": 0.3,
    "watch_timeout_s": 20,
    "request_timeout_s": 10,
}
"""Shorter than in a cluster; regular looks stay as rare as they are there, so that nothing rests on them."""


def tiny(name: str, **changes: object) -> Object:
    """The tiny example in S3; `changes` are fields of its spec."""
    text = (ROOT / "examples" / "tiny" / "moaa.yaml").read_text()
    document: Object = yaml.safe_load(re.sub(r"file://\.\.?/", "s3://tiny/", text))
    document["metadata"]["name"] = name
    document["spec"] |= {"serviceAccountName": "moaa-run", **changes}
    return document


class Operator:
    """`python -m moaa_operator`, with the rights of its service account and no others."""

    def __init__(self, kubeconfig: Path, log: Path, settings: dict[str, object]) -> None:
        self.log = log
        told = {f"MOAA_OPERATOR_{name.upper()}": str(value) for name, value in {**QUICK, **settings}.items()}
        path = os.pathsep.join(str(ROOT / part) for part in ("", "jobs", "operator"))
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("MOAA_", "KUBE"))},
            **told,
            "PYTHONPATH": path,
            "KUBECONFIG": str(kubeconfig),
        }
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "moaa_operator"], env=environment, stdout=file, stderr=subprocess.STDOUT
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
        make_account(self.api, namespace, ACCOUNT)
        grant(self.api, (namespace, ACCOUNT), LEASE_RULES, namespace=namespace)

    @property
    def api(self) -> Api:
        return self.server.admin

    def operator(self, *, cluster_wide: bool = False, **settings: object) -> Operator:
        """Another replica."""
        if not self.operators:
            scope = None if cluster_wide else self.namespace
            grant(self.api, (self.namespace, ACCOUNT), NAMESPACED_RULES, namespace=scope)
        where = {"namespace": self.namespace, "watch_namespaces": "" if cluster_wide else self.namespace}
        kubeconfig = self.server.kubeconfig(
            self.namespace, self.server.token(self.namespace, ACCOUNT), url=self.proxy.url
        )
        log = self._folder / f"operator-{len(self.operators)}.log"
        self.operators.append(Operator(kubeconfig, log, {**where, **settings}))
        return self.operators[-1]

    def close(self) -> None:
        """No operator, no run and no child is left."""
        for operator in self.operators:
            if not operator.has_ended:
                operator.kill()
        self.kubelet.clean()

    # Runs

    def apply(self, name: str, **changes: object) -> Object:
        return self.api.create(MOAA, self.namespace, tiny(name, **changes))

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
        while not condition():
            assert time.monotonic() < deadline, self.story()
            self.kubelet.step()
            time.sleep(0.02)

    def story(self) -> str:
        """What a test that waited in vain shows."""
        runs = [f"{i['metadata']['name']}: {yaml.safe_dump(i.get('status'))}" for i in self.kubelet.all(MOAA)]
        logs = [operator.log.read_text(errors="replace")[-3000:] for operator in self.operators]
        return "\n".join(["it did not come", *runs, *logs])
