"""Who leads, by a made-up clock; whole replicas against a real API server are in the integration tests."""

from collections.abc import Callable, Iterator

import pytest

from moaa_operator.leader import Elector, LeaseTiming
from tests.operator_api_server import ApiServer, Fault


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


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
