"""`kill -9` at random times: a runner that is killed is started again, everything else has to come back by itself."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.soak.processes import Kind, Process, alive, below
from benchmarks.soak.world import POLL_S, Runner, World, until
from moaa.local.serving.server import MAX_RESTARTS

GAP_S = (2.0, 30.0)
"""From the recovery after a kill to the next kill."""
HASTE = 0.25
"""How often the next kill does not wait for the recovery from this one."""
EAGER = 0.7
"""How often a worker is taken when there is one: trainings are short beside the rest."""
BACK_S = 300.0
GONE_S = 90.0
"""A guard gives a job 30 s to flush and what remains 30 s to be killed; the rest is a slow machine's."""

SIGNS = {
    Kind.RUNNER: {"stage_started", "stage_done", "run_ended"},
    Kind.JOB: {"stage_started", "stage_done", "run_ended"},
    Kind.GUARD: {"stage_started", "stage_done", "server_ready", "server_stopping", "run_ended"},
    Kind.SERVER: {"server_ready", "server_stopping", "run_ended"},
    Kind.WORKER: {"stage_started", "stage_done", "run_ended"},
}
"""Events that tell that the work goes on; a new worker does too."""


@dataclass
class Kill:
    number: int
    time: str
    kind: Kind
    pid: int
    title: str
    stages: list[str]
    """Whose jobs ran."""
    back_s: float | None = None
    """Seconds until the work went on; None: the next kill did not wait for it."""
    gone_s: float | None = None
    """Of a runner: seconds until nothing that ran below it was left; None otherwise, or when it stayed."""

    def __str__(self) -> str:
        back = "" if self.back_s is None else f"  back after {self.back_s:.1f} s"
        during = ", ".join(self.stages) or "no stage"
        return f"kill {self.number:2}  {self.time}  {self.kind:<6}  {self.title} ({self.pid}) during {during}{back}"


class Disturbance:
    """Makes the kills of one run; how many of each kind are left is shared by all runs."""

    def __init__(self, world: World, file: Path, *, left: Counter[Kind], rng: random.Random) -> None:
        self.kills: list[Kill] = []
        self.stuck: list[str] = []
        """What did not end after its runner was killed, or did not come back."""
        self._world = world
        self._file = file
        self._left = left
        self._rng = rng

    async def run(self, *, first: int) -> int:
        """Run and kill until the run ends by itself; returns its exit code. Kills are numbered from `first`."""
        async with asyncio.TaskGroup() as tasks:
            runner = await Runner.start(self._world, tasks, self._file)
            while self._left.total() and not await runner.ended_within(self._rng.uniform(*GAP_S)):
                target = await self._target(runner)
                if target is None:
                    break
                mark = len(self._world.events)
                kill = self._kill(target, runner, number=first + len(self.kills))
                self.kills.append(kill)
                if kill.kind is Kind.RUNNER:
                    await runner.wait()
                    tasks.create_task(self._until_gone(kill, runner.seen, since=time.monotonic()))
                    runner = await Runner.start(self._world, tasks, self._file)
                if self._rng.random() >= HASTE:
                    await self._until_back(kill, runner, mark)
                print(kill, flush=True)
            return await runner.wait()

    def _kill(self, target: Process, runner: Runner, *, number: int) -> Kill:
        runner.look()
        kind = target.kind
        assert kind is not None, "a target is of a kind"
        now = datetime.now(UTC).strftime("%H:%M:%S")
        kill = Kill(number, now, kind, target.pid, target.title, sorted(runner.running))
        if kind is Kind.SERVER and target not in below(runner.pid):
            self._world.teachers_killed += 1
        self._left[kind] -= 1
        os.kill(target.pid, signal.SIGKILL)
        return kill

    async def _target(self, runner: Runner) -> Process | None:
        """What to kill, as soon as there is something; None when the run ended before."""
        while runner.is_running:
            found = self._candidates(runner)
            kinds = sorted(kind for kind in found if self._left[kind] > 0)
            if kinds:
                kind = self._rng.choices(kinds, [self._left[kind] for kind in kinds])[0]
                if Kind.WORKER in kinds and self._rng.random() < EAGER:
                    kind = Kind.WORKER
                return self._rng.choice(found[kind])
            await asyncio.sleep(POLL_S)
        return None

    def _candidates(self, runner: Runner) -> dict[Kind, list[Process]]:
        own = below(runner.pid)
        found: dict[Kind, list[Process]] = {}
        for process in below(os.getpid()):
            kind = process.kind
            is_teacher = process.pid != runner.pid and process not in own
            if kind is None or (is_teacher and kind is not Kind.SERVER):
                continue  # the teachers' guards hold up the scenery
            if is_teacher and self._world.teachers_killed >= MAX_RESTARTS:
                continue  # should they all have hit one, it would not come back
            found.setdefault(kind, []).append(process)
        return found

    async def _until_back(self, kill: Kill, runner: Runner, mark: int) -> None:
        workers = {process for process in runner.seen if process.kind is Kind.WORKER}

        def is_back() -> bool:
            if any(event in SIGNS[kill.kind] for event, _ in self._world.events[mark:]) or not runner.is_running:
                return True
            return kill.kind is Kind.WORKER and any(
                process.kind is Kind.WORKER and process not in workers for process in below(runner.pid)
            )

        kill.back_s = await until(is_back, BACK_S)
        if kill.back_s is None:
            self.stuck.append(f"kill {kill.number}: the work did not go on in {BACK_S:.0f} s")

    async def _until_gone(self, kill: Kill, processes: set[Process], *, since: float) -> None:
        if await until(lambda: not alive(processes), GONE_S) is None:
            names = ", ".join(f"{process.title} ({process.pid})" for process in alive(processes))
            self.stuck.append(f"kill {kill.number}: still there {GONE_S:.0f} s after their runner: {names}")
        else:
            kill.gone_s = round(time.monotonic() - since, 1)
