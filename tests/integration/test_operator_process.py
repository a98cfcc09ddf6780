"""The whole operator over real HTTP against a small API server: the test plays the kubelet and the jobs."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest

from moaa_operator.leader import Elector, LeaseTiming
from moaa_operator.main import EXIT_LEASE_LOST, run
from moaa_operator.settings import Settings
from tests.operator_api_server import ApiServer, Fault, Request
from tests.operator_helpers import OWNER, Cluster, FakeRender

Object = dict[str, Any]
SHORT: dict[str, Any] = {
    "spec__training__dpo": None, "spec__data__preference": [], "spec__judge": None, "spec__evaluation": None,
}  # fmt: skip
STAGES = ["i0-resolve", "i0-stage-data", "i1-generate", "i1-sft", "i1-promote"]
KINDS = ("deployments", "services", "jobs", "rayjobs", "configmaps", "pods")


def until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server
        for operator in Running.all:
            operator.stop()
        Running.all.clear()


class World:
    """A MoAA on the server, and what its pods do."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server
        self.cluster = Cluster(**SHORT)
        self.cluster.document["kind"] = "MoAA"
        self.server.put(self.cluster.document)

    @property
    def document(self) -> Object:
        return self.server.find("moaas", OWNER.namespace)[0]

    @property
    def done(self) -> list[str]:
        return [entry["stage"] for entry in (self.document.get("status") or {}).get("stages", ())]

    @property
    def phase(self) -> str | None:
        phase = (self.document.get("status") or {}).get("phase")
        return str(phase) if phase else None

    def play(self) -> None:
        """Every server answers, every Job does its work."""
        found = [item for plural in KINDS for item in self.server.find(plural, OWNER.namespace)]
        before = {(item["kind"], item["metadata"]["name"]): json.dumps(item) for item in found}
        self.cluster.objects = {place: json.loads(text) for place, text in before.items()}
        self.cluster.servers_answer()
        self.cluster.work_all()
        for place, item in self.cluster.objects.items():
            if before.get(place) != json.dumps(item):
                item["metadata"].pop("resourceVersion", None)
                self.server.put(item)


class Running:
    """An operator in a thread."""

    all: "ClassVar[list[Running]]" = []

    def __init__(self, server: ApiServer, **changes: Any) -> None:
        quick: dict[str, Any] = {
            "health_host": "127.0.0.1", "health_port": 0, "metrics_port": 0, "backoff_s": 0.05, "backoff_max_s": 0.2,
            "lease_retry_s": 0.05, "lease_duration_s": 1.0, "lease_renew_s": 0.6, "resync_active_s": 1.0,
            "retry_s": 0.1,
        }  # fmt: skip
        self.settings = Settings(**{**quick, **changes})
        self.stopped = threading.Event()
        self.code: int | None = None
        self._api = server.api()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        Running.all.append(self)

    def _run(self) -> None:
        self.code = run(self.settings, self._api, FakeRender(), self.stopped)

    def stop(self) -> int | None:
        self.stopped.set()
        self._thread.join(40)
        return self.code

    @property
    def has_ended(self) -> bool:
        return not self._thread.is_alive()


def test_a_run_from_apply_to_its_end(server: ApiServer) -> None:
    world = World(server)
    operator = Running(server)
    until(lambda: world.play() is None and world.phase == "Succeeded")
    assert world.done == STAGES
    until(lambda: server.find("deployments", OWNER.namespace) == [])
    expected = {"StorageReady", "ServersStarting", "StageStarted", "StageDone", "Succeeded"}
    until(lambda: expected <= {event["reason"] for event in server.find("events", OWNER.namespace)})
    names = [event["metadata"]["name"] for event in server.find("events", OWNER.namespace)]
    assert len(set(names)) == len(names)
    assert operator.stop() == 0
    lease = server.find("leases", "default")[0]
    assert lease["spec"]["holderIdentity"] == ""


def test_faults_of_the_server_cost_only_time(server: ApiServer) -> None:
    world = World(server)
    operator = Running(server)
    codes = [500, 429, 0, 503] * 10

    def play() -> None:
        world.play()
        with server.changed:
            if codes and not server.faults:
                code = codes.pop()
                server.faults = [Fault(lambda r: "leases" not in r.path, code)]
                if code == 0:
                    server.expire()

    until(lambda: play() is None and world.phase == "Succeeded", timeout_s=60)
    assert world.done == STAGES
    assert operator.stop() == 0


