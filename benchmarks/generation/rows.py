"""The rows of a cell, and how they are answered: by the mixture's own code, over whatever client it is given."""

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass

from moaa.api import MoAA
from moaa.api.prompts import effective
from moaa.asking.asker import Asker
from moaa.client.ledgered import Calls, Completer
from moaa.client.pool.clients import Clients
from moaa.mixture.row import answer_conversation
from moaa.plan.graph import build
from moaa.plan.students import mixture_method
from moaa.rows import PromptRow
from moaa.store.ledger.segments import Entry
from moaa_jobs.runner.pace import Pace

PROPOSERS = ("left", "middle", "right")
AGGREGATOR = "aggregator"
STAGE = "i1-generate"
MODELS = (*PROPOSERS, AGGREGATOR)
QUESTION = "Which of the two would you choose, and what would have to be true for you to choose the other? "


def prompts(count: int) -> list[PromptRow]:
    """Questions of 100 to 700 characters, each its own."""
    return [
        PromptRow(
            id=f"q{number:07}",
            messages=[{"role": "user", "content": f"Case {number:07}. " + QUESTION * (1 + number % 7)}],
            answer=None,
        )
        for number in range(count)
    ]


class Forgetful:
    """A `CallLog` that keeps nothing."""

    async def lookup(self, row: str, path: str, request_hash: str) -> Entry | None:  # noqa: ARG002
        return None

    async def record(self, entry: Entry) -> None:
        pass


@dataclass(frozen=True)
class Rows:
    resource: MoAA
    rows: list[PromptRow]

    async def answer_all(self, clients: Completer) -> list[float]:
        """All rows at once: when each ended, by the loop's clock, in order of time."""
        ends: list[float] = []
        await asyncio.gather(*self._works(clients, ends))
        return ends

    async def answer_paced(self, clients: Clients, *, most: int) -> list[float]:
        """As the stage starts them, at `most` at the same time."""
        ends: list[float] = []
        async with asyncio.TaskGroup() as group:
            pace = Pace(group, clients, most=most)
            for work in self._works(clients, ends):
                await pace.start(work)
        return ends

    def _works(self, clients: Completer, ends: list[float]) -> Iterator[Coroutine[object, object, None]]:
        method = mixture_method(self.resource, build(self.resource).stages[STAGE])
        templates = effective(self.resource.spec.prompts)
        digests = dict.fromkeys(method.models, "0" * 64)
        calls = Calls(clients, Forgetful(), digests, self.resource.spec.seed, {})

        async def answer(position: int, row: PromptRow) -> None:
            asker = Asker(calls.of(row["id"], order=position), templates, {})
            await answer_conversation(row["messages"], method.writer(row["id"], ""), asker)
            ends.append(asyncio.get_running_loop().time())

        return (answer(position, row) for position, row in enumerate(self.rows))
