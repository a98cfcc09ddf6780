"""While the workers train, the driver shows their figures and checks that the stage is still its own."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from moaa.contract.progress import Figures
from moaa.errors import Fenced, StoreError
from moaa.store.fencing import Token
from moaa_jobs.runner.context import Context
from moaa_jobs.training.driver.stall import StallWatch
from moaa_jobs.training.shared.messages import LoopConfig, LoopProgress, progress_key, stall_folder
from moaa_jobs.training.shared.progress import Outage, ProgressReader

logger = logging.getLogger(__name__)

POLL_S = 1.0
FENCE_EVERY_S = 10.0
UNTOLD_S = 900.0
"""How long training goes on while the store does not say whether a later attempt has taken over. Nothing is published
without asking again, so a fenced attempt wastes at most this time of its GPUs. Ending a training that still owns the
stage would waste every step since its last checkpoint, and most outages of a store are shorter."""
PACKING_REFUSED = (
    "rows laid end to end gave other logits than alone, so training goes on unpacked: the same result, more padding; "
    "training.sft.packing: false saves the probe"
)


class Ownership:
    """Asks now and then whether the stage's token is still the highest; for a while it goes on without an answer."""

    def __init__(self, token: Token, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._token = token
        self._clock = clock
        self._asked = self._told = clock()
        self._outage = Outage("fencing-token")

    async def look(self) -> None:
        """Ask, if it is time.

        Raises:
            Fenced: a later attempt has taken over.
            StoreError: the store gave no answer for `UNTOLD_S`.
        """
        if self._clock() - self._asked < FENCE_EVERY_S:
            return
        self._asked = self._clock()
        try:
            await self._token.check()
        except Fenced:
            raise
        except StoreError as error:
            if self._clock() - self._told >= UNTOLD_S:
                raise
            self._outage.noticed(error)
        else:
            self._told = self._clock()
            self._outage.is_over()


async def watch(training: "asyncio.Future[dict[str, Any]]", config: LoopConfig, context: Context, token: Token) -> None:
    """Show what rank 0 reports until training ends.

    Raises:
        Fenced, StoreError: as `Ownership.look`.
        StageError: as `StallWatch.look`.
    """
    reader, ownership, warned = ProgressReader(context.store, progress_key(config)), Ownership(token), False
    minutes = config.resource.spec.training.resources.stall_minutes
    stall = StallWatch(context.store, stall_folder(config), workers=config.workers, minutes=minutes)
    while True:
        has_ended = bool((await asyncio.wait([training], timeout=POLL_S))[0])
        progress = await reader.read()
        if progress is not None:
            _show(progress, context)
            if progress.packing_refused and not warned:
                warned = True
                logger.warning("packing_refused model=%s %s", context.job.student, PACKING_REFUSED)
        if has_ended:
            return
        await ownership.look()
        await stall.look(progress)


def _show(progress: LoopProgress, context: Context) -> None:
    figures: Figures = {"message": progress.phase}
    if progress.phase in ("training", "exporting"):
        figures |= {"step": progress.step, "steps": progress.steps, "saved": progress.resumed_step}
    if progress.loss is not None:
        figures["loss"] = round(progress.loss, 5)
    if progress.tokens_per_s is not None:
        figures["tokens_per_s"] = round(progress.tokens_per_s, 1)
    context.progress.update(**figures)