def test_another_operator_goes_on_where_one_was_lost(server: ApiServer) -> None:
    world = World(server)
    first = Running(server)
    until(lambda: world.play() is None and "i0-stage-data" in world.done)
    # Its lease is taken from it: what it had under way is the next one's.
    lease = json.loads(json.dumps(server.find("leases", "default")[0]))
    lease["spec"] |= {"holderIdentity": "somebody", "renewTime": "2026-01-01T00:00:00.000000Z"}
    server.put(lease)
    until(lambda: first.has_ended)
    assert first.stop() == EXIT_LEASE_LOST
    second = Running(server)
    until(lambda: world.play() is None and world.phase == "Succeeded")
    made = [r for r in server.requests if r.method == "POST" and r.path.endswith("/jobs")]
    assert made
    assert second.stop() == 0


def test_what_the_server_refuses_is_in_the_status_until_it_does_not_any_more(server: ApiServer) -> None:
    world = World(server)
    words = 'jobs.batch "x" is forbidden: exceeded quota: jobs'
    is_full = threading.Event()
    is_full.set()

    def is_refused(request: Request) -> bool:
        return is_full.is_set() and request.method == "POST" and request.path.endswith("/jobs")

    with server.changed:
        server.faults = [Fault(is_refused, 403, reason="Forbidden", message=words)] * 1000
    operator = Running(server)

    def stalled() -> Object:
        found = (world.document.get("status") or {}).get("conditions", ())
        return next((c for c in found if c["type"] == "Stalled"), {})

    until(lambda: stalled().get("reason") == "QuotaExceeded")
    assert "kubectl describe resourcequota" in stalled()["message"]
    tries = [r for r in server.requests if is_refused(r)]
    until(lambda: len([r for r in server.requests if is_refused(r)]) >= len(tries) + 3)
    assert stalled()["status"] == "True"
    writes = [r for r in server.requests if r.method == "PUT" and r.path.endswith("/status")]
    assert len(writes) == 1
    told = [e for e in server.find("events", OWNER.namespace) if e["reason"] == "QuotaExceeded"]
    assert len(told) == 1
    is_full.clear()
    until(lambda: world.play() is None and world.phase == "Succeeded")
    assert operator.stop() == 0


def elector(server: ApiServer, name: str, clock: Callable[[], float]) -> Elector:
    return Elector(
        server.api(), namespace="ns", name="lease", identity=name, timing=LeaseTiming(15, 10, 2), clock=clock
    )


def test_one_leads_and_another_takes_over_when_it_stops_renewing(server: ApiServer) -> None:
    now = [0.0]
    one, two = (elector(server, name, lambda: now[0]) for name in ("one", "two"))
    assert one.step()
    assert not two.step()
    now[0] = 9
    assert one.step()
    assert not two.step()
    now[0] = 20  # one said nothing since 9
    assert not one.is_leader
    assert not two.step()
    now[0] = 25
    assert two.step()
    assert not one.step()
    two.release()
    assert one.step()


def test_a_leader_that_cannot_renew_stops_before_another_may_start(server: ApiServer) -> None:
    now = [0.0]
    one = elector(server, "one", lambda: now[0])
    assert one.step()
    server.faults = [Fault(lambda r: "leases" in r.path, 500) for _ in range(9)]
    now[0] = 9.5
    assert one.step()
    now[0] = 10.5
    assert not one.step()


def test_health_says_what_is_wrong_and_metrics_name_no_object(server: ApiServer) -> None:
    from moaa_operator import health
    from moaa_operator.main import Operator

    World(server)
    operator = Operator(server.api(), Settings(resync_active_s=1.0), FakeRender())
    pages = health.Pages(
        "127.0.0.1",
        0,
        {
            "/healthz": health.page_of(operator.health),
            "/readyz": health.page_of(operator.readiness),
            "/metrics": health.metrics_page(operator.metrics.registry),
        },
    )
    pages.start()

    def get(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{pages.port}{path}", timeout=5) as answer:
                return int(answer.status), answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    assert get("/healthz")[0] == 200
    code, text = get("/readyz")
    assert code == 503
    assert "moaas" in text
    operator.start()
    until(lambda: get("/readyz")[0] == 200)
    until(lambda: 'moaa_operator_runs{phase="Pending"} 1.0' in get("/metrics")[1])
    assert OWNER.name not in get("/metrics")[1]
    assert get("/nowhere")[0] == 404
    assert operator.stop()
    pages.stop()
