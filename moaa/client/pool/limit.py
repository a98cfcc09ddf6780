"""Adaptive concurrency of one replica: it grows while that brings more answers a second, and yields to overload.

Pure; the caller's clock counts. Overload: additive increase, multiplicative decrease (Chiu and Jain 1989).
"""

from dataclasses import dataclass
from math import inf

WORTH = 1.1
"""Factor in answers a second that a window has to bring over the best before, for the limit to double again."""


@dataclass
class AdaptiveLimit:
    """How many requests may be in flight, between 1 and `maximum`.

    Starts at `start`, by default at the maximum, since a server of ours queues by itself. While it is used to the full,
    it doubles with each window, of as many successes as the limit, that had a tenth more answers a second than any
    before; two windows without that end it. A window begins with its doubling, so its first answers may be to requests
    sent before: the second window counts them out. A sign of overload (429, 503, a time-out) halves it, once for all
    requests that were in flight together, and ends the doubling; from then on a full window of successes adds one.
    """

    maximum: int
    start: int | None = None
    _limit: float = 0.0
    _ceiling: float = 0.0
    """What overload lets it come back to; the maximum, unless doubling brought nothing more."""
    _epoch: int = 0
    _doubles: bool = True
    _best: float = 0.0
    """Most answers a second that a window had."""
    _seen: int = 0
    """Successes of the window."""
    _since: float | None = None
    """When the window began; None before the first success."""
    _is_doubtful: bool = False
    """The last window brought nothing more; lengths of answers vary, so another one decides."""

    def __post_init__(self) -> None:
        if self.maximum < 1:
            raise ValueError(f"maximum {self.maximum} must be at least 1, or nothing could be sent")
        self._limit = float(min(self.start or self.maximum, self.maximum))
        self._ceiling = float(self.maximum)
        self._doubles = self._limit < self.maximum

    @property
    def limit(self) -> int:
        return int(self._limit)

    @property
    def epoch(self) -> int:
        """Rises with each decrease; a request remembers the epoch in which it was sent."""
        return self._epoch

    def succeeded(self, *, now: float, in_flight: int) -> None:
        """A request was answered at `now` (seconds), when `in_flight` were under way, itself among them."""
        if not self._doubles:
            self._limit = min(self._ceiling, self._limit + 1.0 / self._limit)
        elif in_flight >= self.limit:
            self._measure(now)

    def _measure(self, now: float) -> None:
        if self._since is None:
            self._since = now
            return
        self._seen += 1
        if self._seen < self.limit:
            return
        rate = self.limit / (now - self._since) if now > self._since else inf
        self._seen, self._since = 0, now
        if rate >= WORTH * self._best:
            self._best, self._is_doubtful = rate, False
            self._limit = min(float(self.maximum), 2.0 * self._limit)
            self._doubles = self._limit < self.maximum
        elif self._is_doubtful:
            self._doubles, self._ceiling = False, self._limit
        else:
            self._is_doubtful = True

    def overloaded(self, *, sent_in: int) -> None:
        """A request of epoch `sent_in` was turned away. Requests of earlier epochs met an overload that has already
        lowered the limit."""
        if sent_in == self._epoch:
            self._limit = max(1.0, self._limit / 2.0)
            self._epoch += 1
            self._doubles = False
