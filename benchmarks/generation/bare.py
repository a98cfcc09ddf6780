"""`python -m benchmarks.generation.bare TASK`: the rows of a cell by bare aiohttp, as a script would ask: as many
calls at once as the servers take, each to the replica that has fewest; no ledger, no retries, nothing checked.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeVar

import aiohttp

from benchmarks.generation.ideal import read
from benchmarks.generation.rows import Rows, prompts
from moaa.api import MoAA
from moaa.client.request import PLAIN, Request
from moaa_jobs.__main__ import collect_less

ResultT = TypeVar("ResultT")


class Bare:
    """A `Completer` without any of the pool's care."""

    def __init__(self, session: aiohttp.ClientSession, urls: Mapping[str, Sequence[str]], at_once: int) -> None:
        self._session, self._urls = session, urls
        self._turns = {model: asyncio.Semaphore(at_once) for model in urls}
        self._in_flight: Counter[str] = Counter()

    async def complete(self, model: str, request: Request[ResultT], *, affinity: str, order: int) -> ResultT:  # noqa: ARG002
        """See `Completer.complete`."""
        body = request.body(served_name=model, messages=request.messages, dialect=PLAIN)
        async with self._turns[model]:
            url = min(self._urls[model], key=lambda url: self._in_flight[url])
            self._in_flight[url] += 1
            async with self._session.post(f"{url}/chat/completions", json=body) as response:
                payload = await response.read()
            self._in_flight[url] -= 1
        return read(request, payload)


async def run(rows: Rows, urls: Mapping[str, Sequence[str]], at_once: int) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
        await rows.answer_all(Bare(session, urls, at_once))


def main() -> None:
    task = json.loads(sys.argv[1])
    rows = Rows(MoAA.model_validate(task["resource"]), prompts(task["rows"]))
    collect_less()
    asyncio.run(run(rows, task["urls"], task["at_once"]))


if __name__ == "__main__":
    main()
