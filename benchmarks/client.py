"""What a model call costs in our client: CPU time and calls a second against a fast endpoint on loopback.

    python -m benchmarks.client [--calls 4000] [--repeats 3] [--write]

Three clients make the same calls, taking turns: aiohttp by itself, `Clients` (choice of replica, limits, parsing),
and `Calls` with a ledger in a directory (hash, look-up, record). The endpoint is another process that answers at once,
so that what is measured is the client. `--write` puts the table beside this file; it needs a clean commit.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path

import aiohttp

from benchmarks.commit import commit
from moaa.api.mixture import Sampling
from moaa.client.ledgered import Calls
from moaa.client.pool.clients import Clients
from moaa.client.request import ChatRequest
from moaa.client.target import Target
from moaa.conversation import Message
from moaa.plan.result import ledger_path, stage_path
from moaa.plan.stage import Kind
from moaa.store.fencing import claim
from moaa.store.ledger.ledger import Ledger
from moaa.store.objects.directory import DirectoryStore
from moaa_jobs.__main__ import collect_less

IN_FLIGHT = 128
PROMPT = "Why is the sky blue? " * 100
ANSWER = "Because of Rayleigh scattering. " * 60


class Endpoint(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, reduced to what the clients send: one POST at a time, one canned answer."""

    answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._buffer = bytearray()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[:end]).lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            if len(self._buffer) < end + 4 + length:
                return
            del self._buffer[: end + 4 + length]
            self._transport.write(self.answer)


def serve(pipe: Connection) -> None:
    """The endpoint's process: sends its port, runs until it is terminated."""
    body = json.dumps(
        {
            "id": "chatcmpl-0",
            "object": "chat.completion",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 600, "completion_tokens": 400, "total_tokens": 1000},
        }
    ).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    Endpoint.answer = head.encode() + body

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Endpoint, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


@dataclass(frozen=True)
class Cost:
    wall_s: float
    cpu_s: float


async def measure(calls: int, call: Callable[[int], Awaitable[object]]) -> Cost:
    """`calls` calls, IN_FLIGHT at a time, after a warm-up of one window."""
    numbers = iter(range(calls + IN_FLIGHT))

    async def work() -> None:
        for number in numbers:
            await call(number)

    await asyncio.gather(*(call(next(numbers)) for _ in range(IN_FLIGHT)))
    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


def messages(number: int) -> list[Message]:
    return [Message(role="user", content=f"{number} {PROMPT}")]


async def raw(url: str, calls: int) -> Cost:
    """aiohttp as a script would use it."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def call(number: int) -> str:
            body = {"model": "m", "messages": messages(number), "temperature": 0.7, "max_tokens": 2048, "seed": number}
            async with session.post(f"{url}/chat/completions", json=body) as response:
                document = await response.json()
                text: str = document["choices"][0]["message"]["content"]
                return text

        return await measure(calls, call)


async def pooled(url: str, calls: int) -> Cost:
    async with Clients([Target("m", (url,), "m", IN_FLIGHT)]) as clients:

        async def call(number: int) -> object:
            request = ChatRequest(messages(number), Decimal("0.7"), Decimal(1), 2048, seed=number)
            return await clients.complete("m", request, affinity=str(number))

        return await measure(calls, call)


async def ledgered(url: str, calls: int) -> Cost:
    inputs, fingerprint = "0" * 64, "1" * 64
    with tempfile.TemporaryDirectory(prefix="moaa-benchmark-") as folder:
        store = DirectoryStore(Path(folder))
        token = await claim(store, stage_path(Kind.GENERATE, inputs, fingerprint), "00000")
        async with (
            await Ledger.load(store, ledger_path(Kind.GENERATE, inputs), token) as ledger,
            Clients([Target("m", (url,), "m", IN_FLIGHT)]) as clients,
        ):
            shared = Calls(clients, ledger, {"m": "d" * 64}, 0, {})
            sampling = Sampling()

            async def call(number: int) -> object:
                return await shared.of(str(number)).call("turn0/aggregate", "m", messages(number), sampling)

            return await measure(calls, call)


CLIENTS: dict[str, Callable[[str, int], Awaitable[Cost]]] = {
    "aiohttp alone": raw,
    "Clients": pooled,
    "Calls with a ledger": ledgered,
}


async def run(url: str, *, calls: int, repeats: int) -> dict[str, list[Cost]]:
    """Costs by client; the clients take turns so that a busy minute of the machine falls on all of them."""
    costs: dict[str, list[Cost]] = {name: [] for name in CLIENTS}
    for _ in range(repeats):
        for name, client in CLIENTS.items():
            costs[name].append(await client(url, calls))
    return costs


def table(costs: dict[str, list[Cost]], calls: int) -> str:
    """Medians over the repeats."""
    base = statistics.median(c.cpu_s for c in costs["aiohttp alone"])
    lines = [
        "| client | CPU-s per 1,000 calls | times aiohttp's | calls a second | calls a CPU-second |",
        "|---|---|---|---|---|",
    ]
    for name, measured in costs.items():
        cpu = statistics.median(c.cpu_s for c in measured)
        wall = statistics.median(c.wall_s for c in measured)
        lines.append(
            f"| {name} | {1000 * cpu / calls:.3f} | {cpu / base:.2f} | {calls / wall:,.0f} | {calls / cpu:,.0f} |"
        )
    return "\n".join(lines)


def report(rows: str, *, calls: int, repeats: int) -> str:
    """The result as a document. Raises SystemExit: the tree is no clean commit, so the result would name nothing."""
    named = commit()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"""# Cost of a model call in the client, {datetime.now(UTC):%Y-%m-%d}

`python -m benchmarks.client --calls {calls} --repeats {repeats} --write` at commit {named};
Python {platform.python_version()}, aiohttp {version("aiohttp")}, {os.cpu_count()} CPUs ({platform.machine()}), load
average {load} when it ended. {IN_FLIGHT} calls in flight, prompts of {len(PROMPT):,} and answers of {len(ANSWER):,}
characters, one endpoint in another process on loopback. Warm-up: {IN_FLIGHT} calls a repeat. Medians of {repeats}
repeats; the clients take turns.

{rows}

Not measured: TLS, several replicas, retries, counting tokens (only prompts near the window are counted), S3.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=4000, help="of each client in each repeat")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="write client_<year><month>.md beside this file")
    options = parser.parse_args()
    collect_less()
    ours, theirs = multiprocessing.Pipe()
    endpoint = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    endpoint.start()
    try:
        url = f"http://127.0.0.1:{ours.recv()}/v1"
        costs = asyncio.run(run(url, calls=options.calls, repeats=options.repeats))
    finally:
        endpoint.terminate()
        endpoint.join()
    rows = table(costs, options.calls)
    print(rows)
    if options.write:
        file = Path(__file__).with_name(f"client_{datetime.now(UTC):%Y%m}.md")
        file.write_text(report(rows, calls=options.calls, repeats=options.repeats))
        print(f"wrote {file.name}")
    cpu = {name: statistics.median(cost.cpu_s for cost in measured) for name, measured in costs.items()}
    base = cpu["aiohttp alone"]
    figures = {
        name: {"cpu_s_per_1000": round(1000 * s / options.calls, 3), "ratio": round(s / base, 2)}
        for name, s in cpu.items()
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
