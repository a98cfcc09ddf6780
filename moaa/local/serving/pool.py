"""Leases over the machine's servers, memory and GPUs.

A stage takes one lease for one run of its job: some servers, and what the job itself needs. Leases are granted whole,
in the order of the requests. No stage holds a part while it waits for the rest, so two stages cannot block each other.
A server that no lease pins stays up until its room is needed.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from moaa.errors import ServerError
from moaa.local.processes.process import Guards
from moaa.local.serving import budget
from moaa.local.serving.machine import NOTHING, Capacity, Demand
from moaa.local.serving.server import Launch, Server, ServerSpec, free_port
from moaa.local.show.events import Notify, ignore


@dataclass(frozen=True)
class Lease:
    """Servers that answer, and GPUs for the job itself, for as long as the lease is held."""

    servers: dict[str, Server]
    """By the keys of their specs."""
    gpus: tuple[str, ...]
    given_up: set[str]
    """Keys of those that the job has no more use for; the lease holds them no longer (`Pool.give_up`)."""

    async def broken(self) -> ServerError:
        """Returns when one of the servers cannot be brought back that is not given up; never when there are none."""
        waiting = {server.broken: key for key, server in self.servers.items()}
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for broken in done:
                if waiting.pop(broken) not in self.given_up:
                    return broken.result()
        never: asyncio.Future[ServerError] = asyncio.get_running_loop().create_future()
        return await never


class Pool:
    """Servers of one run. Use inside one task group; `close` before it ends."""

    def __init__(
        self,
        capacity: Capacity,
        *,
        tasks: asyncio.TaskGroup,
        guards: Guards,
        launch: Launch,
        log_folder: Path,
        notify: Notify = ignore,
    ) -> None:
        self.capacity = capacity
        self.upcoming: Sequence[str] = ()
        """Keys that later stages use, soonest first; the rest goes first when room is needed."""
        self.waited_for: Collection[str] = ()
        """Keys that stages use which have not begun."""
        self._tasks = tasks
        self._guards = guards
        self._launch = launch
        self._log_folder = log_folder
        self._notify = notify
        self._servers: dict[str, Server] = {}
        self._leaving: list[Server] = []
        """They are stopping and still take room."""
        self._pins: dict[str, int] = {}
        self._reserved = NOTHING
        self._reserved_gpus: set[str] = set()
        self._turn = asyncio.Lock()
        self._changed = asyncio.Condition()

    @property
    def up(self) -> dict[str, Server]:
        """Servers that are starting or ready, by key."""
        return {key: server for key, server in self._servers.items() if server.is_usable}

    @contextlib.asynccontextmanager
    async def lease(self, specs: Sequence[ServerSpec], *, job: Demand = NOTHING) -> AsyncIterator[Lease]:
        """Hold servers of `specs` and room for `job`. They fit together (`budget.choose`), so waiting ends.

        Raises:
            ServerError: a server did not become ready, or the job alone is larger than the machine.
        """
        if not (budget.total([spec.demand for spec in specs]) + job).fits(self.capacity):
            raise ServerError(
                f"the job needs {job.memory_gib:.1f} GiB of memory and {job.gpus} GPUs besides its servers and there "
                f"are {self.capacity.memory_gib:.1f} GiB and {len(self.capacity.gpus)}; use a larger machine, or lower "
                "training.resources if that is too careful"
            )
        async with self._turn:
            gpus = await self._claim(specs, job)
        given_up: set[str] = set()
        try:
            servers = {spec.key: self._servers[spec.key] for spec in specs}
            for server in servers.values():
                await asyncio.shield(server.ready)
            yield Lease(servers=servers, gpus=gpus, given_up=given_up)
        finally:
            await self._release([spec for spec in specs if spec.key not in given_up], job, gpus)

    def warm(self, specs: Sequence[ServerSpec]) -> None:
        """Start those of `specs` that fit beside everything that is up. No lease waits for them, and no server is
        stopped for them."""
        if self._turn.locked():
            return  # another lease waits for room
        for spec in specs:
            servers = [*self._servers.values(), *self._leaving]
            used = budget.total([server.spec.demand for server in servers]) + self._reserved
            if spec.key not in self._servers and (used + spec.demand).fits(self.capacity):
                self._start(spec)

    async def retire(self) -> None:
        """Stop idle servers that no later stage uses."""
        await self._stop([key for key in self._idle() if key not in self.upcoming])

    def give_up(self, lease: Lease, keys: Iterable[str]) -> None:
        """Servers of a lease are of no more use to its job. Those that no other lease holds and no stage waits for are
        stopped at once, the others stay idle."""
        new = [key for key in keys if key not in lease.given_up]
        lease.given_up.update(new)
        for key in new:
            self._pins[key] -= 1
        unused = [key for key in new if key in self._idle() and key not in self.waited_for]
        self._tasks.create_task(self._until_gone(self._take_out(unused)))

    async def close(self) -> None:
        await self._stop(list(self._servers))

    def _idle(self) -> dict[str, Demand]:
        return {key: server.spec.demand for key, server in self._servers.items() if not self._pins.get(key)}

    async def _claim(self, specs: Sequence[ServerSpec], job: Demand) -> tuple[str, ...]:
        """Pin and start `specs` and reserve `job` as soon as there is room."""
        wanted_keys = {spec.key for spec in specs}
        while True:
            await self._stop([key for key, server in self._servers.items() if not server.is_usable])
            taken = [s for key, s in self._servers.items() if self._pins.get(key)] + self._leaving
            pinned = budget.total([server.spec.demand for server in taken])
            wanted = budget.total([spec.demand for spec in specs if not self._pins.get(spec.key)]) + job
            idle = {key: demand for key, demand in self._idle().items() if key not in wanted_keys}
            stopped = budget.evict(
                idle, upcoming=self.upcoming, pinned=pinned + self._reserved, wanted=wanted, capacity=self.capacity
            )
            if stopped is not None:
                break
            async with self._changed:
                await self._changed.wait()
        await self._stop(stopped)
        # From here on nothing waits: a lease is granted whole or not at all.
        for spec in specs:
            self._pins[spec.key] = self._pins.get(spec.key, 0) + 1
            if spec.key not in self._servers:
                self._start(spec)
        gpus = self._free_gpus(job.gpus)
        self._reserved += job
        self._reserved_gpus.update(gpus)
        return gpus

    def _start(self, spec: ServerSpec) -> None:
        gpus = self._free_gpus(spec.demand.gpus)
        server = Server(
            spec,
            gpus=gpus,
            guards=self._guards,
            launch=self._launch,
            folder=self._log_folder,
            port=free_port([other.port for other in [*self._servers.values(), *self._leaving]]),
            notify=self._notify,
        )
        self._servers[spec.key] = server
        server.start(self._tasks)

    def _free_gpus(self, count: int) -> tuple[str, ...]:
        servers = [*self._servers.values(), *self._leaving]
        taken = {gpu for server in servers for gpu in server.gpus} | self._reserved_gpus
        return tuple(gpu for gpu in self.capacity.gpus if gpu not in taken)[:count]

    async def _release(self, specs: Sequence[ServerSpec], job: Demand, gpus: Sequence[str]) -> None:
        for spec in specs:
            self._pins[spec.key] -= 1
        self._reserved = Demand(self._reserved.memory_gib - job.memory_gib, self._reserved.gpus - job.gpus)
        self._reserved_gpus.difference_update(gpus)
        async with self._changed:
            self._changed.notify_all()

    async def _stop(self, keys: Sequence[str]) -> None:
        """Stop servers and wait until they are gone."""
        await self._until_gone(self._take_out(keys))

    def _take_out(self, keys: Sequence[str]) -> list[Server]:
        """Nobody can get these servers any more; they are to be stopped."""
        servers = [self._servers.pop(key) for key in keys]
        self._leaving += servers
        for server in servers:
            self._notify("server_stopping", model=server.spec.label)
        return servers

    async def _until_gone(self, servers: Sequence[Server]) -> None:
        await asyncio.gather(*(server.stop() for server in servers))
        self._leaving = [server for server in self._leaving if server not in servers]
        async with self._changed:
            self._changed.notify_all()
