"""A proxy before an S3 server that keeps what was asked: real clients, a real server, a list of what they need.

It runs in a thread with its own loop, since those who ask are other processes and the test waits for them. Requests go
on as they came, `Host` included, so that signatures stay valid.
"""

import asyncio
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web
from yarl import URL

from tests.s3_calls import Call, UnknownRequest, calls_of

MAX_BODY_BYTES = 1 << 30
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect"}


@dataclass
class Recorder:
    """What was asked so far, at `endpoint`."""

    endpoint: str = ""
    calls: set[Call] = field(default_factory=set)
    unknown: list[str] = field(default_factory=list)
    """Requests whose rights are not known."""

    def note(self, request: web.Request, body: bytes) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            self.calls.update(calls_of(request.method, request.raw_path, headers, body))
        except UnknownRequest as error:
            self.unknown.append(str(error))


@contextmanager
def record(upstream: str) -> Iterator[Recorder]:
    """Record what is asked of the server at `upstream` until the block ends."""
    recorder, ready, ended = Recorder(), threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(auto_decompress=False, timeout=timeout) as session:

            async def handle(request: web.Request) -> web.Response:
                body = await request.read()
                recorder.note(request, body)
                return await _forward(session, upstream, request, body)

            app = web.Application(client_max_size=MAX_BODY_BYTES)
            app.router.add_route("*", "/{path:.*}", handle)
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            recorder.endpoint = f"http://{host}:{port}"
            ready.set()
            await ended.wait()
            await runner.cleanup()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run, name="s3-recorder")
    thread.start()
    try:
        assert ready.wait(30), "the recorder did not start"
        yield recorder
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()


async def _forward(session: aiohttp.ClientSession, upstream: str, request: web.Request, body: bytes) -> web.Response:
    headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP]
    async with session.request(
        request.method,
        URL(upstream + request.raw_path, encoded=True),
        headers=headers,
        data=io.BytesIO(body),  # aiohttp warns of large bytes, and here warnings are errors
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        allow_redirects=False,
    ) as answer:
        kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP]
        return web.Response(status=answer.status, headers=kept, body=await answer.read())
