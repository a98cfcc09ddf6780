"""The work queue: keys that need a look. Each is in it at most once, and never worked on twice at the same time.

A change only adds the run's key; the look finds out what to do. These rules always hold: a key that is added again
stays once; a key added while a worker has it is given out again afterwards; errors of a key push its next turn back
exponentially with jitter, and a success forgets them; news bring such a turn forward, but not to at once, since a look
that fails may itself make the news. Keys with news go before those of regular looks, of which a thousand may be due at
once, but every few turns one of the others has its turn. Any thread may call anything.
"""

import heapq
import random
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, TypeVar

from moaa.backoff import backoff_s

KeyT = TypeVar("KeyT", bound=Hashable)
NEWS_IN_A_ROW = 8
"""After so many keys with news one of the others has its turn."""

NEWS_AFTER_ERROR_S = 5.0
"""At the latest, a key with news has its turn so long after an error. The first delays are shorter."""


class _Why(IntEnum):
    """Why a key needs a look; the higher counts."""

    ROUTINE = 0
    NEWS = 1


@dataclass(frozen=True)
class Backoff:
    """Delay after the n-th error in a row: doubles from `first_s` to `max_s`, then takes off up to half of it."""

    first_s: float
    max_s: float
    jitter: Callable[[], float] = field(default=random.random)
    """In [0, 1)."""

    def delay_s(self, errors: int) -> float:
        return backoff_s(errors, first_s=self.first_s, max_s=self.max_s) * (1 - self.jitter() / 2)


class WorkQueue(Generic[KeyT]):
    """Keys due now or later. `clock` gives seconds that only grow; tests move it by hand."""

    def __init__(self, backoff: Backoff, *, clock: Callable[[], float]) -> None:
        self._backoff = backoff
        self._clock = clock
        self._changed = threading.Condition()
        self._ready: dict[_Why, dict[KeyT, None]] = {why: {} for why in _Why}
        """In the order in which they were added."""
        self._news_in_a_row = 0
        self._due: dict[KeyT, float] = {}
        self._heap: list[tuple[float, int, KeyT]] = []
        self._count = 0
        self._active: dict[KeyT, _Why | None] = {}
        """Keys that a worker has, and why they were added meanwhile, if they were."""
        self._errors: dict[KeyT, int] = {}
        self._not_before: dict[KeyT, float] = {}
        """Of keys with errors: when news of them may count."""
        self._is_closed = False

    def add(self, key: KeyT, *, is_news: bool = True) -> None:
        """The key needs a look now; a delay that was set for it ends, one after an error once it lasted a little."""
        with self._changed:
            self._bring_forward(key, _Why.NEWS if is_news else _Why.ROUTINE)
            self._changed.notify()

    def add_after(self, key: KeyT, delay_s: float) -> None:
        """The key needs a look in `delay_s`, or sooner when it was to have one sooner."""
        with self._changed:
            self._put_later(key, self._clock() + max(delay_s, 0.0))
            self._changed.notify()

    def failed(self, key: KeyT, *, at_least_s: float = 0.0) -> float:
        """Have another look after the key's backoff; returns the delay. Call before `done`."""
        with self._changed:
            self._errors[key] = self._errors.get(key, 0) + 1
            delay_s = max(self._backoff.delay_s(self._errors[key]), at_least_s)
            self._not_before[key] = self._clock() + min(delay_s, NEWS_AFTER_ERROR_S)
        self.add_after(key, delay_s)
        return delay_s

    def succeeded(self, key: KeyT) -> None:
        """Forget the key's errors."""
        with self._changed:
            self._errors.pop(key, None)
            self._not_before.pop(key, None)

    def errors(self, key: KeyT) -> int:
        with self._changed:
            return self._errors.get(key, 0)

    def forget(self, key: KeyT) -> None:
        """The key is gone: no turn is left for it, unless it was added while a worker has it (it may be made again)."""
        with self._changed:
            self._errors.pop(key, None)
            self._not_before.pop(key, None)
            self._due.pop(key, None)
            for ready in self._ready.values():
                ready.pop(key, None)

    def take(self, timeout_s: float | None = None) -> KeyT | None:
        """The next key, which is the caller's until `done`; None when closed, or nothing came in `timeout_s`."""
        deadline = None if timeout_s is None else self._clock() + timeout_s
        with self._changed:
            while True:
                wait_s = self._promote()
                if any(self._ready.values()):
                    return self._next()
                if self._is_closed:
                    return None
                if deadline is not None:
                    left = deadline - self._clock()
                    if left <= 0:
                        return None
                    wait_s = left if wait_s is None else min(wait_s, left)
                self._changed.wait(wait_s)

    def done(self, key: KeyT) -> None:
        with self._changed:
            why = self._active.pop(key, None)
            if why is not None:
                self._bring_forward(key, why)
            self._changed.notify()

    def close(self) -> None:
        """Give out no more keys; every waiting `take` returns."""
        with self._changed:
            self._is_closed = True
            for ready in self._ready.values():
                ready.clear()
            self._due.clear()
            self._changed.notify_all()

    def __len__(self) -> int:
        """Keys that wait for their turn now."""
        with self._changed:
            self._promote()
            return sum(map(len, self._ready.values()))

    # The lock is held.

    def _is_ready(self, key: KeyT) -> bool:
        return any(key in ready for ready in self._ready.values())

    def _bring_forward(self, key: KeyT, why: _Why) -> None:
        """Its turn comes now, or as soon after an error as news may count."""
        if self._not_before.get(key, 0.0) > self._clock() and key not in self._active:
            self._put_later(key, self._not_before[key])
            return
        self._due.pop(key, None)
        self._put(key, why)

    def _put_later(self, key: KeyT, due: float) -> None:
        if self._is_closed or self._is_ready(key) or self._due.get(key, float("inf")) <= due:
            return
        self._due[key] = due
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, key))

    def _put(self, key: KeyT, why: _Why) -> None:
        if key in self._active:
            before = self._active[key]
            self._active[key] = why if before is None else max(before, why)
        elif not self._is_closed and key not in self._ready[_Why.NEWS]:
            self._ready[_Why.ROUTINE].pop(key, None)
            self._ready[why][key] = None

    def _next(self) -> KeyT:
        news, routine = self._ready[_Why.NEWS], self._ready[_Why.ROUTINE]
        is_news = bool(news) and (not routine or self._news_in_a_row < NEWS_IN_A_ROW)
        self._news_in_a_row = self._news_in_a_row + 1 if is_news else 0
        ready = news if is_news else routine
        key = next(iter(ready))
        del ready[key]
        self._active[key] = None
        return key

    def _promote(self) -> float | None:
        """Move what is due to the ready keys; seconds until the next is due, or None."""
        now = self._clock()
        while self._heap:
            due, _, key = self._heap[0]
            if self._due.get(key) != due:  # added sooner, or forgotten
                heapq.heappop(self._heap)
                continue
            if due > now:
                return due - now
            heapq.heappop(self._heap)
            del self._due[key]
            self._put(key, _Why.ROUTINE)
        return None
