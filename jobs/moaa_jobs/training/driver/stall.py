"""A training that stands still: the driver asks every worker where it is (`shared/stall.py`), and ends the attempt.

A rank that hangs or is gone leaves the others in a collective, where they would wait for hours. So when rank 0 has
shown no progress for `stallMinutes`, the driver puts a question. The attempt goes on when a rank answers that it makes
progress or does work that shows none: the others wait for it.

When nobody answers, nothing is concluded: the workers may still wait for machines. Ray Train itself replaces a group
whose worker processes do not answer it (after 10 minutes).
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping

from pydantic import ValidationError

from moaa.errors import NotFound, StageError, StoreError
from moaa.store.objects.base import Store
from moaa_jobs.training.shared.stall import WITHIN_S, Answer

logger = logging.getLogger(__name__)

LOOK_S = 5.0
"""Between two looks for answers."""
ANSWERED_WITHIN_S = 45.0
AGAIN_S = 15.0
"""From answers that excuse to the next question."""
MOST_NAMED = 8


class StallWatch:
    """Looks at rank 0's progress, and asks all ranks."""

    def __init__(
        self,
        store: Store,
        folder: str,
        *,
        workers: int,
        minutes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._folder = store, folder
        self._workers, self._minutes, self._clock = workers, minutes, clock
        self._seen: object = None
        self._since = self._looked = clock()
        self._question = 0
        self._asked: float | None = None
        """When the question was put that waits for answers."""

    async def look(self, shown: object) -> None:
        """Ask when `shown`, rank 0's progress, has not changed for too long, and judge the answers.

        Raises:
            StageError: no worker makes progress; their stacks are in the log.
        """
        now = self._clock()
        if shown != self._seen:
            self._seen, self._since, self._asked = shown, now, None
        try:
            async with asyncio.timeout(WITHIN_S):
                await self._ask_or_judge(now)
        except (StoreError, TimeoutError):
            self._asked = None  # asked again; whether the store is out for too long is not for this watch to say

    async def _ask_or_judge(self, now: float) -> None:
        if self._asked is None:
            if now - self._since >= 60 * self._minutes:
                await self._store.put(f"{self._folder}/question", str(self._question + 1).encode())
                self._question, self._asked = self._question + 1, now
            return
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        answers = await self._answers()
        is_late = now - self._asked >= ANSWERED_WITHIN_S
        if any(self._goes_on(answer) for answer in answers.values()) or (is_late and not answers):
            # Asked again soon: it may stand still from now on.
            self._since, self._asked = now - 60 * self._minutes + AGAIN_S, None
        elif len(answers) == self._workers or is_late:
            for answer in answers.values():
                logger.error("rank_stalled %s", _told(answer))
            raise StageError(
                f"{verdict(answers, workers=self._workers, minutes=self._minutes)}. Stacks: the log, and "
                f"{self._store.uri}/{self._folder}/"
            )

    def _goes_on(self, answer: Answer) -> bool:
        return not answer.silent_s and (answer.excuse is not None or answer.seconds < 60 * self._minutes)

    async def _answers(self) -> dict[int, Answer]:
        """By rank; a rank's own before what a neighbour tells of it."""
        found: dict[int, Answer] = {}
        for rank in range(self._workers):
            try:
                answer = Answer.model_validate_json(await self._store.get(f"{self._folder}/{rank}.json"))
            except (NotFound, ValidationError):
                continue  # counted by the verdict as a rank without an answer
            if answer.question == self._question:
                found[rank] = answer
        return found


def verdict(answers: Mapping[int, Answer], *, workers: int, minutes: int) -> str:
    """Which ranks hold up the others, where, and what to do. `answers` by rank, at least one."""
    behind = lagging(answers, workers=workers)
    named = [_where(rank, answers.get(rank)) for rank in behind[:MOST_NAMED]]
    if len(behind) > MOST_NAMED:
        named.append(f"{len(behind) - MOST_NAMED} more ranks are behind")
    others = [answer for rank, answer in answers.items() if rank not in behind]
    if others:
        place, count = Counter(answer.place for answer in others).most_common(1)[0]
        ranks = f"rank {others[0].rank} waits" if len(others) == 1 else f"{count} of {len(others)} other ranks wait"
        named.append(f"{ranks} in {place}")
    seconds = min(answer.seconds for answer in answers.values())
    return (
        f"training stands still: no progress in {seconds:.0f} s (training.resources.stallMinutes: {minutes}): "
        f"{'; '.join(named)}. Another attempt goes on from the newest checkpoint. If it stops there again, look at its "
        "machine, GPU and network; if a part of a step may take so long, raise stallMinutes"
    )


def lagging(answers: Mapping[int, Answer], *, workers: int) -> list[int]:
    """Ranks that the others wait for: those that gave no answer of their own; else those at the lowest step; else those
    that stand elsewhere than most. Empty: all stand at one place."""
    gone = [rank for rank in range(workers) if rank not in answers or answers[rank].silent_s]
    if gone:
        return gone
    least = min(answer.step for answer in answers.values())
    late = [rank for rank, answer in answers.items() if answer.step == least]
    if len(late) < len(answers):
        return late
    usual = Counter(answer.place for answer in answers.values()).most_common(1)[0][0]
    return [rank for rank, answer in answers.items() if answer.place != usual]


def _where(rank: int, answer: Answer | None) -> str:
    if answer is None:
        return f"rank {rank} gave no answer (its process or machine is gone, stopped, or has no store)"
    if answer.silent_s:
        silent = f"rank {rank} is silent for {answer.silent_s:.0f} s (stopped, or without a processor)"
        return f"{silent}: step {answer.step}, {answer.place}"
    return f"rank {rank} is behind: step {answer.step}, {answer.place}"


def _told(answer: Answer) -> str:
    said = f"rank={answer.rank} step={answer.step} seconds={answer.seconds:.0f} silent_s={answer.silent_s:.0f} stack:"
    return "\n  ".join([said, *answer.stack])
