"""A chat endpoint on loopback for tests: real sockets, scripted answers, every request counted.

It stands for a deterministic model server where a real one would cost a minute; the integration tests use vLLM.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Answer = Callable[[dict[str, Any]], Awaitable[str] | str]
"""Request body to the answer's text; raise `web.HTTPException` for an error status."""


@dataclass
class Endpoint:
    url: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    scored: list[dict[str, Any]] = field(default_factory=list)
    """Requests to the reward model beside it."""

    def count(self) -> Counter[str]:
        """Requests by body, so that a repeated one shows."""
        return Counter(json.dumps(body, sort_keys=True) for body in self.requests)


@asynccontextmanager
async def serve(answer: Answer) -> AsyncIterator[Endpoint]:
    """An endpoint at `url` (up to /v1) until the block ends, and beside it a reward model that looks at the last
    character of an answer."""
    endpoint = Endpoint("")

    async def complete(request: web.Request) -> web.Response:
        body = await request.json()
        endpoint.requests.append(body)
        text = answer(body)
        content = await text if asyncio.iscoroutine(text) else text
        choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        return web.json_response({"object": "chat.completion", "choices": [choice], "usage": usage})

    async def score(request: web.Request) -> web.Response:
        body = await request.json()
        endpoint.scored.append(body)
        number = float(ord(body["messages"][-1]["content"][-1]))
        usage = {"prompt_tokens": 7, "completion_tokens": 0, "total_tokens": 7}
        return web.json_response({"object": "list", "data": [{"index": 0, "data": [number]}], "usage": usage})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", complete)
    app.router.add_post("/pooling", score)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        endpoint.url = f"http://127.0.0.1:{port}/v1"
        yield endpoint
    finally:
        await runner.cleanup()
