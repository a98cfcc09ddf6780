"""Checkpoints by the clock: rank 0's, which every other rank follows. Imports no torch."""

import time
from collections.abc import Callable
from typing import Protocol


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
