"""Run a stage's job as a process: the job file goes in, an outcome comes out.

A job says by its exit code how it ended (`moaa.contract.exits`). Even so, the stage is done only when its manifest is
in the store.
"""

import contextlib
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import assert_never

from moaa.cause import CauseKind, cause, ended
from moaa.contract import answers
from moaa.contract import environment as variables
from moaa.contract import progress as progress_document
from moaa.contract.answers import FailureAnswer
from moaa.contract.exits import Exit, exit_of
from moaa.contract.job import StageJob
from moaa.contract.progress import Figures
from moaa.local.processes.bytecode import keep_bytecode
from moaa.local.processes.process import Guarded, Guards, last, quoted
from moaa.local.serving.machine import visible

STOP_GRACE_S = 30.0
"""A job that gets SIGTERM flushes its ledger or waits for a checkpoint's upload."""


class End(StrEnum):
    """How one run of a job ended."""

    DONE = "Done"
    WAITING = "Waiting"
    """Rows wait for models that were not up."""
    PERMANENT = "Permanent"
    """Trying again cannot help."""
    FENCED = "Fenced"
    """A newer attempt, of another run, owns the work."""
    CRASHED = "Crashed"
    """Anything else; another attempt may help."""


@dataclass(frozen=True)
class Outcome:
    end: End
    seconds: float
    exit_code: int | None
    """None: it never ran."""
    error: str = ""
    waiting: dict[str, int] = field(default_factory=dict)
    """Rows that wait, by model."""
    progress: Figures = field(default_factory=lambda: Figures())
    """The job's last figures."""


@dataclass(frozen=True)
class JobFiles:
    """What one job process reads and writes on this machine; nothing durable."""

    job: Path
    progress: Path
    log: Path
    scratch: Path


def command(files: JobFiles) -> list[str]:
    return [sys.executable, "-m", "moaa_jobs", "--job", str(files.job)]


def environment(inherited: Mapping[str, str], files: JobFiles, *, gpus: tuple[str, ...], cache: Path) -> dict[str, str]:
    """The job's environment, secrets included: it reads them itself."""
    return {
        **keep_bytecode(inherited, cache=cache),
        variables.WORK_DIR: str(files.scratch),
        variables.PROGRESS_FILE: str(files.progress),
        **visible(inherited, gpus),
    }


def read_progress(file: Path) -> Figures:
    """The figures that a job last wrote; empty before the first."""
    with contextlib.suppress(FileNotFoundError):
        return progress_document.read(file.read_bytes())
    return {}


def classify(exit_code: int, *, seconds: float, log: Sequence[str], progress: Figures) -> Outcome:
    """The outcome of an exit code, with the job's own words where it left any. `log` is what it wrote.

    >>> classify(64, seconds=1.0, log=['{"error": "no rows", "permanent": true}'], progress={}).error
    'no rows'
    """
    meaning = exit_of(exit_code)
    match meaning:
        case Exit.DONE:
            return Outcome(End.DONE, seconds, exit_code, progress=progress)
        case Exit.DEFERRED:
            waiting = progress.get("waiting", {})
            return Outcome(End.WAITING, seconds, exit_code, waiting=waiting, progress=progress)
        case Exit.PERMANENT:
            end = End.PERMANENT
        case Exit.FENCED:
            end = End.FENCED
        case Exit.STOPPED | None:
            end = End.CRASHED
        case _:
            assert_never(meaning)
    if said := _said(log):
        return Outcome(end, seconds, exit_code, error=said, progress=progress)
    found = cause(log) if exit_code <= 128 else None
    if found and found.kind is CauseKind.MISSING and end is End.CRASHED:
        end = End.PERMANENT
    words = f": {found.text}" if found else f"; its last lines:\n{quoted(last(log))}"
    return Outcome(end, seconds, exit_code, error=f"the job {ended(exit_code)}{words}", progress=progress)


def _said(log: Sequence[str]) -> str | None:
    """The error a job names in its last line, where it could."""
    lines = last(log)
    failure = answers.read(lines[-1], FailureAnswer) if lines else None
    return failure.error if failure else None


class JobRun:
    """A job process that is running."""

    def __init__(self, process: Guarded, files: JobFiles) -> None:
        self._process = process
        self._files = files
        self._started = time.monotonic()

    @classmethod
    async def start(
        cls, job: StageJob, files: JobFiles, *, guards: Guards, argv: list[str], env: Mapping[str, str]
    ) -> "JobRun":
        files.scratch.mkdir(parents=True, exist_ok=True)
        files.job.parent.mkdir(parents=True, exist_ok=True)
        files.job.write_text(job.model_dump_json(by_alias=True, indent=1))
        files.progress.unlink(missing_ok=True)
        process = await guards.start(
            f"job {job.stage}", argv, env=env, log=files.log, cwd=files.scratch, grace_s=STOP_GRACE_S
        )
        return cls(process, files)

    @property
    def progress(self) -> Figures:
        return read_progress(self._files.progress)

    async def wait(self) -> Outcome:
        code = await self._process.wait()
        seconds = time.monotonic() - self._started
        return classify(code, seconds=seconds, log=self._process.written(), progress=self.progress)

    async def stop(self) -> None:
        """SIGTERM, the grace, SIGKILL; returns when nothing of it is left."""
        await self._process.stop()
