"""What is disturbed: a reduced tiny resource, teachers that are served here, and `moaa run` as a process."""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.soak import counting
from benchmarks.soak.processes import Process, below
from benchmarks.tiny_claims import TINY, Document, main_resource
from moaa.api.models import Serving
from moaa.local.options import cache_folder
from moaa.local.processes.process import Guards
from moaa.local.serving.catalogue import VllmLaunch
from moaa.local.serving.machine import Capacity, Demand
from moaa.local.serving.pool import Pool
from moaa.local.serving.server import ServerSpec

ROOT = Path(__file__).resolve().parents[2]
TEACHERS = ("proposer-a", "proposer-b", "aggregator")
COUNTED = ["--middleware", f"{counting.Recorder.__module__}.{counting.Recorder.__name__}"]
MARK = "MOAA_SOAK"
"""Environment variable of everything that is started here, so that what is left over can be told."""
WATCH_S = 0.5
POLL_S = 0.2
LEFT = frozenset({"stage_done", "stage_failed", "stage_attempt_failed", "stage_deferred"})
"""Events after which a stage's job no longer runs."""


async def until(condition: Callable[[], bool], timeout_s: float) -> float | None:
    """Seconds until the condition held, or None when it did not in time."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > timeout_s:
            return None
        await asyncio.sleep(POLL_S)
    return time.monotonic() - started


def resource(seed: int, folder: Path, urls: dict[str, str], *, iterations: int, name: str = "soak") -> Path:
    """Write the reduced resource into the folder, its store beside it, and return the file.

    Small enough for minutes on two cores, large enough that every stage has something to lose: several flushes of a
    ledger, several checkpoints of a training. The tiny models sometimes answer nothing, hence the tolerated failures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    document = main_resource(seed, folder, urls)
    document["metadata"]["name"] = name
    spec: Document = document["spec"]
    spec["models"] = [model for model in spec["models"] if model["name"] in (*TEACHERS, "student")]
    student = spec["models"][-1]
    student["serving"] = {**student["serving"], "args": [*student["serving"]["args"], *COUNTED]}
    proposers = spec["mixture"]["layers"][0]["proposers"]
    spec["mixture"]["layers"][0]["proposers"] = [part for part in proposers if part["model"] in TEACHERS]
    spec["mixture"]["minProposals"] = 1
    spec["judge"]["judges"] = [part for part in spec["judge"]["judges"] if part["model"] in TEACHERS]
    spec["anchors"]["floor"] = "0"  # kills are what this is about, and there are fewer judges than the world has
    spec["data"]["sft"][0]["limit"], spec["data"]["preference"][0]["limit"] = 64, 48
    spec["evaluation"]["selection"][0]["limit"] = 48
    spec["evaluation"] = {"selection": spec["evaluation"]["selection"], "members": False}
    spec["training"]["resources"]["maxFailures"] = 10
    spec["training"]["sft"] |= {"epochs": "6", "batchSize": 16, "microBatchSize": 8, "checkpointSteps": 4}
    spec["training"]["dpo"] |= {"samples": 3, "epochs": "6", "checkpointSteps": 4}
    spec["iterations"] = iterations
    spec["failures"] = {"maxFraction": "0.3", "retries": 20}
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


@dataclass
class World:
    """Folders, environment and everything that was reported so far."""

    folder: Path
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Of every runner and of the teachers, in the order in which they came."""
    teachers_killed: int = 0

    @property
    def calls(self) -> Path:
        """Where servers note what they are asked."""
        return self.folder / "calls"

    @property
    def environment(self) -> dict[str, str]:
        path = [str(ROOT), str(ROOT / "jobs"), os.environ.get("PYTHONPATH", "")]
        return {
            **os.environ,
            "PYTHONPATH": ":".join(part for part in path if part),
            counting.FOLDER_VARIABLE: str(self.calls),
            MARK: str(self.folder),
        }

    def notify(self, event: str, /, **fields: object) -> None:
        self.events.append((event, fields))

    @asynccontextmanager
    async def teachers(self) -> AsyncIterator[dict[str, str]]:
        """The teachers, each in a vLLM of its own that comes back when it is killed; yields their base URLs."""
        serving = Serving(
            gpus=0, max_model_len=256, max_concurrency=64, args=["--dtype", "float32", "--enforce-eager", *COUNTED]
        )
        specs = [
            ServerSpec(name, name, TINY / "models" / name, serving, Demand(1.5), startup_s=900.0) for name in TEACHERS
        ]
        guards = Guards()
        try:
            async with asyncio.TaskGroup() as tasks:
                pool = Pool(
                    Capacity(memory_gib=1.5 * len(specs)),
                    tasks=tasks,
                    guards=guards,
                    launch=VllmLaunch(cache=cache_folder(), inherited=self.environment),
                    log_folder=self.folder / "teachers",
                    notify=self.notify,
                )
                try:
                    async with pool.lease(specs) as lease:
                        yield {name: server.url for name, server in lease.servers.items()}
                finally:
                    await pool.close()
        finally:
            await guards.close()

    async def run(self, file: Path, *options: str) -> int:
        """The exit code of a `moaa run` that nobody disturbs."""
        async with asyncio.TaskGroup() as tasks:
            return await (await Runner.start(self, tasks, file, *options)).wait()


class Runner:
    """One `moaa run` process: what it says, and what runs below it."""

    def __init__(self, world: World, tasks: asyncio.TaskGroup, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.seen: set[Process] = set()
        """Everything that was ever found below it."""
        self.running: set[str] = set()
        """Stages whose jobs run."""
        self._world = world
        self._listening = tasks.create_task(self._listen())
        self._watching = tasks.create_task(self._watch())

    @classmethod
    async def start(cls, world: World, tasks: asyncio.TaskGroup, file: Path, *options: str) -> "Runner":
        """`moaa run` of a resource, from where it stands. `tasks` end when it does."""
        workdir = file.parent / "work"
        command = [sys.executable, "-m", "moaa.cli", "run", str(file), "--workdir", str(workdir), "--json", *options]
        with (file.parent / "moaa.log").open("ab") as log:
            # In our session: the pool of teachers would take a child in another one for something to sweep.
            process = await asyncio.create_subprocess_exec(
                *command, env=world.environment, stdout=asyncio.subprocess.PIPE, stderr=log, limit=1024 * 1024
            )
        return cls(world, tasks, process)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process.returncode is None

    def look(self) -> None:
        """Remember what runs below it now."""
        self.seen.update(below(self.pid))

    async def wait(self) -> int:
        """The exit code, once all it said is read."""
        code = await self.process.wait()
        await self._listening
        self._watching.cancel()
        self.running.clear()
        return code

    async def ended_within(self, seconds: float) -> bool:
        """Whether it ended in that time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.process.wait()
        return not self.is_running

    async def _listen(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            fields = json.loads(line)
            event, stage = fields.pop("event"), fields.get("stage")
            if event == "stage_started":
                self.running.add(stage)
            elif event in LEFT:
                self.running.discard(stage)
            self._world.notify(event, **fields)

    async def _watch(self) -> None:
        while self.is_running:
            self.look()
            await asyncio.sleep(WATCH_S)
