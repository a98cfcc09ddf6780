"""Rank 0 hands its curve to trackers. A tracker never holds a step up and never ends a training.

Each tracker has a thread of its own, since one may hang. A thread sends what its tracker does not have yet. When
that fails, it says so once and tries again later; nothing is lost, because the whole curve is there to be sent.
"""

import logging
import os
import re
import threading
import time
from collections.abc import Sequence
from typing import Protocol

from moaa_jobs.training.shared.messages import CurveRow

logger = logging.getLogger(__name__)

EVERY_S = 15.0
"""Between two sendings of new steps."""
AGAIN_S = 60.0
"""After one that failed."""
CLOSE_S = 60.0
"""Longest wait, at the end of a training, for all trackers to take their last steps."""
ROWS_AT_ONCE = 100
SHOWN = 300
"""Characters of a tracker's own words."""
_SECRETS = ("WANDB_API_KEY", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "HF_TOKEN")


class Tracker(Protocol):
    """Takes the steps of one run. All of it is called by one thread, and may raise anything."""

    @property
    def name(self) -> str: ...

    def open(self) -> int:
        """Begin the run, or go on with it; the last step it has, 0 for none."""
        ...

    def log(self, rows: Sequence[CurveRow]) -> None:
        """Take further steps, in their order."""
        ...

    def close(self) -> None:
        """End the run: the training is through."""
        ...


class Recorder:
    """The curve on its way to trackers."""

    def __init__(self, trackers: Sequence[Tracker], *, every_s: float = EVERY_S, again_s: float = AGAIN_S) -> None:
        self._feeds = [_Feed(tracker, every_s=every_s, again_s=again_s) for tracker in trackers]

    def start(self, rows: Sequence[CurveRow]) -> None:
        """Begin with the steps that earlier attempts made."""
        for feed in self._feeds:
            feed.add(rows)
            feed.start()

    def add(self, row: CurveRow) -> None:
        """Take a step; returns at once."""
        for feed in self._feeds:
            feed.add([row])

    def close(self, within_s: float = CLOSE_S) -> None:
        """Send what is left and end the runs; a tracker that does not come to an end is left behind."""
        for feed in self._feeds:
            feed.end()
        deadline = time.monotonic() + within_s
        for feed in self._feeds:
            feed.join(max(0.0, deadline - time.monotonic()))
        for feed in self._feeds:
            feed.tell_missing()


class _Feed:
    """One tracker and its thread."""

    def __init__(self, tracker: Tracker, *, every_s: float, again_s: float) -> None:
        self._tracker = tracker
        self._every_s, self._again_s = every_s, again_s
        self._rows: list[CurveRow] = []
        self._ended = threading.Event()
        self._is_open = self._is_failing = False
        self._sent = 0
        """The last step that the tracker has."""
        self._thread = threading.Thread(target=self._feed, name=f"moaa-tracker-{tracker.name}", daemon=True)

    def add(self, rows: Sequence[CurveRow]) -> None:
        self._rows.extend(rows)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._ended.set()

    def join(self, within_s: float) -> None:
        if self._thread.ident is not None:
            self._thread.join(within_s)

    def tell_missing(self) -> None:
        """What a tracker does not have at the end."""
        missing = sum(row.step > self._sent for row in self._rows)
        if missing:
            logger.warning(
                "tracker_incomplete tracker=%s steps=%d: the stage's table curve has them all",
                self._tracker.name,
                missing,
            )

    def _feed(self) -> None:
        while True:
            is_last = self._ended.is_set()
            has_sent = self._send(is_last=is_last)
            if is_last:
                return
            self._ended.wait(self._every_s if has_sent else self._again_s)

    def _send(self, *, is_last: bool) -> bool:
        """Whether the tracker has taken all that there is."""
        try:
            if not self._is_open:
                self._sent, self._is_open = max(self._sent, self._tracker.open()), True
            left = [row for row in list(self._rows) if row.step > self._sent]
            for i in range(0, len(left), ROWS_AT_ONCE):
                part = left[i : i + ROWS_AT_ONCE]
                self._tracker.log(part)
                self._sent = part[-1].step
            if is_last:
                self._tracker.close()
        except Exception as error:  # noqa: BLE001  a service's library raises what it likes, and training goes on
            self._tell(error)
            return False
        if self._is_failing:
            self._is_failing = False
            logger.info("tracker_works_again tracker=%s", self._tracker.name)
        return True

    def _tell(self, error: Exception) -> None:
        """Once, however often it fails."""
        if not self._is_failing:
            self._is_failing = True
            logger.warning(
                "tracker_failed tracker=%s error=%s: training goes on, and the tracker is tried again",
                self._tracker.name,
                _words(error),
            )


def _words(error: Exception) -> str:
    """What a tracker's library says, in one line and without what would let others log in."""
    text = re.sub(r"//[^/@\s]+@", "//", " ".join(f"{type(error).__name__}: {error}".split()))
    for name in _SECRETS:
        if value := os.environ.get(name):
            text = text.replace(value, f"${name}")
    return text[:SHOWN]
