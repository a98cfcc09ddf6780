"""When the next request may be sent: limits that the resource states, and those that a server's headers tell.

Stated limits are kept by token buckets that let a second's worth through at once, at 98 % of the rate: so no window of
a minute holds more than is allowed, however the server counts. Tokens of a request are known once it is answered; until
then it counts as the mean of those before it, and the difference is settled. Headers hold requests back when what
remains is used up: in a window until it ends, in a bucket until enough has come back. Requests are let through in the
order in which they came.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from moaa.client.pool.told import Said, read_limits

BURST_S = 1.0
USED = 0.98
LEAST_S = 0.001
"""Shortest sleep: what is lacking may be less than a clock can tell."""
LOOK_S = 5.0
"""Longest sleep before the limits are looked at again: headers of other answers may have said more."""
CHARACTERS_A_TOKEN = 3


@dataclass
class Bucket:
    """Fills at a rate, and may be overdrawn by what is larger than it holds."""

    per_minute: float
    least: float
    """What has to be in it for the next to pass."""
    _level: float = field(init=False)
    _at: float | None = None

    def __post_init__(self) -> None:
        self._level = self._most

    @property
    def _rate(self) -> float:
        return self.per_minute * USED / 60

    @property
    def _most(self) -> float:
        return max(1.0, self._rate * BURST_S)

    def wait_s(self, now: float) -> float:
        self._level = min(self._most, self._level + self._rate * (now - (now if self._at is None else self._at)))
        self._at = now
        return max(0.0, (self.least - self._level) / self._rate)

    def take(self, amount: float) -> None:
        """A negative amount is given back."""
        self._level -= amount


@dataclass
class Told:
    """One limit as headers tell it, and what was sent since."""

    said: Said | None = None
    heard: float = 0.0
    number: int = -1
    """Of the request whose answer said it: those sent before are counted in it, those after are not."""
    is_window: bool = True
    """All comes back at one moment; False: bit by bit. Taken for a window until it shows otherwise."""
    _since: float = 0.0
    """What was sent after that request."""
    _last: int = -1
    """Number of the last request that was sent."""
    _longest_s: float = 0.0
    """Longest time until a reset that was told: a whole window, or nearly."""
    _before: tuple[float, float] | None = None
    """An earlier hearing, and the moment of reset that it told."""

    def hear(self, said: Said, *, number: int, sent_since: float, now: float) -> None:
        if number < self.number:
            return  # of an earlier request
        reset = now + said.reset_s
        if self._before is None or now >= self._before[1]:  # another window, perhaps
            self._before = (now, reset)
        elif now - self._before[0] >= 1.0:
            # The end of a window stands still while it is used; a bucket's moves on with the clock.
            self.is_window = reset - self._before[1] < 0.5 * (now - self._before[0])
            self._before = (now, reset)
        self._longest_s = max(self._longest_s, said.reset_s)
        self.said, self.heard, self.number, self._since = said, now, number, sent_since

    def wait_s(self, need: float, now: float) -> float:
        if self.said is None:
            return 0.0
        if self.said.limit is not None and now - self.heard >= self.said.reset_s:
            # All is back, and what answers still say of requests sent before is out of date.
            self.said = Said(self.said.limit, self._longest_s, self.said.limit)
            self.heard, self.number, self._since = now, self._last + 1, 0.0
        ago, lacking = now - self.heard, need - (self.said.remaining - self._since)
        if lacking <= 0 or ago >= self.said.reset_s:
            return 0.0
        gone = (self.said.limit or 0.0) - self.said.remaining
        if self.is_window or gone <= 0:
            return self.said.reset_s - ago
        return max(0.0, lacking * self.said.reset_s / gone - ago)

    def take(self, amount: float, number: int) -> None:
        self._since += amount
        self._last = number


class Pace:
    """Of one model's endpoint. Without limits it costs nothing."""

    def __init__(
        self, *, requests_per_minute: float | None, tokens_per_minute: float | None, clock: Callable[[], float]
    ) -> None:
        self._clock = clock
        self._requests = Bucket(requests_per_minute, least=1.0) if requests_per_minute is not None else None
        self._tokens = Bucket(tokens_per_minute, least=0.0) if tokens_per_minute is not None else None
        self._told_requests, self._told_tokens = Told(), Told()
        self._turn = asyncio.Lock()
        self._held_until = float("-inf")
        self._sent = 0
        self._sizes: dict[int, float] = {}
        """Estimated tokens of the requests that are out, by number."""
        self._mean: float | None = None
        self.waiting = 0
        """Requests that wait for a limit."""

    async def admit(self, characters: int, closing: asyncio.Event) -> int:
        """The number of a request that may be sent now; it waits while a limit holds it.

        Raises:
            asyncio.CancelledError: nothing is to be sent any more.
        """
        size = self._mean if self._mean is not None else characters / CHARACTERS_A_TOKEN
        if self._turn.locked() or self._wait_s(size) > 0:
            with self._counted():
                async with self._turn:
                    while (wait := self._wait_s(size)) > 0:
                        await _unless(closing, min(max(wait, LEAST_S), LOOK_S))
                    return self._send(size)
        return self._send(size)

    def answered(self, number: int, tokens: int | None) -> None:
        """A request that was let through has ended; `tokens` it took, None: none that are known."""
        estimate = self._sizes.pop(number, 0.0)
        if tokens is None:
            return
        self._mean = tokens if self._mean is None else 0.95 * self._mean + 0.05 * tokens
        if self._tokens is not None:
            self._tokens.take(tokens - estimate)

    def heard(self, number: int, headers: Mapping[str, str]) -> None:
        """What the answer to a request says of limits."""
        limits = read_limits(headers)
        if limits is None:
            return
        now, later = self._clock(), [n for n in self._sizes if n > number]
        if limits.requests is not None:
            since = float(self._sent - 1 - number)
            self._told_requests.hear(limits.requests, number=number, sent_since=since, now=now)
        if limits.tokens is not None:
            since = sum(self._sizes[n] for n in later)
            self._told_tokens.hear(limits.tokens, number=number, sent_since=since, now=now)

    def hold(self, seconds: float) -> None:
        """The server asked for a pause: it holds for all requests."""
        self._held_until = max(self._held_until, self._clock() + seconds)

    def _wait_s(self, size: float) -> float:
        now = self._clock()
        waits = [self._held_until - now, self._told_requests.wait_s(1.0, now), self._told_tokens.wait_s(size, now)]
        waits += [bucket.wait_s(now) for bucket in (self._requests, self._tokens) if bucket is not None]
        return max(waits)

    def _send(self, size: float) -> int:
        number, self._sent = self._sent, self._sent + 1
        self._sizes[number] = size
        for bucket, amount in ((self._requests, 1.0), (self._tokens, size)):
            if bucket is not None:
                bucket.take(amount)
        self._told_requests.take(1.0, number)
        self._told_tokens.take(size, number)
        return number

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1


async def _unless(closing: asyncio.Event, seconds: float) -> None:
    """Sleep. Raises asyncio.CancelledError: `closing` is set."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(closing.wait(), seconds)
    if closing.is_set():
        raise asyncio.CancelledError
