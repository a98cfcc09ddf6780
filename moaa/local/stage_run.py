"""One attempt of a stage: lease servers, run the job, and run it again with others while rows wait for them.

Ends in one of two ways only: the manifest is in the store, or `Failed` says why not. Rows that wait for models are no
failure as long as something new happens in a cycle over all models. Nor is another run of equal inputs that has taken
the stage over: its result is waited for, without servers, and taken. If that run falls silent, this one goes on. The
plan decides whether to try again.
"""

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from moaa.api import MoAA
from moaa.contract.job import StageJob, stage_job
from moaa.contract.progress import Figures, percent_saved
from moaa.errors import DataError, ServerError, outside
from moaa.local import jobs
from moaa.local.jobs import End, JobFiles, JobRun, Outcome
from moaa.local.meter import Meter
from moaa.local.processes.process import Guards
from moaa.local.serving import needs
from moaa.local.serving.catalogue import Catalogue
from moaa.local.serving.pool import Lease, Pool
from moaa.local.serving.server import ServerSpec
from moaa.local.show.events import Notify
from moaa.local.turns import Cycle, choose_servers, cut_short, with_replicas
from moaa.plan.forecast.replicas import for_stage
from moaa.plan.kinds.table import TRAINING
from moaa.plan.result import Identity, StageResult, ledger_path
from moaa.plan.stage import Stage
from moaa.run import records
from moaa.store import fencing
from moaa.store.objects.base import Store
from moaa.store.stages.manifest import StageManifest
from moaa.store.stages.shards import read_manifest

PROGRESS_S = 1.0
UNSHOWN = ("finished_with", "prompt_spent", "completion_spent")
"""Figures that the executor alone reads."""


class JobCommand(Protocol):
    """The command line of a job."""

    def __call__(self, files: JobFiles, /) -> list[str]: ...


@dataclass(frozen=True)
class Surroundings:
    """What every stage of a run shares."""

    resource: MoAA
    store: Store
    pool: Pool
    catalogue: Catalogue
    guards: Guards
    folder: Path
    """Logs, job files and scratch; nothing durable."""
    cache: Path
    """What runs share: weights and bytecode."""
    environment: Mapping[str, str]
    job_command: JobCommand
    notify: Notify
    look_s: float
    """Between two looks for the result of another run."""
    meter: Meter = field(default_factory=Meter)


@dataclass(frozen=True)
class Failed:
    """An attempt that left no manifest."""

    error: str
    is_permanent: bool
    """Trying again cannot help."""
    reached: int = 0
    """Percent of the work that is in the store."""


async def run_stage(
    identity: Identity, results: Mapping[str, StageResult], around: Surroundings, *, delay_s: float = 0.0
) -> StageManifest | Failed:
    """One attempt, after `delay_s`: the job runs until its manifest is there, it fails, or its rows are stuck."""
    stage = identity.stage
    await asyncio.sleep(delay_s)
    waiting: dict[str, int] = {}
    last: str | None = None
    cycle = Cycle(models=len(stage.serves))
    while True:
        outcome, last = await _recorded_run(identity, results, waiting, last, around)
        manifest = await read_manifest(around.store, identity.path)
        if manifest is not None:
            return manifest
        if outcome.end is End.FENCED:
            manifest = await _of_another_run(identity, around)
            if manifest is not None:
                return manifest
            continue
        if outcome.end is not End.WAITING:
            return _failed(stage, outcome, around)
        waiting = outcome.waiting
        if cycle.is_stuck(outcome):
            return Failed(
                f"rows wait for {_counts(waiting)}, and serving each of its models in turn brought nothing new; "
                f"its log says what they wait for: {_log(stage, around)}",
                is_permanent=True,
            )
        around.notify("stage_deferred", stage=stage.id, waiting=waiting)


async def _of_another_run(identity: Identity, around: Surroundings) -> StageManifest | None:
    """The manifest of the run that has taken the stage over; None: it writes nothing any more and has left none."""
    around.notify("stage_overtaken", stage=identity.stage.id)
    ledger = ledger_path(identity.stage.kind, identity.inputs)
    is_worked_on = True
    while is_worked_on:
        await asyncio.sleep(around.look_s)
        # First: what is written between the two looks is a sign, and the next look finds it.
        is_worked_on = await fencing.is_worked_on(around.store, identity.path, ledger, now=records.now())
        manifest = await read_manifest(around.store, identity.path)
        if manifest is not None:
            return manifest
    return None


