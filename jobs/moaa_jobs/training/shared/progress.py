"""Figures of a training on their way from rank 0 to the driver: one small object in the store, replaced now and then.

They are figures only: nothing resumes from them, and no step waits for them. A store that cannot be reached
costs neither side more than the figures, is logged once when that begins and once when it is over, and is left to those
who need it (checkpoints, the manifest) to fail on.
"""

import asyncio
import logging
import threading

from pydantic import ValidationError

from moaa.errors import NotFound, StoreError
from moaa.store.objects.base import Store
from moaa_jobs.training.shared.messages import LoopProgress

logger = logging.getLogger(__name__)

WITHIN_S = 15.0
"""For one put or get; a store's own retries take minutes, by when newer figures have come."""


class Outage:
    """Logs a time without the store once, however often it is noticed."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._lasts = False

    def noticed(self, error: Exception) -> None:
        if not self._lasts:
            self._lasts = True
            logger.warning(
                "store_unreachable what=%s error=%s: training goes on; see to the store",
                self._what,
                str(error) or type(error).__name__,
            )

    def is_over(self) -> None:
        if self._lasts:
            self._lasts = False
            logger.info("store_reachable_again what=%s", self._what)


class ProgressWriter:
    """Rank 0's side. Puts from a thread of its own; what is reported while a put is under way replaces what waits."""

    def __init__(self, store: Store, key: str) -> None:
        self._store = store
        self._key = key
        self._changed = threading.Condition()
        self._newest: bytes | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._put_all, name="moaa-progress", daemon=True)

    def write(self, progress: LoopProgress) -> None:
        """Take the newest progress; returns at once."""
        with self._changed:
            self._newest = progress.model_dump_json().encode()
            self._changed.notify()
        if self._thread.ident is None:
            self._thread.start()

    def close(self) -> None:
        """Put what still waits; takes at most twice `WITHIN_S`, and a moment with a store that answers."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(2 * WITHIN_S)

    def _put_all(self) -> None:
        outage = Outage("progress")
        with asyncio.Runner() as runner:
            while (body := self._next()) is not None:
                try:
                    runner.run(self._put(body))
                except (StoreError, TimeoutError) as error:
                    outage.noticed(error)
                else:
                    outage.is_over()

    def _next(self) -> bytes | None:
        """The newest body not yet taken, when there is one; None when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._closed)
            body, self._newest = self._newest, None
            return body

    async def _put(self, body: bytes) -> None:
        async with asyncio.timeout(WITHIN_S):
            await self._store.put(self._key, body)


class ProgressReader:
    """The driver's side."""

    def __init__(self, store: Store, key: str) -> None:
        self._store = store
        self._key = key
        self._outage = Outage("progress")

    async def read(self) -> LoopProgress | None:
        """What rank 0 wrote last; None when there is nothing, or nothing that can be had now."""
        try:
            async with asyncio.timeout(WITHIN_S):
                body = await self._store.get(self._key)
        except NotFound:
            body = b""  # no worker has come so far
        except (StoreError, TimeoutError) as error:
            self._outage.noticed(error)
            return None
        self._outage.is_over()
        try:
            return LoopProgress.model_validate_json(body) if body else None
        except ValidationError:
            return None
