"""One model server as a process: start it, prove that it answers, notice when it dies, bring it back, stop it.

A server is ready when a real one-token completion came back; `/health` alone is green before the chat template was
ever rendered. Its port stays the same over restarts, so that a job whose calls are being retried finds it again.
"""

import asyncio
import contextlib
import json
import random
import socket
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import aiohttp

from moaa.api.models import ModelKind, Serving
from moaa.cause import cause, ended
from moaa.contract.vllm import first_request
from moaa.errors import ServerError, outside
from moaa.local.processes.process import Guarded, Guards, quoted
from moaa.local.serving.machine import Demand
from moaa.local.show.events import Notify, ignore

MAX_RESTARTS = 3
"""A server that died this often while it served is not started again by itself."""
POLL_S = 0.25
CANARY_TIMEOUT_S = 120.0
"""For one token: the first request may still compile something."""
STOP_GRACE_S = 15.0
PORTS = (20000, 32768)
PORT_TRIES = 200


@dataclass(frozen=True)
class ServerSpec:
    """One server of a model. Two names with the same key share it."""

    key: str
    """Weights, how they are served, and which replica."""
    name: str
    """As requests name the model."""
    folder: Path
    """With the weights."""
    serving: Serving
    demand: Demand
    startup_s: float
    chat: tuple[str, ...] = ()
    """vLLM arguments for the model's chat template."""
    replica: int = 1
    """Its number among the model's replicas."""
    kind: ModelKind = ModelKind.CHAT

    @property
    def label(self) -> str:
        """What events and the log file call this server: `qwen`, and `qwen.2` for its second replica."""
        return self.name if self.replica == 1 else f"{self.name}.{self.replica}"


def replica_key(key: str, number: int) -> str:
    return key if number == 1 else f"{key}.{number}"


def replicas(first: ServerSpec, count: int) -> list[ServerSpec]:
    """`count` servers of a model, given its first."""
    return [replace(first, key=replica_key(first.key, n), replica=n) for n in range(1, count + 1)]


class Launch(Protocol):
    """How a server is started: its command and its whole environment."""

    def __call__(self, spec: ServerSpec, *, port: int, gpus: Sequence[str]) -> tuple[list[str], dict[str, str]]: ...


