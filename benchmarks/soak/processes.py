"""Processes of this machine as /proc shows them: which are below ours, what they are, and which are left."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from moaa.local.processes import guard


class Kind(StrEnum):
    """What can be killed."""

    RUNNER = "runner"
    SERVER = "server"
    WORKER = "worker"
    JOB = "job"
    GUARD = "guard"


@dataclass(frozen=True)
class Process:
    """One process; the time of its start tells it from a later one with the same number."""

    pid: int
    started: int
    """In clock ticks since boot."""
    argv: tuple[str, ...]
    """A process that set its own title has that as the first and only part."""

    @property
    def kind(self) -> Kind | None:
        title = self.argv[0] if self.argv else ""
        match self.argv[1:4]:
            case ("-m", "moaa.cli", *_):
                return Kind.RUNNER
            case ("-m", "moaa_jobs", *_):
                return Kind.JOB
            case ("-m", "vllm.entrypoints.openai.api_server", *_):
                return Kind.SERVER
            case ("-I", "-S", script) if script == guard.__file__:
                return Kind.GUARD
        if title.startswith("VLLM::"):
            return Kind.SERVER
        return Kind.WORKER if title.startswith("ray::") and "TrainWorker" in title else None

    @property
    def title(self) -> str:
        """A short name for people."""
        match self.kind:
            case Kind.RUNNER | Kind.JOB:
                return self.argv[2]
            case Kind.GUARD:
                return "guard"
            case Kind.SERVER if "--served-model-name" in self.argv:
                return f"vllm of {self.argv[self.argv.index('--served-model-name') + 1]}"
        return self.argv[0][:40] if self.argv else "?"

    @property
    def is_alive(self) -> bool:
        """Still the same process and no zombie."""
        now = read(self.pid)
        return now is not None and now.started == self.started


def read(pid: int) -> Process | None:
    """The process, or None when there is none of that number or only its zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    # `pid (command) state ppid …`, where the command may hold anything; the start time is the 22nd field.
    fields = stat[stat.rindex(")") + 2 :].split()
    if fields[0] in "ZX":
        return None
    argv = command.rstrip(b"\0 ").decode(errors="replace").split("\0")
    return Process(pid, int(fields[19]), tuple(argv))


def below(root: int) -> list[Process]:
    """Everything that descends from a process, parents first."""
    return [found for pid in guard.descendants(root) if (found := read(pid))]


def alive(processes: Iterable[Process]) -> list[Process]:
    return [process for process in processes if process.is_alive]


def marked(marks: Iterable[str]) -> Iterator[Process]:
    """Processes other than this one whose environment or command line holds one of the marks."""
    wanted = [mark.encode() for mark in marks]
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            texts = [Path(f"/proc/{name}/{part}").read_bytes() for part in ("environ", "cmdline")]
        except OSError:  # it ended meanwhile
            continue
        if any(mark in text for mark in wanted for text in texts) and (found := read(int(name))):
            yield found
