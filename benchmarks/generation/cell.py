"""One cell: a fleet, a client, and how near it came to the ideal."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, assert_never

from benchmarks.generation.engine import Speed
from benchmarks.generation.job import Prepared, Process
from benchmarks.generation.policy import in_virtual_time
from benchmarks.generation.rows import AGGREGATOR, MODELS, STAGE, Rows
from benchmarks.generation.server import Fleet
from moaa.api.models import Endpoint
from moaa.client.target import START_CONCURRENCY, Target
from moaa.plan.kinds.table import rows_per_shard
from moaa.plan.stage import Kind
from moaa.store.stages.shards import shard_names
from moaa_jobs.runner.settings import JobSettings

POLL_S = 0.05
MOST = 4096
"""The resource allows no more."""
BUSY = 0.75
"""Of a core: a process above it is at its own limit."""
STARVED = 0.03
"""Of its time that a process waited for a core: above it, other processes are measured, too."""


class Client(StrEnum):
    """Who asks."""

    SERVED = "ours, served by us"
    """Every replica known, with as many slots as its server was started with."""
    ENDPOINT = "ours, an endpoint's defaults"
    """One address, 32 calls at first."""
    TUNED = "ours, an endpoint with maxConcurrency"
    """One address; a fourth more than the fleet's slots at most."""
    SHARDS = "ours, served by us, a process a core"
    BARE = "bare aiohttp"


@dataclass(frozen=True)
class Cell:
    """`rows` rows by a client and `replicas` replicas a model."""

    client: Client
    replicas: int
    rows: int
    speed: Speed

    @property
    def slots(self) -> int:
        return self.replicas * self.speed.slots

    @property
    def name(self) -> str:
        fast = f" x{self.speed.factor:g}" if self.speed.factor != 1 else ""
        return f"{self.client}, {self.replicas}{fast}"


@dataclass(frozen=True)
class Near:
    """How near a client came to the ideal: its time over ours."""

    whole: float
    """First request to last answer."""
    middle: float
    """From a quarter to three quarters of the rows."""


@dataclass(frozen=True)
class Measured:
    """Figures of one cell."""

    cell: Cell
    near: Near
    first_s: float
    """From the start of the process to its first request."""
    calls_per_s: float
    client_cpu_s_per_1000: float
    """From the first request on."""
    client_busy: float
    """CPU-seconds a second, of each process of the client."""
    server_busy: float
    client_waited: float
    """Of its time, for a core; of the client's process that waited most."""
    server_waited: float
    cache_hits: float
    """Of the prompts' tokens."""
    sent_again: int
    peak_mib: float

    @property
    def is_cpu_limited(self) -> bool:
        busiest, starved = max(self.client_busy, self.server_busy), max(self.client_waited, self.server_waited)
        return busiest > BUSY or starved > STARVED


@contextmanager
def serving(fleet: Fleet) -> Iterator[Mapping[str, list[str]]]:
    """The servers of a cell, until the block ends; yields base URLs by model."""
    command = [sys.executable, "-m", "benchmarks.generation.server", fleet.text()]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    try:
        assert child.stdout is not None
        yield json.loads(child.stdout.readline())
    finally:
        child.terminate()
        child.wait()


