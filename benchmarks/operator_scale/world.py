"""The operator under measurement, and what is read of it between two moments."""

import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.operator_scale.audit import Log, Request, Waits, waits
from benchmarks.operator_scale.cluster import PlayedCluster
from tests.integration.apiserver import ApiServer, free_port
from tests.integration.operator_world import Operator, install, short

Object = dict[str, Any]
NAMESPACE = "scale"
PATIENCE_S = 420.0
SAMPLE = re.compile(r"^([a-z_]+(?:\{[^}]*\})?) (\S+)$", re.MULTILINE)
LOOKS = "moaa_operator_reconcile_seconds_count"


def resource(name: str) -> Object:
    """One iteration of answering and SFT with one served model, over a store of its own."""
    made = short(name)
    spec = made["spec"]
    spec["storage"]["uri"] = f"s3://scale/{name}"
    teacher, student = spec["models"][0], spec["models"][-1]
    spec["models"] = [teacher, student]
    asked = {"model": teacher["name"], "temperature": "0.7", "maxTokens": 12}
    spec["mixture"] = {"layers": [{"proposers": [asked, asked]}], "aggregator": asked}
    return made


@dataclass(frozen=True)
class Phase:
    """What was measured between two moments."""

    name: str
    wall_s: float
    requests: Sequence[Request]
    """The operator's."""
    waits: Waits
    metrics: Mapping[str, float]
    """By how much the operator's grew."""
    cpu: Mapping[str, float]
    """Cores used, by process."""
    memory_mib: tuple[float, float]
    """Of the operator at the end: resident, and the most that ever was."""
    load: float


@dataclass(frozen=True)
class Start:
    """Of an operator that finds its runs there."""

    objects: int
    """In its copies."""
    ready_s: float
    looked_s: float
    """Until every run had been looked at and none waited."""
    cpu_s: float
    requests: Sequence[Request]


@dataclass
class Bench:
    server: ApiServer
    folder: Path
    cluster: PlayedCluster
    log: Log
    phases: list[Phase] = field(default_factory=list)
    operator: Operator | None = None
    _token: str = ""
    _chart: dict[str, str] = field(default_factory=dict)
    _metrics: str = ""

    def install(self) -> None:
        self._token, self._chart = install(self.server, NAMESPACE, release="scale", cluster_wide=True)

    def start_operator(self, *, runs: int) -> Start:
        """Until it leads, has complete copies and has looked at every one of so many runs."""
        self.log.news()
        health, metrics = free_port(), free_port()
        ports: dict[str, object] = {"health_host": "127.0.0.1", "health_port": health, "metrics_port": metrics}
        began = time.monotonic()
        kubeconfig = self.server.kubeconfig("operator", self._token)
        self.operator = Operator(kubeconfig, self.folder / "operator.log", self._chart, ports)
        self._metrics = f"http://127.0.0.1:{metrics}/metrics"
        self.until(lambda: self.metrics().get("moaa_operator_is_leader") == 1)
        self.until(lambda: bool(read(f"http://127.0.0.1:{health}/readyz")))
        ready_s = time.monotonic() - began
        self.until(lambda: looks(self.metrics()) >= runs and self.is_idle())
        looked_s = time.monotonic() - began
        asked = [request for request in self.log.news() if request.is_operators]
        objects = sum(n for name, n in self.metrics().items() if name.startswith("moaa_operator_watch_objects"))
        return Start(int(objects), ready_s, looked_s, cpu_s(self.operator.process.pid), asked)

    def stop_operator(self) -> None:
        assert self.operator is not None
        assert self.operator.stop() == 0, "the operator did not end in order"

    def metrics(self) -> dict[str, float]:
        return {name: float(value) for name, value in SAMPLE.findall(read(self._metrics))}

    def is_idle(self) -> bool:
        return self.metrics().get("moaa_operator_queue_length") == 0

    def until_succeeded(self, runs: int) -> None:
        """So many of them."""
        name = 'moaa_operator_runs{phase="Succeeded"}'
        self.until(lambda: self.metrics().get(name) == runs)

    def until(self, condition: Callable[[], bool], *, timeout_s: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self.operator is not None
            story = f"{self.cluster.errors[:5]} {self.operator.log.read_text()[-3000:]}"
            assert not self.operator.has_ended, story
            assert not self.cluster.errors, story
            assert time.monotonic() < deadline, story
            time.sleep(0.1)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measures what happens within."""
        assert self.operator is not None
        pid = self.operator.process.pid
        pids = {
            "operator": pid,
            "kube-apiserver": self.server.pid("kube-apiserver"),
            "etcd": self.server.pid("etcd"),
            "player": os.getpid(),
        }
        self.log.news()
        ends, before, began = len(self.cluster.ends), self.metrics(), time.monotonic()
        spent = {who: cpu_s(pid) for who, pid in pids.items()}
        yield
        wall_s, after = time.monotonic() - began, self.metrics()
        cpu = {who: (cpu_s(pid) - spent[who]) / wall_s for who, pid in pids.items()}
        requests = self.log.news()
        found = waits(requests, self.cluster.ends[ends:], self.cluster.run_of)
        stuck = set(found.unanswered) - self.cluster.last
        assert not stuck, f"nothing was made after {sorted(stuck)[:5]}"
        grown = {key: value - before.get(key, 0.0) for key, value in after.items()}
        asked = [request for request in requests if request.is_operators]
        self.phases.append(Phase(name, wall_s, asked, found, grown, cpu, memory_mib(pid), os.getloadavg()[0]))


def looks(metrics: Mapping[str, float]) -> float:
    """Reconciles, whatever came of them."""
    return sum(value for name, value in metrics.items() if name.startswith(LOOKS))


def read(url: str) -> str:
    """The page; empty while it does not answer, or not with 200."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            text: str = answer.read().decode()
            return text
    except (urllib.error.URLError, ConnectionError):
        return ""


def cpu_s(pid: int) -> float:
    """Spent so far."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int) -> tuple[float, float]:
    """Resident now, and the most that ever was."""
    text = Path(f"/proc/{pid}/status").read_text()
    now, most = (int(re.search(rf"{key}:\s+(\d+) kB", text)[1]) for key in ("VmRSS", "VmHWM"))  # type: ignore[index]
    return now / 1024, most / 1024
