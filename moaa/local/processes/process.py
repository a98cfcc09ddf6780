"""Processes of the runner: each behind a guard, each with a log file, none of them left behind.

`Guards` owns the pipe that ties every guard to this process. The kernel closes its write end however the runner ends,
so the children go without any code here. `moaa.local.processes.guard` holds the other half of the promise.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from moaa.local.processes import guard

MAX_SHOWN_CHARS = 400
SHOWN_LINES = 15
LOG_TAIL_BYTES = 32 * 1024
"""How far from its end a log is read for an error message."""
SEARCHED_BYTES = 256 * 1024
"""How far from its beginning and its end a log is searched for why a process ended. What it could not load stands at
the beginning, what it died of at the end."""


def tail(log: Path, *, since: int = 0, lines: int = SHOWN_LINES) -> list[str]:
    """The last lines of a log that are not blank, whole and oldest first, from byte `since` on. Empty without a log."""
    with contextlib.suppress(FileNotFoundError), log.open("rb") as file:
        file.seek(max(since, file.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
        return last(file.read().decode(errors="replace").splitlines(), count=lines)
    return []


def last(lines: Sequence[str], *, count: int = SHOWN_LINES) -> list[str]:
    """The last ones that are not blank."""
    return [line.rstrip() for line in lines if line.strip()][-count:]


def written(log: Path, *, since: int = 0) -> list[str]:
    """The lines of a log from byte `since` on, whole and oldest first; of a long one its beginning and its end."""
    with contextlib.suppress(FileNotFoundError), log.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(since)
        head = file.read(SEARCHED_BYTES)
        file.seek(max(since + len(head), end - SEARCHED_BYTES))
        return (head + file.read()).decode(errors="replace").splitlines()
    return []


def quoted(lines: Sequence[str]) -> str:
    """Lines of a log as a part of an error message: indented, and cut where they are very long."""
    return "\n".join(f"    {line[:MAX_SHOWN_CHARS]}" for line in lines)


@dataclass(frozen=True)
class Guarded:
    """One running command. `stop` and `wait` may be called by several tasks, in any order."""

    name: str
    process: asyncio.subprocess.Process
    log: Path
    log_start: int
    """Size of the log when this command began; what stands before is an earlier command's."""
    grace_s: float

    @property
    def pid(self) -> int:
        """Of the guard; the command is its child."""
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process.returncode is None

    def last_lines(self) -> list[str]:
        """The end of what this command wrote."""
        return tail(self.log, since=self.log_start)

    def written(self) -> list[str]:
        """What this command wrote; of much its beginning and its end."""
        return written(self.log, since=self.log_start)

    async def wait(self) -> int:
        """The command's exit code; 128 + n when signal n ended it or its guard."""
        code = await self.process.wait()
        if code < 0:  # The guard was killed. Processes that the kernel did not end with it are now ours.
            await asyncio.to_thread(sweep_adopted)
            return 128 - code
        return code

    async def stop(self) -> int:
        """SIGTERM, the grace, SIGKILL to all below; returns the exit code once nothing is left."""
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(self.grace_s + guard.SWEEP_TIMEOUT_S):
                return await self.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            return await self.wait()


def sweep_adopted() -> None:
    """Kill what killed guards left to us, until nothing of it is left.

    One look is not enough: the kernel kills a guard's command with the guard, and the command's own children fall to
    us only when it is gone, perhaps between two lines of this function.
    """
    while adopted := _adopted():
        for pid in adopted:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                guard.signal_all([*reversed(guard.descendants(pid)), pid], signal.SIGKILL)
                os.waitpid(pid, 0)


def _adopted() -> list[int]:
    """Children of this process that it did not start: those of another session than its own. Every guarded command has
    a session of its own; whatever else this process started shares its."""
    me, session = os.getpid(), os.getsid(0)
    found: list[int] = []
    for pid, (parent, _) in guard.process_table().items():
        with contextlib.suppress(ProcessLookupError):
            if parent == me and os.getsid(pid) != session and not _is_guard(pid):
                found.append(pid)
    return found


def _is_guard(pid: int) -> bool:
    """Whether `pid` is a guard, or about to be one: between fork and exec it still shows this process's command."""
    with contextlib.suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        return guard.__file__.encode() in command.split(b"\0") or command == Path("/proc/self/cmdline").read_bytes()
    return False


class Guards:
    """Starts guarded commands; all of them end when this process does."""

    def __init__(self, *, hold_fd: int | None = None) -> None:
        """`hold_fd`: a descriptor that every guard keeps open until nothing below it is left."""
        self._hold_fd = hold_fd
        self._read_fd, self._write_fd = os.pipe()
        self._started: list[Guarded] = []

    async def start(
        self, name: str, command: Sequence[str], *, env: Mapping[str, str], log: Path, cwd: Path, grace_s: float
    ) -> Guarded:
        """Start `command` with exactly `env`; its output is appended to `log`."""
        log.parent.mkdir(parents=True, exist_ok=True)
        supervised = [sys.executable, "-I", "-S", guard.__file__, "--parent-fd", str(self._read_fd)]
        kept = [self._read_fd]
        if self._hold_fd is not None:
            supervised += ["--hold-fd", str(self._hold_fd)]
            kept.append(self._hold_fd)
        supervised += ["--grace-s", str(grace_s), "--", *command]
        with log.open("ab") as output:
            log_start = output.tell()
            spawning = asyncio.ensure_future(
                asyncio.create_subprocess_exec(
                    *supervised,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=dict(env),
                    cwd=cwd,
                    pass_fds=kept,
                    start_new_session=True,
                )
            )
            try:
                process = await asyncio.shield(spawning)
            except asyncio.CancelledError:
                # The caller has gone; the process must not live on without an owner.
                await Guarded(name, await spawning, log, log_start, grace_s).stop()
                raise
        started = Guarded(name, process, log, log_start, grace_s)
        self._started = [*(other for other in self._started if other.is_running), started]
        return started

    async def close(self) -> None:
        """End everything that still runs and wait until it is gone."""
        await asyncio.gather(*(running.stop() for running in self._started if running.is_running))
        os.close(self._write_fd)
        os.close(self._read_fd)


def become_subreaper() -> None:
    """Make this process the parent of what a killed guard leaves behind. Once, in the entry point.

    Raises OSError: not Linux, or the kernel refused.
    """
    guard.prctl(guard.PR_SET_CHILD_SUBREAPER, 1)
