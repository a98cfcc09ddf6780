"""A chat completions endpoint on loopback whose behaviour a test decides request by request."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Body = dict[str, Any]
Handler = Callable[["Endpoint", web.Request, Body], Awaitable[web.StreamResponse]]


def completion(text: str | None, *, finish: str = "stop", **message: Any) -> Body:
    return {
        "choices": [{"message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3},
    }


def error(status: int, message: str, **headers: str) -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status, headers=headers)


@dataclass
class Endpoint:
    """Counts what it sees; `handler` answers, by default with the last message's content."""

    handler: Handler
    requests: list[Body] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    active: int = 0
    most_active: int = 0
    url: str = ""
    port: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        try:
            return await self.handler(self, request, body)
        finally:
            self.active -= 1


async def echo(endpoint: Endpoint, request: web.Request, body: Body) -> web.StreamResponse:
    return web.json_response(completion(f"echo {body['messages'][-1]['content']}"))


def script(*answers: web.Response | Body | Handler) -> Handler:
    """The n-th request gets the n-th answer; later ones the last."""
    left = list(answers)

    async def handler(endpoint: Endpoint, request: web.Request, body: Body) -> web.StreamResponse:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, web.Response):
            # A response object can be sent once only.
            return web.Response(body=answer.body, status=answer.status, headers=answer.headers)
        if isinstance(answer, dict):
            return web.json_response(answer)
        return await answer(endpoint, request, body)

    return handler


async def cut_off(endpoint: Endpoint, request: web.Request, body: Body) -> web.StreamResponse:
    """Half an answer, then the connection is gone."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"choices": [')
    assert request.transport is not None
    request.transport.abort()
    return response


def slow(seconds: float) -> Handler:
    async def handler(endpoint: Endpoint, request: web.Request, body: Body) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await echo(endpoint, request, body)

    return handler


@asynccontextmanager
async def serve(handler: Handler = echo, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Endpoint]:
    endpoint = Endpoint(handler)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", endpoint.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    endpoint.port = runner.addresses[0][1]
    endpoint.url = f"http://{host}:{endpoint.port}/v1"
    try:
        yield endpoint
    finally:
        await runner.cleanup()