def told(urls: Mapping[str, Sequence[str]], what: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{urls[AGGREGATOR][0]}/{what}", timeout=60) as response:
        found: dict[str, Any] = json.load(response)
        return found


def most_at_once(cell: Cell) -> int | None:
    """An endpoint's `maxConcurrency`; None where every replica is known."""
    match cell.client:
        case Client.SERVED | Client.SHARDS | Client.BARE:
            return None
        case Client.ENDPOINT:
            return int(Endpoint.model_fields["max_concurrency"].default)
        case Client.TUNED:
            return min(MOST, cell.slots * 5 // 4)
        case _:
            assert_never(cell.client)


def simulate(cell: Cell, rows: Rows, ideal: Sequence[float]) -> Near:
    """The cell in virtual time (`policy`)."""
    most = most_at_once(cell)
    ports = range(1 if most else cell.replicas)
    targets = [
        Target(
            model,
            tuple(f"http://127.0.0.1:{1 + number * cell.replicas + port}/v1" for port in ports),
            model,
            most or cell.speed.slots,
            START_CONCURRENCY if most else None,
        )
        for number, model in enumerate(MODELS)
    ]
    in_flight: int = JobSettings.model_fields["rows_in_flight"].default
    ends = in_virtual_time(rows, targets, replicas=cell.replicas, speed=cell.speed, most=in_flight)
    return Near(ideal[-1] / ends[-1], middle(ideal) / middle(ends))


def until_asked(urls: Mapping[str, Sequence[str]], more_than: int, client: Process) -> None:
    """Wait until the servers were asked so often. Raises SystemExit: the client ended before."""
    while told(urls, "asked")["requests"] <= more_than:
        client.check_runs()
        time.sleep(POLL_S)


def measure(cell: Cell, prepared: Prepared, ideal: Sequence[float], folder: Path) -> Measured:
    """Run the cell; `ideal` are the ends of its rows in the best case."""
    folder.mkdir(parents=True)
    fleet = Fleet(MODELS, cell.replicas, cell.speed, gateway=most_at_once(cell) is not None)
    with serving(fleet) as urls:
        clients = _start(cell, prepared, urls, folder)
        started = min(client.started for client in clients)
        for client in clients:
            until_asked(urls, 0, client)
        before_s = [client.cpu_s() for client in clients]
        used = [client.wait() for client in clients]
        seen = told(urls, "stats")
    ends = sorted(seen["answers"][AGGREGATOR])
    first, last = min(seen["arrivals"]), max(end for answers in seen["answers"].values() for end in answers)
    wall_s, calls = last - first, seen["requests"]
    cpu_s = [one.cpu_s - before for one, before in zip(used, before_s, strict=True)]
    return Measured(
        cell,
        Near(ideal[-1] / wall_s, middle(ideal) / middle(ends)),
        first_s=first - started,
        calls_per_s=calls / wall_s,
        client_cpu_s_per_1000=1000 * sum(cpu_s) / calls,
        client_busy=max(cpu_s) / wall_s,
        server_busy=seen["cpu_s"] / wall_s,
        client_waited=max(one.waited_s / one.wall_s for one in used),
        server_waited=seen["waited_s"] / wall_s,
        cache_hits=seen["cached_tokens"] / seen["prompt_tokens"],
        sent_again=calls - seen["distinct"],
        peak_mib=max(one.peak_mib for one in used),
    )


def middle(ends: Sequence[float]) -> float:
    """Seconds from a quarter to three quarters of the rows."""
    return ends[len(ends) * 3 // 4] - ends[len(ends) // 4]


def _start(cell: Cell, prepared: Prepared, urls: Mapping[str, list[str]], folder: Path) -> list[Process]:
    if cell.client is Client.BARE:
        said = prepared.resource(folder / "store", {}).model_dump(mode="json", by_alias=True, exclude_unset=True)
        task = {"resource": said, "rows": cell.rows, "urls": urls, "at_once": cell.slots}
        command = [sys.executable, "-m", "benchmarks.generation.bare", json.dumps(task)]
        return [Process(command, folder / "bare.log")]
    store = prepared.copy_store(folder)
    most = most_at_once(cell)
    endpoints = {} if most is None else {m: {"url": urls[m][0], "maxConcurrency": most} for m in MODELS}
    resource = prepared.resource(store, endpoints)
    served = {} if endpoints else urls
    if cell.client is Client.SHARDS:
        shards = range(len(shard_names(cell.rows, rows_per_shard(Kind.GENERATE))))
        return [prepared.start(STAGE, resource, folder, served, shard=shard) for shard in shards]
    return [prepared.start(STAGE, resource, folder, served)]
