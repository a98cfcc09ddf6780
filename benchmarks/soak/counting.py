"""Requests as a model server sees them, on disk before they are answered.

`Recorder` is loaded into vLLM with `--middleware benchmarks.soak.counting.Recorder`, so the standard library is all
this module may import at its top. Every server process writes a file of its own below $MOAA_SOAK_CALLS, one `write` a
line: what was written stays when the process is killed.
"""

import json
import os
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER_VARIABLE = "MOAA_SOAK_CALLS"
PATH = "/v1/chat/completions"

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Asked:
    """One request that reached a server."""

    at: float
    """Seconds since the epoch."""
    body: dict[str, Any]


class Recorder:
    """ASGI middleware that notes every chat completion request once its body is complete."""

    def __init__(self, app: App) -> None:
        self._app = app
        file = Path(os.environ[FOLDER_VARIABLE]) / f"{os.getpid()}-{time.time_ns()}.jsonl"
        self._fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH:
            await self._app(scope, receive, send)
            return
        received = [await receive()]
        while received[-1].get("more_body"):
            received.append(await receive())
        body = b"".join(message.get("body", b"") for message in received)
        if received[-1]["type"] == "http.request":  # else the client was gone before it had asked
            os.write(self._fd, b'{"at": %.6f, "body": %s}\n' % (time.time(), body.replace(b"\n", b" ")))
        waiting = iter(received)

        async def again() -> Message:
            return next(waiting, None) or await receive()

        await self._app(scope, again, send)


def read(folder: Path) -> Iterator[Asked]:
    """Every request in the folder; a server's own in the order in which they came."""
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text().splitlines():
            found = json.loads(line)
            yield Asked(found["at"], found["body"])
