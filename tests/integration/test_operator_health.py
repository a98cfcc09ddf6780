"""What the operator's own pages say before and after it knows the cluster."""

import http.client
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable

from moaa_operator.main import Operator
from moaa_operator.settings import Settings
from moaa_operator.tell import health
from tests.operator_api_server import ApiServer, Fault
from tests.operator_helpers import OWNER, Cluster, FakeRender


def until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)


def test_health_says_what_is_wrong_and_metrics_name_nothing_but_runs() -> None:
    with ApiServer() as server:
        look_at_pages(server)


def look_at_pages(server: ApiServer) -> None:
    cluster = Cluster()
    server.put({**cluster.document, "kind": "MoAA"})
    operator = Operator(server.api(), Settings(resync_active_s=1.0), FakeRender)
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
    naming = {line.partition("{")[0] for line in get("/metrics")[1].splitlines() if f'"{OWNER.name}"' in line}
    assert naming == {"moaa_run_stalled", "moaa_run_open", "moaa_run_failures"}, "only figures of a run are by run"
    assert get("/nowhere")[0] == 404
    assert operator.stop()
    pages.stop()


def test_connections_that_say_nothing_leave_room_for_others() -> None:
    before = set(threading.enumerate())
    pages = health.Pages("127.0.0.1", 0, {"/healthz": health.page_of(lambda: None)})
    pages.start()
    silent = [socket.create_connection(("127.0.0.1", pages.port)) for _ in range(health.MAX_OF_ADDRESS)]
    try:
        until(lambda: refused(pages.port))
        silent.pop().close()
        until(lambda: not refused(pages.port))
        assert len(set(threading.enumerate()) - before) <= health.MAX_OF_ADDRESS + 2
    finally:
        for connection in silent:
            connection.close()
        pages.stop()


def refused(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return int(answer.status) != 200
    except (OSError, http.client.HTTPException):
        return True


def test_a_namespace_without_a_role_blocks_only_itself() -> None:
    cluster = Cluster()
    with ApiServer() as server:
        for namespace in ("closed", OWNER.namespace):
            about = {**cluster.document["metadata"], "namespace": namespace}
            server.put({**cluster.document, "kind": "MoAA", "metadata": about})
        server.faults = [
            Fault(lambda asked: asked.path.endswith("/namespaces/closed/jobs"), 403, reason="Forbidden")
            for _ in range(1000)
        ]  # fmt: skip
        settings = Settings(watch_namespaces=("closed", OWNER.namespace), resync_active_s=1.0, backoff_s=0.05)
        operator = Operator(server.api(), settings, FakeRender)
        operator.start()
        until(lambda: server.find("jobs", OWNER.namespace) != [])
        until(lambda: operator.readiness() is None)
        assert server.find("configmaps", "closed") == []
        server.faults = []
        until(lambda: server.find("jobs", "closed") != [])
        assert operator.stop()


def test_events_of_a_written_status_are_sent_though_a_deletion_fails() -> None:
    cluster = Cluster()
    with ApiServer() as server:
        server.put({**cluster.document, "kind": "MoAA"})
        operator = Operator(server.api(), Settings(resync_active_s=1.0, backoff_s=0.05), FakeRender)
        operator.start()
        until(lambda: server.find("jobs", OWNER.namespace) != [])
        server.faults = [Fault(lambda asked: asked.method == "DELETE", 500) for _ in range(1000)]
        (job,) = server.find("jobs", OWNER.namespace)
        server.put({**job, "status": {"conditions": [{"type": "Complete", "status": "True"}], "succeeded": 0}})
        until(lambda: "StorageReady" in {event["reason"] for event in server.find("events", OWNER.namespace)})
        assert job["metadata"]["name"] in {item["metadata"]["name"] for item in server.find("jobs", OWNER.namespace)}
        assert operator.stop()
