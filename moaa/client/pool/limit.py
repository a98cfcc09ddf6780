"""Adaptive concurrency of one replica: additive increase, multiplicative decrease. Pure, no clock."""

from dataclasses import dataclass


@dataclass
class AdaptiveLimit:
    """How many requests may be in flight, between 1 and `maximum`.

    Starts at the maximum, since a server of ours queues by itself. A sign of overload (429, 503, a time-out) halves
    it, once for all requests that were in flight together; a full window of successes adds one.
    """

    maximum: int
    _limit: float = 0.0
    _epoch: int = 0

    def __post_init__(self) -> None:
        if self.maximum < 1:
            raise ValueError(f"maximum {self.maximum} must be at least 1, or nothing could be sent")
        self._limit = float(self.maximum)

    @property
    def limit(self) -> int:
        return int(self._limit)

    @property
    def epoch(self) -> int:
        """Rises with each decrease; a request remembers the epoch in which it was sent."""
        return self._epoch

    def succeeded(self) -> None:
        self._limit = min(float(self.maximum), self._limit + 1.0 / self._limit)

    def overloaded(self, *, sent_in: int) -> None:
        """A request of epoch `sent_in` was turned away. Requests of earlier epochs met an overload that has already
        lowered the limit."""
        if sent_in == self._epoch:
            self._limit = max(1.0, self._limit / 2.0)
            self._epoch += 1
