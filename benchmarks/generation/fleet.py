"""Engines on an event loop's clock, be it real or virtual: a request waits until its engine has answered it."""

import asyncio
from collections.abc import Sequence

from benchmarks.generation.engine import Answer, Engine, Speed


class Replica:
    """One engine, kept up to the loop's time."""

    def __init__(self, speed: Speed) -> None:
        self.engine: Engine[asyncio.Future[Answer]] = Engine(speed)
        self._alarm: asyncio.TimerHandle | None = None

    async def complete(self, answer: Answer) -> Answer:
        """`answer`, when the engine has given it."""
        loop = asyncio.get_running_loop()
        given: asyncio.Future[Answer] = loop.create_future()
        self._advance()
        self.engine.add(given, answer, now=loop.time())
        self._advance()
        return await given

    def _advance(self) -> None:
        loop = asyncio.get_running_loop()
        for given, answer, _ in self.engine.advance(loop.time()):
            if not given.done():  # its client went away
                given.set_result(answer)
        if self._alarm is not None:
            self._alarm.cancel()
        at = self.engine.next_event()
        # A hair later, so that the sum of its steps is not above the clock by rounding.
        self._alarm = None if at is None else loop.call_at(at + 1e-9, self._advance)


def idlest(replicas: Sequence[Replica]) -> Replica:
    """Where a gateway that knows its engines sends the next request."""
    return min(replicas, key=lambda replica: replica.engine.load)
