"""TensorBoard's event file of a stage, in the store: `<stage>/tensorboard/`, with or without any other tracker."""

import asyncio
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import scalar

from moaa.store.objects.base import Store
from moaa_jobs.training.shared.messages import CurveRow
from moaa_jobs.training.trackers.metrics import metrics_of

FILE = "events.out.tfevents.moaa"
"""One name for all attempts. TensorBoard knows event files by the word in the middle."""
WITHIN_S = 30.0
"""For one put."""


def events_key(stage_path: str) -> str:
    """Where the event file lies; its folder is a log directory of TensorBoard."""
    return f"{stage_path}/tensorboard/{FILE}"


class EventFile:
    """The curve from its first step, written here and replaced in the store as it grows.

    An attempt that resumes writes the steps of the one before again, so no step is in the store's file twice and none
    is missing.
    """

    name = "TensorBoard"

    def __init__(self, store: Store, stage_path: str, folder: Path) -> None:
        self._store = store
        self._key = events_key(stage_path)
        self._folder = folder
        self._writer: EventsWriter | None = None

    def open(self) -> int:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        # Not SummaryWriter: events reach its file through a queue, which flush does not wait for.
        self._writer = EventsWriter(str(self._folder / "events"))
        return 0

    def log(self, rows: Sequence[CurveRow]) -> None:
        """Raises StoreError, TimeoutError: the store did not take the file; the next call puts these steps, too."""
        assert self._writer is not None, "opened before"
        now = time.time()
        for row in rows:
            for metric, value in metrics_of(row).items():
                self._writer.write_event(Event(step=row.step, wall_time=now, summary=scalar(metric, value)))
        self._writer.flush()
        (file,) = self._folder.iterdir()
        with asyncio.Runner() as runner:
            runner.run(self._put(file.read_bytes()))

    def close(self) -> None:
        assert self._writer is not None, "opened before"
        self._writer.close()

    async def _put(self, body: bytes) -> None:
        async with asyncio.timeout(WITHIN_S):
            await self._store.put(self._key, body)
