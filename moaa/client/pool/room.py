"""The pool's bounded queue: which call sends next, and to which replica.

Always true: a replica never has more requests than its adaptive limit; calls that wait are served by the order of their
rows, those of one row as they came, and are woken once, with their replica; one given to a call that was cancelled
meanwhile goes to the next. So rows that were begun are ended before others are begun: results, and failures, are known
early, and what a row's calls share is still in the engine's cache.
"""

import asyncio
import logging
from heapq import heappop, heappush
from itertools import count

from moaa.asking.reasons import Reason
from moaa.client.pool.limit import AdaptiveLimit
from moaa.client.pool.replicas import REST_S, Replica, choose, resolve
from moaa.client.target import Target
from moaa.errors import CallError

log = logging.getLogger(__name__)


class Room:
    """The replicas of one model, kept up to date, and the calls that wait for one."""

    def __init__(self, target: Target, *, resolve_s: float) -> None:
        self._target = target
        self._resolve_s = resolve_s
        self._replicas: list[Replica] = []
        self._resolved_at = float("-inf")
        self._stale_at = float("-inf")
        """When to look the addresses up again."""
        self._resolving = asyncio.Lock()
        self._waiters: list[tuple[int, int, asyncio.Future[Replica | None], str]] = []
        """A heap of the calls without a replica: order, arrival, turn, affinity."""
        self._arrivals = count()

    @property
    def in_flight(self) -> int:
        return sum(r.in_flight for r in self._replicas)

    @property
    def capacity(self) -> int:
        """Requests that the replicas take at once; as the addresses are declared until they are looked up."""
        if self._resolved_at == float("-inf"):
            return len(self._target.urls) * self._limit().limit
        return sum(r.limit.limit for r in self._replicas)

    async def acquire(self, affinity: str, *, order: int, timeout_s: float) -> Replica | None:
        """A replica with one more request accounted to it; None when the model has no address just now. Calls of lower
        `order` come first.

        Raises:
            CallError: none had room within `timeout_s`.
        """
        if asyncio.get_running_loop().time() >= self._stale_at:
            await self._refresh()
        if not self._replicas:
            return None
        if not self._is_awaited():
            replica = self._take(affinity)
            if replica is not None:
                return replica
        return await self._turn(affinity, order, timeout_s)

    def close(self) -> None:
        """Calls that wait are cancelled; those that have a replica go on."""
        for _, _, turn, _ in self._waiters:
            turn.cancel()
        self._waiters.clear()

    def release(self, replica: Replica) -> None:
        replica.in_flight -= 1
        self._wake()

    def rest(self, replica: Replica) -> None:
        """It broke a connection: let others go first, and look for its successor's address."""
        replica.resting_until = asyncio.get_running_loop().time() + REST_S
        # Many connections break together; one look-up a second is enough for all.
        self._stale_at = min(self._stale_at, self._resolved_at + REST_S)

    async def _turn(self, affinity: str, order: int, timeout_s: float) -> Replica | None:
        turn: asyncio.Future[Replica | None] = asyncio.get_running_loop().create_future()
        heappush(self._waiters, (order, next(self._arrivals), turn, affinity))
        is_taken = False
        try:
            async with asyncio.timeout(timeout_s):
                replica = await turn
            is_taken = True
        except TimeoutError:
            text = f"model {self._target.model!r}: no server had room for another request for {timeout_s:.0f} s"
            raise CallError(Reason.TIMEOUT, text) from None
        finally:
            if not is_taken and turn.done() and not turn.cancelled():
                given = turn.result()
                if given is not None:
                    self.release(given)
        return replica

    def _is_awaited(self) -> bool:
        """Whether a call waits for its turn. Those that gave up are dropped from the front of the queue here."""
        while self._waiters and self._waiters[0][2].done():
            heappop(self._waiters)
        return bool(self._waiters)

    def _take(self, affinity: str) -> Replica | None:
        replica = choose(self._replicas, affinity=affinity, now=asyncio.get_running_loop().time())
        if replica is not None:
            replica.in_flight += 1
        return replica

    def _wake(self) -> None:
        """Give replicas to waiting calls while one has room, in order; without any address, tell all so."""
        while self._is_awaited():
            _, _, turn, affinity = self._waiters[0]
            replica = self._take(affinity)
            if replica is None and self._replicas:
                return
            heappop(self._waiters)
            turn.set_result(replica)

    def _limit(self) -> AdaptiveLimit:
        """Of a replica that is new."""
        return AdaptiveLimit(self._target.max_concurrency, self._target.start_concurrency)

    async def _refresh(self) -> None:
        """Look the addresses up again, keeping the state of those that stay. One call does it for all."""
        loop = asyncio.get_running_loop()
        async with self._resolving:
            if loop.time() < self._stale_at:
                return
            try:
                addresses = await resolve(self._target.urls)
            except OSError as error:
                log.warning("resolve_failed model=%s error=%s: check the server's Service", self._target.model, error)
                addresses = [r.address for r in self._replicas]
            known = {r.address: r for r in self._replicas}
            self._replicas = [known.get(a) or Replica(a, self._limit()) for a in addresses]
            self._resolved_at = loop.time()
            self._stale_at = self._resolved_at + (self._resolve_s if self._replicas else REST_S)
            self._wake()
