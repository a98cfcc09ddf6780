"""What the operator's own pages say before and after it knows the cluster."""

import time
import urllib.error
import urllib.request
from collections.abc import Callable

from moaa_operator.main import Operator
from moaa_operator.settings import Settings
from moaa_operator.tell import health
from tests.operator_api_server import ApiServer
from tests.operator_helpers import OWNER, Cluster, FakeRender


def until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)


def test_health_says_what_is_wrong_and_metrics_name_no_object() -> None:
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
    assert OWNER.name not in get("/metrics")[1]
    assert get("/nowhere")[0] == 404
    assert operator.stop()
    pages.stop()