def _failed(stage: Stage, outcome: Outcome, around: Surroundings) -> Failed:
    match outcome.end:
        case End.PERMANENT:
            return Failed(outcome.error, is_permanent=True)
        case _:
            error = outcome.error or "the job ended well but left no manifest"
            text = f"{error}\n  log: {_log(stage, around)}"
            return Failed(text, is_permanent=False, reached=percent_saved(outcome.progress))


@dataclass
class _Timing:
    """Filled while an attempt goes on, so that its record is complete even when it is cancelled."""

    started: datetime = field(default_factory=records.now)
    clock: float = field(default_factory=time.monotonic)
    job_clock: float | None = None
    servers: tuple[str, ...] = ()
    gpus: int = 0
    """That the job and its servers hold when it begins."""
    given_up: list[tuple[int, float]] = field(default_factory=list)
    """GPUs of servers that it had no more use for, and after how many seconds of the job."""

    @property
    def job_seconds(self) -> float:
        return 0.0 if self.job_clock is None else time.monotonic() - self.job_clock

    def spared(self, job_seconds: float) -> float:
        """GPU-seconds that servers would have been held for and were not."""
        return sum(gpus * (job_seconds - at) for gpus, at in self.given_up)


async def _recorded_run(
    identity: Identity,
    results: Mapping[str, StageResult],
    waiting: Mapping[str, int],
    last: str | None,
    around: Surroundings,
) -> tuple[Outcome, str | None]:
    """One run of the job, its outcome recorded whatever it is, and the model that had its turn."""
    timing = _Timing()
    try:
        outcome = await _run(identity, results, waiting, last, around, timing)
    except ServerError as error:
        end = End.PERMANENT if error.is_permanent else End.CRASHED
        outcome = Outcome(end, 0.0, None, error=str(error), progress=_said(identity, timing, around))
    except DataError as error:
        outcome = Outcome(End.PERMANENT, 0.0, None, error=str(error))
    except OSError as error:
        outcome = Outcome(End.CRASHED, 0.0, None, error=f"its job could not be started: {outside(error)}")
    except asyncio.CancelledError:
        await asyncio.shield(_record(identity, timing, around, outcome=None))
        raise
    await _record(identity, timing, around, outcome=outcome)
    return outcome, next(iter(timing.servers), last)


def _said(identity: Identity, timing: _Timing, around: Surroundings) -> Figures:
    """What the job last wrote; nothing where none was begun."""
    return jobs.read_progress(_files(identity.stage, around).progress) if timing.job_clock else Figures()


async def _record(identity: Identity, timing: _Timing, around: Surroundings, *, outcome: Outcome | None) -> None:
    figures = _said(identity, timing, around) if outcome is None else outcome.progress
    job_seconds = timing.job_seconds
    attempt = records.Attempt(
        stage=identity.stage.id,
        kind=identity.stage.kind,
        fingerprint=identity.fingerprint,
        started=timing.started,
        seconds=time.monotonic() - timing.clock,
        job_seconds=job_seconds,
        outcome="Stopped" if outcome is None else str(outcome.end),
        exit_code=None if outcome is None else outcome.exit_code,
        error="" if outcome is None else outcome.error,
        servers=timing.servers,
        waiting={} if outcome is None else outcome.waiting,
        reached=0 if outcome is None else percent_saved(outcome.progress),
        gpus=timing.gpus,
        spared_gpu_seconds=timing.spared(job_seconds),
        prompt_spent=figures.get("prompt_spent", {}),
        completion_spent=figures.get("completion_spent", {}),
    )
    around.meter.end(identity, attempt)
    await records.write_attempt(around.store, records.run_id(around.resource), attempt)


