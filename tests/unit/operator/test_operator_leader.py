"""Who leads, by a made-up clock; whole replicas against a real API server are in the integration tests."""

from collections.abc import Callable, Iterator

import pytest
from pydantic import ValidationError

from moaa_operator.kube.leader import Elector, LeaseTiming
from moaa_operator.settings import Settings
from tests.operator_api_server import ApiServer, Fault, Request


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


@pytest.mark.parametrize("taken", [False, True], ids=["nobody else came", "another took over"])
def test_a_leader_that_had_no_turn_for_long_asks_before_it_gives_up(server: ApiServer, taken: bool) -> None:
    now = [0.0]
    one = elector(server, "one", lambda: now[0])
    assert one.step()

    def is_written(request: Request) -> bool:
        """The answer to a renewal comes after everything has expired."""
        if request.method == "PUT" and now[0] == 2:
            now[0] = 40
        elif request.method == "GET" and now[0] == 40 and taken:
            (lease,) = server.find("leases", "ns")
            server.put({**lease, "spec": {**lease["spec"], "holderIdentity": "two"}})
        return False

    server.faults = [Fault(is_written)]
    now[0] = 2
    assert one.step() is not taken


def test_a_try_to_renew_ends_before_the_lease_does() -> None:
    timing = LeaseTiming(30, 20, 4)
    waits = 4  # for the connection and for the answer, of reading and of writing
    assert timing.renew_s + waits * timing.request_timeout_s <= timing.duration_s


@pytest.mark.parametrize("times", [{"lease_renew_s": 30}, {"lease_retry_s": 20}])
def test_a_lease_without_time_to_renew_it_is_refused(times: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="two replicas would lead at once"):
        Settings.model_validate(times)
