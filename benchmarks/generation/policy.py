"""Our clients in virtual time: what limits, windows and order of calls cost by themselves, computing left out.

The pool and the pace of rows are the real ones; only the exchange with a server is replaced, by the engine itself.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from unittest.mock import patch

from benchmarks.generation.engine import Speed, answer_to
from benchmarks.generation.fleet import Replica, idlest
from benchmarks.generation.ideal import VirtualLoop, read
from benchmarks.generation.rows import MODELS, Rows
from benchmarks.generation.server import completion
from moaa.client.pool import clients as pool
from moaa.client.pool.replicas import Address
from moaa.client.pool.transport import Transport
from moaa.client.request import Request
from moaa.client.target import Target
from moaa.conversation import Conversation

ResultT = TypeVar("ResultT")


def in_virtual_time(rows: Rows, targets: Sequence[Target], *, replicas: int, speed: Speed, most: int) -> list[float]:
    """When each row ends, in seconds after the start. A target with one address stands
    before a gateway; otherwise each of its addresses is a replica."""
    engines = {model: [Replica(speed) for _ in range(replicas)] for model in MODELS}
    behind = {
        url: engines[target.model] if len(target.urls) == 1 else [engines[target.model][number]]
        for target in targets
        for number, url in enumerate(target.urls)
    }

    class Direct(Transport):
        """Asks the engines instead of the network."""

        async def send(
            self,
            address: Address,
            request: Request[ResultT],
            *,
            messages: Conversation,
            heard: Callable[[Mapping[str, str]], None] = lambda _: None,  # noqa: ARG002 - engines tell no limits
        ) -> ResultT:
            target = self._target
            body: dict[str, Any] = request.body(
                served_name=target.served_name, messages=messages, dialect=target.dialect
            )
            answer = await idlest(behind[address.url]).complete(answer_to(body))
            self.last_response = self.last_success = asyncio.get_running_loop().time()
            return read(request, completion(answer))

    async def run() -> list[float]:
        async with pool.Clients(targets) as clients:
            return await rows.answer_paced(clients, most=most)

    with patch.object(pool, "Transport", Direct), asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(run())
