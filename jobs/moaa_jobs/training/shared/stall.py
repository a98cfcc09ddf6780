"""A worker's pulse: where its training thread is, told when the driver asks (`driver/stall.py`).

A thread beside the training thread looks for a question in the store and answers with that thread's stack. A process
that is stopped cannot answer: the last stack that it left on its machine is told by a neighbour. Some work shows no
progress (loading, a checkpoint, the export); a rank that does it is excused.
"""

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from moaa.errors import NotFound, StoreError
from moaa.store.objects.base import Store

logger = logging.getLogger(__name__)

LEAVE_S = 2.0
"""Between two stacks that a worker leaves on its machine."""
LOOK_S = 10.0
"""Between two looks of a worker for a question, which costs a request of the store."""
SILENT_S = 3 * LOOK_S
"""A process that has not looked for so long is stopped, or starved of its processor."""
WITHIN_S = 15.0
"""For one request of the store."""
MOST_FRAMES = 40


class Answer(BaseModel):
    """Where one rank stands."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: int
    rank: int
    step: int
    """Optimiser step, or batch while pairs are scored."""
    seconds: float
    """Since its last progress."""
    excuse: str | None
    """What it does that shows no progress."""
    stack: list[str]
    """Of its training thread, the innermost frame last: `file:line function`."""
    looked: float
    """When its process looked, on its machine's monotonic clock, which all processes of a machine share."""
    silent_s: float = 0.0
    """Told by a neighbour: since the process itself last looked. 0: its own answer."""

    @property
    def place(self) -> str:
        return self.stack[-1] if self.stack else "an unknown place"


class Pulse:
    """A worker's side. Made by the training thread, whose stack it shows."""

    def __init__(
        self,
        store: Store,
        folder: str,
        local: Path,
        *,
        rank: int,
        local_ranks: Sequence[int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`folder`: of question and answers, in the store. `local`: where this machine's workers leave their stacks."""
        self._store, self._folder, self._local = store, folder, local
        self._rank, self._clock = rank, clock
        self._neighbours = [other for other in local_ranks if other != rank]
        self._trained_by = threading.get_ident()
        self._state: tuple[int, float, str | None] = (0, clock(), "starting")
        self._answered = 0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="moaa-pulse", daemon=True)

    def progress(self, step: int) -> None:
        """A part of a step is done."""
        self._state = (step, self._clock(), None)

    def excuse(self, what: str) -> None:
        """What follows shows no progress, until `progress` is called."""
        self._state = (self._state[0], self._clock(), what)

    @contextmanager
    def excused(self, what: str) -> Iterator[None]:
        self.excuse(what)
        yield
        self.progress(self._state[0])

    def start(self) -> None:
        """Begin to look. Raises OSError: the machine's disk takes nothing."""
        self._local.mkdir(parents=True, exist_ok=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join(2 * WITHIN_S)

    def _look_on(self) -> None:
        with asyncio.Runner() as runner:
            while True:
                try:
                    runner.run(self.look())
                except (StoreError, OSError) as error:  # TimeoutError is one
                    logger.warning("no_answer rank=%d error=%s", self._rank, str(error) or type(error).__name__)
                asked = self._clock()
                while self._clock() - asked < LOOK_S:
                    if self._closed.wait(LEAVE_S):
                        return
                    with suppress(OSError):  # the next look tells it
                        self._leave()

    async def look(self) -> None:
        """Leave this worker's stack on its machine; answer a question that is new.

        Raises:
            StoreError, TimeoutError: the store gave no question or took no answer; the next look tries again.
            OSError: the machine's disk took no stack.
        """
        self._leave()
        async with asyncio.timeout(WITHIN_S):
            question = await last_question(self._store, self._folder)
            if question == self._answered:
                return
            for found in (self._here(question), *self._silent(question)):
                await self._store.put(f"{self._folder}/{found.rank}.json", found.model_dump_json().encode())
        self._answered = question

    def _leave(self) -> None:
        """Raises OSError: the machine's disk took no stack."""
        file = self._file(self._rank)
        file.with_suffix(".new").write_text(self._here(0).model_dump_json())
        file.with_suffix(".new").replace(file)

    def _here(self, question: int) -> Answer:
        step, since, excuse = self._state
        frame = sys._current_frames().get(self._trained_by)
        frames = traceback.extract_stack(frame)[-MOST_FRAMES:] if frame else []
        return Answer(
            question=question,
            rank=self._rank,
            step=step,
            seconds=self._clock() - since,
            excuse=excuse,
            stack=[f"{_short(item.filename)}:{item.lineno} {item.name}" for item in frames],
            looked=self._clock(),
        )

    def _silent(self, question: int) -> Iterator[Answer]:
        """What the neighbours left that no longer look."""
        for rank in self._neighbours:
            try:
                last = Answer.model_validate_json(self._file(rank).read_bytes())
            except (OSError, ValidationError):
                continue  # it has left nothing: the driver names it as a rank without an answer
            silent_s = self._clock() - last.looked
            if silent_s >= SILENT_S:
                update = {"question": question, "silent_s": silent_s, "seconds": last.seconds + silent_s}
                yield last.model_copy(update=update)

    def _file(self, rank: int) -> Path:
        return self._local / f"{rank}.json"


def _short(path: str) -> str:
    """From the package on: where an image keeps its packages says nothing."""
    return path.rpartition("/site-packages/")[2]


async def last_question(store: Store, folder: str) -> int:
    """Number of the last one; 0: none was asked. Raises StoreError."""
    try:
        return int(await store.get(f"{folder}/question"))
    except NotFound:
        return 0
