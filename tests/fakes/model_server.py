"""A server of other people's, on loopback: it answers each request the way some vendor's server was seen to.

What a server does is a `Behaviour`: replies one after the other, the last one for ever, and what must come of it.
A request that says only "Hi" is the client's own question whether anything is understood at all; a server that refuses
one prompt answers it, one that refuses every request does not.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Body = dict[str, Any]


@dataclass(frozen=True)
class Exchange:
    """One response."""

    body: object
    """JSON to be, or bytes as they are."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> web.Response:
        raw = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        return web.Response(body=raw, status=self.status, headers={"Content-Type": "application/json", **self.headers})


@dataclass(frozen=True)
class Answered:
    """The call gives an answer; the ledger keeps it."""

    text: str
    thought: str = ""
    cut: bool = False
    tokens: tuple[int, int] | None = (7, 3)
    """Prompt and completion; None: the server did not say."""


@dataclass(frozen=True)
class Failed:
    """The call fails; its row may do without it."""

    reason: str
    words: str
    """Of the error, the server's own among them."""
    remembered: bool = True
    tokens: tuple[int, int] | None = (0, 0)
    thought: str = ""


@dataclass(frozen=True)
class Ended:
    """The job ends; nothing is remembered."""

    words: str


@dataclass(frozen=True)
class Behaviour:
    name: str
    replies: tuple[Exchange, ...]
    outcome: Answered | Failed | Ended
    asked: int = 1
    """Requests for the call itself, the canary left out."""
    refuses_all: bool = False
    """The canary is answered like any other request."""
    system: bool = False
    """The call has a system message."""
    has_no_system: bool = False
    """The first reply is for requests with a system message, the last for those without."""


@dataclass
class ModelServer:
    """Plays behaviours; `choose` says which one a request meets."""

    choose: Callable[[Body], Behaviour]
    url: str = ""
    requests: list[Body] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    canaries: int = 0
    pause_s: float = 0.0
    """Before each answer, where a run is to be met on its way."""
    _given: dict[str, int] = field(default_factory=dict)

    def count(self, *models: str) -> Counter[str]:
        """Requests for these models by body, so that a repeated one shows."""
        bodies = [body for body in self.requests if body["model"] in models]
        return Counter(json.dumps(body, sort_keys=True) for body in bodies)

    async def handle(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        self.headers.append(dict(request.headers))
        self.paths.append(request.path_qs)
        behaviour = self.choose(body)
        if body["messages"] == [{"role": "user", "content": "Hi"}]:
            self.canaries += 1
            return behaviour.replies[-1].response() if behaviour.refuses_all else completion("Hello").response()
        self.requests.append(body)
        await asyncio.sleep(self.pause_s)
        # By the last line: a system message may be folded in before it.
        key = f"{behaviour.name}: {body['messages'][-1]['content'].rpartition(chr(10))[2]}"
        number = self._given.get(key, 0)
        self._given[key] = number + 1
        if behaviour.has_no_system:
            number = 0 if body["messages"][0]["role"] == "system" else -1
        return behaviour.replies[min(number, len(behaviour.replies) - 1)].response()


def completion(
    content: object, *, finish: object = "stop", usage: object = "told", choice: Body | None = None, **message: object
) -> Exchange:
    """A chat completion; `finish` and `usage` None are left in as null, "absent" leaves them out."""
    entry: Body = {"index": 0, "message": {"role": "assistant", "content": content, **message}, **(choice or {})}
    if finish != "absent":
        entry["finish_reason"] = finish
    document: Body = {"id": "c", "object": "chat.completion", "choices": [entry]}
    if usage != "absent":
        document["usage"] = {"prompt_tokens": 7, "completion_tokens": 3} if usage == "told" else usage
    return Exchange(document)


def error(status: int, message: object, *, headers: Mapping[str, str] | None = None, **more: object) -> Exchange:
    """An error as OpenAI spells it."""
    return Exchange({"error": {"message": message, **more}}, status, headers or {})


def inside(**fields: object) -> Exchange:
    """Status 200 with an error inside."""
    return Exchange({"error": fields})


@asynccontextmanager
async def play(choose: Behaviour | Callable[[Body], Behaviour]) -> AsyncIterator[ModelServer]:
    """The server at `url` (up to /v1) until the block ends; any path that ends in /chat/completions is its own."""
    server = ModelServer(choose if callable(choose) else lambda _: choose)
    app = web.Application()
    app.router.add_post("/{base:.*}/chat/completions", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        yield server
    finally:
        await runner.cleanup()
