"""When a checkpoint is written: by the clock, and never while the one before is being uploaded. Imports no torch."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

logger = logging.getLogger(__name__)

UPLOAD_WAIT_S = 3600.0
"""Longest upload of one checkpoint; training goes on meanwhile, without another."""


class Values(Protocol):
    """torch's key-value store, as far as it is used here."""

    def set(self, key: str, value: str, /) -> None: ...

    def get(self, key: str, /) -> bytes:
        """Waits until the key is set."""
        ...


class Cadence:
    """Whether a checkpoint is due after a step: `minutes` after the last one. All ranks must save together."""

    def __init__(self, values: Values, *, rank: int, minutes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._values = values
        self._rank = rank
        self._minutes = minutes
        self._clock = clock
        self._last = clock()

    def is_due(self, step: int) -> bool:
        """Every rank asks once after each step of this worker group."""
        key = f"moaa/save/{step}"
        if self._rank == 0:
            self._values.set(key, "due" if self._clock() - self._last >= 60 * self._minutes else "later")
        return self._values.get(key) == b"due"

    def saved(self) -> None:
        self._last = self._clock()


class Turn:
    """Whether a checkpoint that is due may be written. While any machine still uploads the one before, it is owed, and
    training goes on: it comes after the first step at which all are done. So a local disk holds one at a time.
    """

    def __init__(self, agree: Callable[[bool], bool], clock: Callable[[], float] = time.monotonic) -> None:
        """`agree`: whether all ranks say so; every rank asks it equally often."""
        self._agree = agree
        self._clock = clock
        self._uploading: Path | None = None
        self._since = clock()
        self._owed = False
        self.late = 0
        """Checkpoints that had to wait."""

    def comes(self, *, due: bool, step: int) -> bool:
        """Whether all ranks write one after this step; every rank asks once after each.

        Raises:
            TimeoutError: this machine's upload takes longer than `UPLOAD_WAIT_S`.
        """
        if not due and not self._owed:
            return False
        if self._agree(self._is_free()):
            return True
        if not self._owed:
            self._owed = True
            self.late += 1
            logger.warning("checkpoint_late step=%d: the one before is still being uploaded; training goes on", step)
        return False

    def begun(self, uploading: Path | None) -> None:
        """One was written; `uploading` is its folder, which goes when it is in the store, on the rank that sends it."""
        self._uploading, self._since, self._owed = uploading, self._clock(), False

    def _is_free(self) -> bool:
        if self._uploading is None or not self._uploading.exists():
            return True
        if self._clock() - self._since > UPLOAD_WAIT_S:
            raise TimeoutError(
                f"{self._uploading.name}: its upload takes more than {UPLOAD_WAIT_S:.0f} s; look at the line to the "
                "store, or write checkpoints less often (checkpointSteps)"
            )
        return False
