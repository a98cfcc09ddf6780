"""When a stage begins its rows: for every model, or ahead of the slow ones for those that are fast."""

import asyncio
from dataclasses import dataclass
from typing import Any, cast

import pytest

from moaa.client.pool import clients
from moaa.client.pool.clients import Clients
from moaa_jobs.runner.pace import Pace


@dataclass
class Pool:
    is_supplied: bool
    waiting: int = 0


class Rows:
    """Rows that end when told to, started one after the other; `slow` and `fast` are what they ask."""

    def __init__(self, group: asyncio.TaskGroup, most: int = 100) -> None:
        self.slow, self.fast = Pool(is_supplied=True), Pool(is_supplied=False)
        self.clients = Clients([])
        self.clients._pools = cast(Any, {"slow": self.slow, "fast": self.fast})
        self.begun = 0
        self.ends: list[asyncio.Event] = []
        self._pace = Pace(group, self.clients, most=most)
        self._starting = group.create_task(self._start())

    async def _start(self) -> None:
        for _ in range(4):
            await self._pace.start(self._work())

    async def _work(self) -> None:
        self.begun += 1
        self.ends.append(asyncio.Event())
        await self.ends[-1].wait()

    async def after(self) -> int:
        """How many have begun once a call has ended and everything else has run."""
        for _ in range(5):
            self.clients._ended.set()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return self.begun

    async def end(self) -> None:
        while not self._starting.done() or not all(event.is_set() for event in self.ends):
            self.slow.is_supplied = self.fast.is_supplied = False
            for event in self.ends:
                event.set()
            await self.after()


async def test_a_fast_model_is_fed_while_few_calls_wait_for_a_slow_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "RUN_AHEAD", 9)
    async with asyncio.TaskGroup() as group:
        rows = Rows(group, most=2)
        rows.slow.waiting = 8
        assert await rows.after() == 2
        rows.slow.waiting = 9
        rows.ends[0].set()
        assert await rows.after() == 2
        rows.slow.waiting = 8
        assert await rows.after() == 3
        rows.slow.is_supplied, rows.slow.waiting = False, 9
        rows.ends[1].set()
        assert await rows.after() == 4, "every model wants calls"
        await rows.end()


async def test_no_row_is_begun_while_every_model_has_calls_enough() -> None:
    async with asyncio.TaskGroup() as group:
        rows = Rows(group)
        rows.fast.is_supplied = True
        assert await rows.after() == 0
        rows.fast.is_supplied = False
        assert await rows.after() == 4
        await rows.end()


async def test_rows_under_way_are_bounded_whatever_the_models_want() -> None:
    async with asyncio.TaskGroup() as group:
        rows = Rows(group, most=3)
        rows.slow.is_supplied = False
        assert await rows.after() == 3
        rows.ends[1].set()
        assert await rows.after() == 4
        await rows.end()
