"""`python -m benchmarks.generation.server FLEET`: the model servers of a cell, in one process.

Prints one line of JSON, the base URLs of every model, and serves until it is terminated. Each replica has a port; with
`gateway` a model has one, behind which the idlest of its engines gets the next request. Answers are streamed or whole,
as the request asks; a stream has its text in one piece. `GET /stats` tells what was asked, `GET /asked` how often.
"""

import asyncio
import json
import resource
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from benchmarks.generation.engine import Answer, Speed, answer_to
from benchmarks.generation.fleet import Replica, idlest


@dataclass(frozen=True)
class Fleet:
    """What the process is told, as JSON."""

    models: tuple[str, ...]
    replicas: int
    speed: Speed
    gateway: bool = False

    def text(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def read(text: str) -> "Fleet":
        said = json.loads(text)
        return Fleet(tuple(said["models"]), said["replicas"], Speed(**said["speed"]), said["gateway"])


@dataclass
class Stats:
    """What was asked and answered; times are the machine's monotonic clock, the same in every process."""

    bodies: Counter[bytes] = field(default_factory=Counter)
    arrivals: list[float] = field(default_factory=list)
    answers: dict[str, list[float]] = field(default_factory=dict)
    """By model."""


def completion(answer: Answer) -> bytes:
    """The body of a response that is not streamed."""
    choice = {"index": 0, "message": {"role": "assistant", "content": answer.text}, "finish_reason": "stop"}
    return json.dumps({"object": "chat.completion", "choices": [choice], "usage": _usage(answer)}).encode()


def stream(answer: Answer) -> bytes:
    """The body of a response as server-sent events."""
    delta = {"index": 0, "delta": {"role": "assistant", "content": answer.text}, "finish_reason": None}
    last = {"index": 0, "delta": {}, "finish_reason": "stop"}
    events: list[dict[str, Any]] = [{"choices": [delta]}, {"choices": [last]}, {"choices": [], "usage": _usage(answer)}]
    lines = [json.dumps({"object": "chat.completion.chunk", **event}) for event in events]
    return "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode()


def _usage(answer: Answer) -> dict[str, int]:
    tokens = {"prompt_tokens": answer.prompt_tokens, "completion_tokens": answer.tokens}
    return {**tokens, "total_tokens": sum(tokens.values())}


def waited_s(process: int | str) -> float:
    """How long the main thread of a process, ended or not, could have run and had no core."""
    return int(Path(f"/proc/{process}/schedstat").read_text().split()[1]) / 1e9


class Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, as far as clients of chat completions use it."""

    def __init__(self, replicas: list[Replica], stats: Stats, everything: list[Replica]) -> None:
        self._replicas, self._stats, self._everything = replicas, stats, everything
        self._buffer = bytearray()
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[:end]).lower()
            _, has_body, rest = head.partition(b"content-length:")
            length = int(rest.split(b"\r\n", 1)[0]) if has_body else 0
            if len(self._buffer) < end + 4 + length:
                return
            body = bytes(self._buffer[end + 4 : end + 4 + length])
            del self._buffer[: end + 4 + length]
            if head.startswith(b"post"):
                task = asyncio.ensure_future(self._answer(body))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                figures = self._figures() if b"/stats" in head else {"requests": len(self._stats.arrivals)}
                self._write(json.dumps(figures).encode(), b"application/json")

    async def _answer(self, body: bytes) -> None:
        loop = asyncio.get_running_loop()
        self._stats.arrivals.append(loop.time())
        self._stats.bodies[blake2b(body, digest_size=16).digest()] += 1
        asked: dict[str, Any] = json.loads(body)
        answer = await idlest(self._replicas).complete(answer_to(asked))
        self._stats.answers.setdefault(asked["model"], []).append(loop.time())
        if asked.get("stream"):
            self._write(stream(answer), b"text/event-stream")
        else:
            self._write(completion(answer), b"application/json")

    def _write(self, body: bytes, kind: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n" % (kind, len(body))
        self._transport.write(head + body)

    def _figures(self) -> dict[str, Any]:
        engines = [replica.engine for replica in self._everything]
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "requests": self._stats.bodies.total(),
            "distinct": len(self._stats.bodies),
            "arrivals": self._stats.arrivals,
            "answers": self._stats.answers,
            "prompt_tokens": sum(engine.prompt_tokens for engine in engines),
            "cached_tokens": sum(engine.cached_tokens for engine in engines),
            "cpu_s": used.ru_utime + used.ru_stime,
            "waited_s": waited_s("self"),
        }


async def serve(fleet: Fleet) -> None:
    loop = asyncio.get_running_loop()
    stats = Stats()
    engines = {model: [Replica(fleet.speed) for _ in range(fleet.replicas)] for model in fleet.models}
    everything = [replica for replicas in engines.values() for replica in replicas]
    urls: dict[str, list[str]] = {}
    for model, replicas in engines.items():
        for behind in [replicas] if fleet.gateway else [[replica] for replica in replicas]:
            server = await loop.create_server(
                lambda behind=behind: Connection(behind, stats, everything),  # type: ignore[misc]
                "127.0.0.1",
                0,
                backlog=4096,
            )
            urls.setdefault(model, []).append(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
    sys.stdout.write(json.dumps(urls) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Fleet.read(sys.argv[1])))