def free_port(taken: Collection[int] = ()) -> int:
    """A free TCP port of 127.0.0.1, none of `taken`: those of servers that have not bound theirs yet.

    Below the range from which the kernel takes the near ends of connections (32768 and up): the polls that wait for
    the server would sooner or later occupy its port, or connect to themselves.

    Raises:
        ServerError: none was found in many tries.
    """
    for _ in range(PORT_TRIES):
        port = random.randrange(*PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            if port not in taken:
                return port
    raise ServerError(f"no free TCP port between {PORTS[0]} and {PORTS[1]} in {PORT_TRIES} tries; end what uses them")


class Server:
    """A server that is starting, ready or broken. The pool makes it, the holder of a lease uses it."""

    def __init__(
        self,
        spec: ServerSpec,
        *,
        gpus: Sequence[str],
        guards: Guards,
        launch: Launch,
        folder: Path,
        port: int,
        notify: Notify = ignore,
    ) -> None:
        self.spec = spec
        self.gpus = tuple(gpus)
        self.port = port
        self.ready: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        """Seconds until the first completion, or the ServerError that ended the start. Replaced after each death, so
        that a wait for it ends with a server that answers."""
        self.broken: asyncio.Future[ServerError] = asyncio.get_running_loop().create_future()
        """Set when a server that was ready died too often."""
        self._was_ready = False
        self._guards = guards
        self._launch = launch
        self._folder = folder
        self._notify = notify
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def log(self) -> Path:
        return self._folder / f"{self.spec.label}.log"

    @property
    def is_usable(self) -> bool:
        """Starting or ready."""
        return not self.broken.done() and (not self.ready.done() or self.ready.exception() is None)

    def start(self, tasks: asyncio.TaskGroup) -> None:
        self._task = tasks.create_task(self._live(), name=f"server {self.spec.label}")

    async def stop(self) -> None:
        """End the process and wait until it is gone."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        if not self.ready.done():
            self.ready.cancel()

    async def _live(self) -> None:
        """Start, serve, restart. Failures go to the futures: a broken server must not end its neighbours."""
        for restart in range(MAX_RESTARTS + 1):
            started = time.monotonic()
            process: Guarded | None = None
            try:
                process = await self._spawn()
                await self._until_ready(process)
                seconds = time.monotonic() - started
                self._notify("server_ready", model=self.spec.label, seconds=seconds)
                self._was_ready = True
                self.ready.set_result(seconds)
                code = await process.wait()
                self.ready = asyncio.get_running_loop().create_future()
                problem = self._ended(process, code, "while serving")
            except ServerError as error:
                problem = error
            except OSError as error:
                problem = ServerError(f"server of {self.spec.label} could not be started: {outside(error)}")
            finally:
                if process is not None:
                    await asyncio.shield(process.stop())
            if not self._was_ready:
                self._give_up(problem)
                self._notify("server_failed", model=self.spec.label, log=str(self.log))
                return
            if problem.is_permanent:
                break
            self._notify("server_died", model=self.spec.label, restarts_left=MAX_RESTARTS - restart, log=str(self.log))
        self._give_up(problem)
        self.broken.set_result(problem)

    def _give_up(self, problem: ServerError) -> None:
        self.ready.set_exception(problem)
        self.ready.exception()  # a waiter gets it; without one, the failure must not be reported as never retrieved

    async def _spawn(self) -> Guarded:
        command, env = self._launch(self.spec, port=self.port, gpus=self.gpus)
        self._notify("server_starting", model=self.spec.label, port=self.port, log=str(self.log))
        return await self._guards.start(
            self.spec.label, command, env=env, log=self.log, cwd=self._folder, grace_s=STOP_GRACE_S
        )

    async def _until_ready(self, process: Guarded) -> None:
        """Raises ServerError: it ended, or gave no completion in time."""
        over = asyncio.ensure_future(process.wait())
        proven = asyncio.ensure_future(self._prove(process))
        try:
            await asyncio.wait({over, proven}, timeout=self.spec.startup_s, return_when=asyncio.FIRST_COMPLETED)
            if proven.done():
                proven.result()
            elif over.done():
                raise self._ended(process, over.result(), "before it was ready")
            else:
                waited = f"gave no completion in {self.spec.startup_s:.0f} s"
                raise self._error(process, f"{waited}; raise serving.startupMinutes if it only needs longer")
        finally:
            for task in (over, proven):
                task.cancel()
            await asyncio.gather(over, proven, return_exceptions=True)

    async def _prove(self, process: Guarded) -> None:
        """Wait for /health, then for one token or score. Raises ServerError: it answers, but neither of these."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CANARY_TIMEOUT_S)) as session:
            while not await self._is_healthy(session):  # noqa: ASYNC110  another process cannot set an Event
                await asyncio.sleep(POLL_S)
            path, body, held = first_request(self.spec.kind, self.spec.name)
            try:
                async with session.post(f"http://127.0.0.1:{self.port}{path}", json=body) as response:
                    text = await response.text()
                    if response.status != 200 or not json.loads(text).get(held):
                        what = f"is up but answered its first chat with {response.status}: {text[:500]}"
                        raise self._error(process, what)
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                raise self._error(process, f"is up but failed its first chat: {error!r}") from error

    async def _is_healthy(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(f"http://127.0.0.1:{self.port}/health") as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    def _ended(self, process: Guarded, code: int, when: str) -> ServerError:
        """It ended without our doing."""
        what = f"{ended(code)} {when}"
        found = cause(process.written()) if code <= 128 else None
        if found is None:
            return self._error(process, what)
        text = f"server of {self.spec.label} {what}: {found.text}\n  log: {self.log}"
        return ServerError(text, is_permanent=found.is_permanent)

    def _error(self, process: Guarded, what: str) -> ServerError:
        lines = quoted(process.last_lines())
        return ServerError(f"server of {self.spec.label} {what}\n  last lines of {self.log}:\n{lines}")
