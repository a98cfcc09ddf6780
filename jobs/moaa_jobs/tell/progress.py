"""How far a job is: a small JSON file replaced about once a second, and one log line a step.

The file is for displays (a terminal, a status); nothing resumes from it.
"""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Unpack

from moaa.contract.progress import Figures, text_of

logger = logging.getLogger(__name__)

WRITE_EVERY_S = 1.0
LOG_EVERY_S = 15.0
UNLOGGED = ("waiting", "finished_with", "prompt_spent", "completion_spent")
"""Figures by model."""


class Progress:
    """Collects figures of one stage; `update` is cheap enough for every row."""

    def __init__(self, stage: str, file: Path | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._clock = clock
        self._figures: Figures = {"stage": stage}
        self._started = clock()
        self._written = float("-inf")
        self._logged = self._started
        self._first: dict[str, tuple[float, int]] = {}
        """For each kind of work, when it was first reported and how much was done then. Work of an earlier attempt, or
        in a checkpoint, must not count towards the speed of this one."""

    @property
    def figures(self) -> Figures:
        return self._figures.copy()

    def update(self, **figures: Unpack[Figures]) -> None:
        """Set figures (`moaa.contract.progress`); writes and logs when it is time."""
        self._figures.update(figures)
        now = self._clock()
        self._derive(now)
        if now - self._written >= WRITE_EVERY_S:
            self._write(now)
        if now - self._logged >= LOG_EVERY_S:
            self._log(now)

    def finish(self) -> None:
        """Write and log the last figures at once."""
        now = self._clock()
        self._derive(now)
        self._write(now)
        self._log(now)

    def _derive(self, now: float) -> None:
        elapsed = max(now - self._started, 1e-9)
        for done_name, total_name in (("rows_done", "rows_total"), ("step", "steps")):
            done, total = self._figures.get(done_name), self._figures.get(total_name)
            if not isinstance(done, int) or not isinstance(total, int):
                continue
            since, before = self._first.setdefault(done_name, (now, done))
            if before < done <= total:
                self._figures["eta_s"] = round((now - since) / (done - before) * (total - done), 1)
        tokens = self._figures.get("completion_tokens")
        if isinstance(tokens, int):
            self._figures["tokens_per_s"] = round(tokens / elapsed, 1)

    def _write(self, now: float) -> None:
        self._written = now
        if self._file is None:
            return
        temporary = self._file.with_suffix(f".{os.getpid()}")
        try:
            temporary.write_text(text_of(self._figures))
            temporary.replace(self._file)
        except OSError as error:  # a full disk must not end a stage whose store is elsewhere
            logger.warning("progress_not_written file=%s error=%s", self._file.name, error.strerror)

    def _log(self, now: float) -> None:
        self._logged = now
        logger.info("progress %s", " ".join(f"{k}={v}" for k, v in self._figures.items() if k not in UNLOGGED))
