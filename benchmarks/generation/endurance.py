"""A job that is killed with -9 at half of its work and started again, and the memory of jobs of many rows."""

import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.generation.cell import serving, told, until_asked
from benchmarks.generation.engine import Speed
from benchmarks.generation.job import Prepared
from benchmarks.generation.rows import MODELS, STAGE
from benchmarks.generation.server import Fleet

WARM_CALLS = 4000
"""After which a job has its memory: rows in flight, a shard's ledger, imports."""
FAST = Speed(factor=10.0)


@dataclass(frozen=True)
class Killed:
    """What a kill costs."""

    calls: int
    """All that the stage needs."""
    in_flight: int
    """When it was killed; these nobody can save."""
    sent_again: int
    """These, and what was answered but not yet durable."""
    first_call_s: float
    """From the second start to the first request of the second job."""


@dataclass(frozen=True)
class Memory:
    """Peaks of the two jobs that read every row."""

    rows: int
    generate_mib: float
    """When `WARM_CALLS` calls were made."""
    first_call_s: float
    stage_data_mib: float
    stage_data_s: float


def kill(prepared: Prepared, folder: Path, *, replicas: int, speed: Speed) -> Killed:
    """Kill the stage's job when half of its calls were asked, and let another end it."""
    folder.mkdir(parents=True)
    resource = prepared.resource(prepared.copy_store(folder), {})
    with serving(Fleet(MODELS, replicas, speed)) as urls:
        job = prepared.start(STAGE, resource, folder, urls)
        until_asked(urls, prepared.rows * len(MODELS) // 2, job)
        job.kill()
        before = told(urls, "stats")
        job.wait(expected=-9)
        asked = before["requests"]
        in_flight = asked - sum(map(len, before["answers"].values()))
        again = prepared.start(STAGE, resource, folder, urls)
        until_asked(urls, asked, again)
        first_call_s = time.monotonic() - again.started
        again.wait()
        seen = told(urls, "stats")
    return Killed(seen["distinct"], in_flight, seen["requests"] - seen["distinct"], first_call_s)


def memory(folder: Path, *, rows: int) -> Memory:
    """Stage `rows` prompts and let the generating job work until it has its memory; it is not let end."""
    prepared = Prepared(folder / "prepared", rows)
    prepared.write()
    staged = prepared.used["i0-stage-data"]
    resource = prepared.resource(prepared.copy_store(folder), {})
    with serving(Fleet(MODELS, 4, FAST)) as urls:
        job = prepared.start(STAGE, resource, folder, urls)
        until_asked(urls, 0, job)
        first_call_s = time.monotonic() - job.started
        until_asked(urls, WARM_CALLS, job)
        peak_mib = job.peak_mib()
        job.kill()
        job.wait(expected=-9)
    return Memory(rows, peak_mib, first_call_s, staged.peak_mib, staged.wall_s)