async def _run(
    identity: Identity,
    results: Mapping[str, StageResult],
    waiting: Mapping[str, int],
    last: str | None,
    around: Surroundings,
    timing: _Timing,
) -> Outcome:
    """One run of the job with the servers that can be up together. Raises ServerError, DataError (for good)."""
    stage = identity.stage
    served = for_stage(around.resource, stage, results, max_gpus=len(around.pool.capacity.gpus))
    specs = with_replicas(await around.catalogue.servers(stage.serves, results), served)
    student_gib = (
        await around.catalogue.size_gib(stage.student, results) if stage.kind in TRAINING and stage.student else 0
    )
    demand = needs.job(stage, around.resource, student_gib=student_gib)
    schedule = around.resource.spec.serving.schedule
    together = choose_servers(stage, specs, waiting, last, job=demand, pool=around.pool, schedule=schedule)
    around.notify("stage_queued", stage=stage.id, models=list(together))
    servers = {spec.key: spec for replicas in together.values() for spec in replicas}
    async with around.pool.lease(list(servers.values()), job=demand) as lease:
        timing.servers = tuple(together)
        timing.gpus = len(lease.gpus) + sum(spec.demand.gpus for spec in servers.values())
        timing.job_clock = time.monotonic()
        job = _job(identity, results, together, lease, around)
        files = _files(stage, around)
        run = await JobRun.start(
            job,
            files,
            guards=around.guards,
            argv=around.job_command(files),
            env=jobs.environment(around.environment, files, gpus=lease.gpus, cache=around.cache),
        )
        fewer = cut_short(together)
        around.notify("stage_started", stage=stage.id, models=list(together), fewer_replicas=fewer, log=str(files.log))
        try:
            return await _watch(identity, run, Served(together, lease), around, timing)
        finally:
            await asyncio.shield(run.stop())


@dataclass(frozen=True)
class Served:
    """The servers of one run of a job, by the names its stage uses."""

    together: Mapping[str, Sequence[ServerSpec]]
    lease: Lease

    def of_no_use(self, finished_with: Collection[str]) -> list[ServerSpec]:
        """Those held by the lease that no other model needs, each once."""
        needed = {spec.key for name, specs in self.together.items() if name not in finished_with for spec in specs}
        held = {spec.key: spec for specs in self.together.values() for spec in specs}
        return [spec for key, spec in held.items() if key not in needed | self.lease.given_up]


def _give_up(served: Served, finished_with: Collection[str], around: Surroundings, timing: _Timing) -> None:
    """Let go of servers that the job will not ask again."""
    specs = served.of_no_use(finished_with)
    if specs:
        timing.given_up.append((sum(spec.demand.gpus for spec in specs), timing.job_seconds))
        around.pool.give_up(served.lease, [spec.key for spec in specs])


async def _watch(identity: Identity, run: JobRun, served: Served, around: Surroundings, timing: _Timing) -> Outcome:
    """Until the job ends, or a server is broken for good (ServerError)."""
    ended = asyncio.ensure_future(run.wait())
    broken = asyncio.ensure_future(served.lease.broken())
    shown: Figures = {}
    try:
        while not ended.done():
            await asyncio.wait({ended, broken}, timeout=PROGRESS_S, return_when=asyncio.FIRST_COMPLETED)
            figures = run.progress
            seconds = timing.job_seconds
            around.meter.saw(identity, figures, gpu_seconds=timing.gpus * seconds - timing.spared(seconds))
            if not ended.done():
                _give_up(served, figures.get("finished_with", ()), around, timing)
            if figures != shown:
                shown = figures
                around.notify("stage_progress", **{"stage": identity.stage.id, **_for_people(figures)})
            if broken.done() and not ended.done():
                raise broken.result()
        return ended.result()
    finally:
        for task in (ended, broken):
            task.cancel()
        await asyncio.gather(ended, broken, return_exceptions=True)


def _for_people(figures: Figures) -> dict[str, object]:
    return {name: value for name, value in figures.items() if name not in UNSHOWN}


def _job(
    identity: Identity,
    results: Mapping[str, StageResult],
    together: Mapping[str, Sequence[ServerSpec]],
    lease: Lease,
    around: Surroundings,
) -> StageJob:
    urls = {name: [lease.servers[spec.key].url for spec in replicas] for name, replicas in together.items()}
    return stage_job(
        identity,
        around.resource,
        results,
        run=records.run_id(around.resource),
        endpoints=urls,
        served_names={name: replicas[0].name for name, replicas in together.items()},
    )


def _files(stage: Stage, around: Surroundings) -> JobFiles:
    jobs_folder = around.folder / "jobs"
    return JobFiles(
        job=jobs_folder / f"{stage.id}.json",
        progress=jobs_folder / f"{stage.id}.progress.json",
        log=_log(stage, around),
        scratch=around.folder / "scratch",
    )


def _log(stage: Stage, around: Surroundings) -> Path:
    return around.folder / "logs" / f"{stage.id}.log"


def _counts(waiting: Mapping[str, int]) -> str:
    return ", ".join(f"{model} ({rows})" for model, rows in waiting.items()) or "models that the job did not name"
