"""The state of a run, folded from its events: what a display shows, without any display."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    PENDING = "pending"
    QUEUED = "queued"
    """Waits for servers, or for room to start them."""
    RUNNING = "running"
    RETRYING = "retrying"
    FAILED = "failed"
    DONE = "done"
    REUSED = "reused"
    """Done before this runner started."""


OVERTAKEN = "another run of equal inputs is at work on it; its result is taken once it is there"


@dataclass
class StageLine:
    status: Status = Status.PENDING
    figures: dict[str, Any] = field(default_factory=dict)
    """The job's progress (docs/architecture.md, "Progress")."""
    models: tuple[str, ...] = ()
    fewer_replicas: dict[str, str] = field(default_factory=dict)
    """Models for whose replicas there is no room, as `2 of 4`."""
    error: str = ""
    seconds: float | None = None
    """None until it is done."""
    rows: int = 0
    """It worked on, once it is done."""
    failed: int = 0
    """Rows of them."""
    said: tuple[str, ...] = ()
    """What decided a promotion, and warnings."""
    started: float | None = None
    """Clock of the first attempt of this runner."""


class Board:
    """Takes events (`moaa.local.show.events`) and keeps the newest of each."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.run = ""
        self.storage = ""
        self.stages: dict[str, StageLine] = {}
        self.is_stopping = False
        """A signal came; jobs and servers are ending in order."""
        self.servers: dict[str, str] = {}
        """What each server does: starting, ready or restarting."""
        self._clock = clock

    def __call__(self, event: str, /, **fields: Any) -> None:
        if event == "run_started":
            self.run, self.storage = fields["run"], fields["storage"]
            earlier = self.stages  # stages that were done already were announced before
            self.stages = {name: earlier.get(name, StageLine()) for name in fields["stages"]}
        elif event == "run_stopping":
            self.is_stopping = True
        elif event.startswith("server_"):
            self._server(event.removeprefix("server_"), fields["model"])
        elif event.startswith("stage_"):
            self._stage(event.removeprefix("stage_"), self.stages.setdefault(fields["stage"], StageLine()), fields)

    def elapsed_s(self, line: StageLine) -> float | None:
        """Seconds a stage took, or has taken until now."""
        if line.seconds is not None:
            return line.seconds
        return None if line.started is None else self._clock() - line.started

    def _server(self, what: str, model: str) -> None:
        if what in ("failed", "stopping"):
            self.servers.pop(model, None)
        else:
            self.servers[model] = "restarting" if what == "died" else what

    def _stage(self, what: str, line: StageLine, fields: dict[str, Any]) -> None:
        match what:
            case "queued":
                line.status = Status.QUEUED
                line.models = tuple(fields["models"])
                line.started = self._clock() if line.started is None else line.started
            case "started":
                line.status = Status.RUNNING
                line.models = tuple(fields["models"])
                line.fewer_replicas = fields["fewer_replicas"]
                line.error = ""
            case "progress":
                line.figures = {name: value for name, value in fields.items() if name != "stage"}
            case "deferred":
                line.figures = {**line.figures, "waiting": fields["waiting"]}
            case "overtaken":
                line.status = Status.RETRYING
                line.error = OVERTAKEN
            case "attempt_failed":
                line.status = Status.RETRYING
                line.error = str(fields["error"])
            case "failed":
                line.status = Status.FAILED
                line.error = str(fields["error"])
            case "done":
                line.status = Status.REUSED if fields["reused"] else Status.DONE
                line.rows, line.failed, line.figures = fields["rows"], fields["failed"], {}
                line.said = tuple(fields["said"])
                # Time of this runner, servers included. Of an earlier runner only the jobs' own time is known.
                line.seconds = fields["seconds"] if line.started is None else self._clock() - line.started
