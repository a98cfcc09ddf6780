"""The least time: the same rows and engines in virtual time, asked by a client that needs none and has no limits."""

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any, TypeVar

from benchmarks.generation.engine import Speed, answer_to
from benchmarks.generation.fleet import Replica, idlest
from benchmarks.generation.rows import MODELS, Rows
from benchmarks.generation.server import completion
from moaa.client.outcome import Permanent, Retry
from moaa.client.request import PLAIN, Request

ResultT = TypeVar("ResultT")


class _AtOnce(selectors.DefaultSelector):
    """Waits for nothing: what would have been waited is added to the clock."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += timeout or 0.0
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock goes on only where nothing is left to do at this moment."""

    def __init__(self) -> None:
        self._clock = _AtOnce()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


class _Unlimited:
    """A `Completer` that gives every request to the idlest replica at once."""

    def __init__(self, replicas: Mapping[str, list[Replica]]) -> None:
        self._replicas = replicas

    async def complete(self, model: str, request: Request[ResultT], *, affinity: str, order: int) -> ResultT:  # noqa: ARG002
        body: dict[str, Any] = request.body(served_name=model, messages=request.messages, dialect=PLAIN)
        answer = await idlest(self._replicas[model]).complete(answer_to(body))
        return read(request, completion(answer))


def read(request: Request[ResultT], payload: bytes) -> ResultT:
    """What a response of `server` says; it is never wrong."""
    result = request.read(payload)
    assert not isinstance(result, Permanent | Retry), result
    return result


def ideal(rows: Rows, *, replicas: int, speed: Speed) -> list[float]:
    """When each row ends, in seconds after the start."""
    fleet = {model: [Replica(speed) for _ in range(replicas)] for model in MODELS}
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(rows.answer_all(_Unlimited(fleet)))
