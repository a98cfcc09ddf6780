"""Servers and leases with real processes that answer like a model server, or do not."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moaa.api.models import Serving
from moaa.cause import CauseKind
from moaa.errors import ServerError
from moaa.local.processes import guard
from moaa.local.processes.process import Guards
from moaa.local.serving import server
from moaa.local.serving.machine import Capacity, Demand
from moaa.local.serving.pool import Pool
from moaa.local.serving.server import ServerSpec
from tests.local_helpers import FakeMachine
from tests.unit.test_cause import DEATHS, FOUND


def spec(name: str, *, gib: float = 2.0, gpus: int = 0, startup_s: float = 20.0) -> ServerSpec:
    return ServerSpec(name, name, Path("/none"), Serving(gpus=0), Demand(gib, gpus), startup_s)


class Bench:
    """A pool over fake servers; everything is gone when it is left."""

    def __init__(self, fake: FakeMachine, capacity: Capacity) -> None:
        self.fake = fake
        self.guards = Guards()
        self.tasks = asyncio.TaskGroup()
        logs = fake.folder / "logs"
        logs.mkdir(exist_ok=True)
        self.pool = Pool(capacity, tasks=self.tasks, guards=self.guards, launch=fake.launch, log_folder=logs)

    async def __aenter__(self) -> Pool:
        await self.tasks.__aenter__()
        return self.pool

    async def __aexit__(self, *error: Any) -> None:
        await self.pool.close()
        await self.tasks.__aexit__(None, None, None)
        await self.guards.close()
        assert not set(self.fake.pids()) & set(guard.process_table())


@pytest.fixture
def fake(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path)


async def test_server_stays_up_between_leases_until_its_room_is_needed(fake: FakeMachine) -> None:
    async with Bench(fake, Capacity(5.0)) as pool:
        for _ in range(2):
            async with pool.lease([spec("a"), spec("b")]) as lease:
                assert {s.spec.name for s in lease.servers.values()} == {"a", "b"}
        assert sorted(fake.servers()) == ["a", "b"]
        pool.upcoming = ["b"]
        async with pool.lease([spec("c")]):
            assert set(pool.up) == {"b", "c"}


async def test_lease_waits_until_a_pinned_server_is_let_go(fake: FakeMachine) -> None:
    async with Bench(fake, Capacity(3.0)) as pool:
        order: list[str] = []

        async def second() -> None:
            async with pool.lease([spec("b")]):
                order.append("b")

        async with pool.lease([spec("a")]):
            waiter = asyncio.create_task(second())
            await asyncio.sleep(0.05)
            order.append("a")
        await waiter
        assert order == ["a", "b"]


async def test_a_server_given_up_makes_room_while_the_lease_lasts(fake: FakeMachine) -> None:
    async with Bench(fake, Capacity(5.0)) as pool:
        async with pool.lease([spec("a"), spec("b")]) as lease:
            broken = asyncio.create_task(lease.broken())
            pool.give_up(lease, ["a"])
            pool.give_up(lease, ["a"])
            async with pool.lease([spec("c")]):
                assert set(pool.up) == {"b", "c"}
            assert not broken.done()
            broken.cancel()
        async with pool.lease([], job=Demand(5.0)):
            assert pool.up == {}


async def test_a_server_that_another_lease_holds_or_a_stage_waits_for_stays(fake: FakeMachine) -> None:
    async with Bench(fake, Capacity(50.0)) as pool, pool.lease([spec("a"), spec("b"), spec("c")]) as lease:
        pool.waited_for = {"b"}
        async with pool.lease([spec("a")]):
            pool.give_up(lease, ["a", "b", "c"])
            assert set(pool.up) == {"a", "b"}


async def test_training_takes_the_room_of_idle_servers_and_their_gpus(fake: FakeMachine) -> None:
    async with Bench(fake, Capacity(50.0, gpus=("0", "1"))) as pool:
        async with pool.lease([spec("a", gpus=1), spec("b", gpus=1)]) as lease:
            assert sorted(s.gpus for s in lease.servers.values()) == [("0",), ("1",)]
            assert lease.gpus == ()
        async with pool.lease([], job=Demand(1.0, gpus=2)) as lease:
            assert lease.gpus == ("0", "1")
            assert pool.up == {}


async def test_job_larger_than_the_machine_is_refused_at_once(fake: FakeMachine) -> None:
    async with Bench(fake, Capacity(3.0)) as pool:
        with pytest.raises(ServerError, match=r"needs 9.0 GiB of memory and 0 GPUs .* there are 3.0 GiB"):
            async with pool.lease([], job=Demand(9.0)):
                pass


async def test_warm_servers_start_only_into_free_room(fake: FakeMachine) -> None:
    async with Bench(fake, Capacity(5.0)) as pool:
        pool.warm([spec("a"), spec("b"), spec("c")])
        assert set(pool.up) == {"a", "b"}
        pool.upcoming = ["a"]
        await pool.retire()
        assert set(pool.up) == {"a"}
        async with pool.lease([spec("a")]) as lease:
            assert await lease.servers["a"].ready > 0


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("dies", r"server of a ended with exit code 3 before it was ready\n.*\n.*loading a\n.*no such architecture"),
        ("mute", r"is up but answered its first chat with 400: .*no chat template"),
        ("never", r"gave no completion in 1 s; raise serving.startupMinutes"),
    ],
)
async def test_server_that_does_not_come_up_says_why(fake: FakeMachine, mode: str, message: str) -> None:
    fake.modes["a"] = mode
    async with Bench(fake, Capacity(5.0)) as pool:
        with pytest.raises(ServerError, match=message):
            async with pool.lease([spec("a", startup_s=1.0 if mode == "never" else 20.0)]):
                pass
        fake.modes["a"] = "serves"
        async with pool.lease([spec("a")]) as lease:
            assert lease.servers["a"].is_usable


@pytest.mark.parametrize("name", FOUND)
async def test_server_that_ends_at_start_shows_the_cause(fake: FakeMachine, name: str) -> None:
    """Real processes that write what real ones wrote."""
    kind, words = FOUND[name]
    fake.modes["a"] = f"says {DEATHS / name}.log"
    async with Bench(fake, Capacity(5.0)) as pool:
        with pytest.raises(ServerError) as caught:
            async with pool.lease([spec("a")]):
                pass
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"server of a ended with exit code 1 before it was ready: {words}")
    assert second == f"  log: {fake.folder / 'logs' / 'a.log'}"
    assert caught.value.is_permanent is (kind is not CauseKind.RAISED)


async def test_the_cause_is_found_far_from_the_end_of_a_long_log(fake: FakeMachine) -> None:
    """And an earlier server's words in the same log are not this one's."""
    death = fake.folder / "long.log"
    lines = (DEATHS / "libnuma.log").read_text().splitlines(keepends=True)
    noise = [f"INFO line {k}\n" for k in range(40_000)]
    death.write_text("".join([*lines[:20], *noise, *lines[20:]]))
    fake.modes["a"] = f"says {death}"
    async with Bench(fake, Capacity(5.0)) as pool:
        with pytest.raises(ServerError, match=r"the library libnuma\.so\.1 is not installed"):
            await _lease(pool)
        fake.modes["a"] = "dies"
        with pytest.raises(ServerError, match="ended with exit code 3 before it was ready\n  last lines of"):
            await _lease(pool)


async def test_a_server_that_can_never_come_back_is_not_started_again(fake: FakeMachine) -> None:
    async with Bench(fake, Capacity(5.0)) as pool, pool.lease([spec("a")]) as lease:
        fake.modes["a"] = f"says {DEATHS / 'libnuma.log'}"
        guard.signal_all([fake.pids()[0]], 9)
        error = await asyncio.wait_for(lease.broken(), 10)
        assert error.is_permanent
        assert fake.servers() == ["a", "a"]


async def test_server_whose_log_cannot_be_written_says_so(fake: FakeMachine) -> None:
    async with Bench(fake, Capacity(5.0)) as pool:
        (fake.folder / "logs" / "a.log").mkdir()
        with pytest.raises(ServerError, match=r"server of a could not be started: .*a\.log: Is a directory"):
            async with pool.lease([spec("a")]):
                pass


async def test_server_that_keeps_dying_breaks_the_lease(fake: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_RESTARTS", 0)
    async with Bench(fake, Capacity(5.0)) as pool, pool.lease([spec("a")]) as lease:
        guard.signal_all([fake.pids()[0]], 9)
        error = await asyncio.wait_for(lease.broken(), 10)
        assert "was ended by signal 9; the machine may have run out of memory while serving" in str(error)


async def test_a_lease_waits_for_a_server_that_is_being_started_again(fake: FakeMachine) -> None:
    async with Bench(fake, Capacity(5.0)) as pool:
        async with pool.lease([spec("a")]) as lease:
            first = lease.servers["a"].ready
        fake.modes["a"] = "never"  # for as long as it takes to see that the lease waits
        guard.signal_all([fake.pids()[0]], 9)
        await asyncio.wait_for(_until(lambda: len(fake.pids()) == 2), 10)
        waiting = asyncio.create_task(_lease(pool))
        _, late = await asyncio.wait({waiting}, timeout=0.2)
        assert late
        fake.modes["a"] = "serves"
        guard.signal_all([fake.pids()[1]], 9)
        answering = await asyncio.wait_for(waiting, 10)
        assert answering is not first
        assert await answering > 0


async def test_a_lease_of_a_server_that_does_not_come_back_says_so(
    fake: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_RESTARTS", 1)
    async with Bench(fake, Capacity(5.0)) as pool:
        async with pool.lease([spec("a")]):
            fake.modes["a"] = "dies"
        guard.signal_all([fake.pids()[0]], 9)
        await asyncio.wait_for(_until(lambda: len(fake.pids()) == 2), 10)
        with pytest.raises(ServerError, match="ended with exit code 3 before it was ready"):
            await asyncio.wait_for(_lease(pool), 10)


async def _lease(pool: Pool) -> asyncio.Future[float]:
    """The server's `ready` once the lease is granted."""
    async with pool.lease([spec("a")]) as lease:
        return lease.servers["a"].ready


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - another process cannot set an Event
        await asyncio.sleep(0.01)


async def test_cancelled_waiting_leaves_the_queue_open(fake: FakeMachine) -> None:
    async with Bench(fake, Capacity(3.0)) as pool:

        async def hold(name: str) -> None:
            async with pool.lease([spec(name)]):
                pass

        async with pool.lease([spec("a")]):
            waiter = asyncio.create_task(hold("b"))
            await asyncio.sleep(0.02)
            waiter.cancel()
            await asyncio.gather(waiter, return_exceptions=True)
        await asyncio.wait_for(hold("c"), 10)
