"""Everything that talks to a model goes through here: a pool per model over its replicas.

Always true: every call ends within bounds as a reply or an exception; a request is sent again only when `is_retryable`
says so and a bound of the policy allows it. The pool knows nothing of rows, ledgers or budgets, and logs neither
prompts nor keys.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from moaa.api.models import ModelKind
from moaa.asking.caller import Letters, Reply, Scalar
from moaa.asking.reasons import FATAL, Reason
from moaa.client.outcome import Permanent, Retry, Trouble
from moaa.client.pool.pace import Pace
from moaa.client.pool.policy import Policy, Tries
from moaa.client.pool.replicas import Replica
from moaa.client.pool.room import Room
from moaa.client.pool.transport import Transport
from moaa.client.request import ChatRequest, Request
from moaa.client.scores import ScoreRequest
from moaa.client.target import Target
from moaa.conversation import fold_system, has_system
from moaa.errors import CallError, ModelAbsent, ServerError

log = logging.getLogger(__name__)

CANARY = ChatRequest(
    messages=({"role": "user", "content": "Hi"},), temperature=Decimal(0), top_p=Decimal(1), max_tokens=1, seed=0
)
"""Tells a sick server from a request that it cannot digest."""
CANARIES: Mapping[ModelKind, Request[object]] = {
    ModelKind.CHAT: CANARY,
    ModelKind.REWARD: ScoreRequest(()).about(CANARY.messages),
}
FIRST = -1
"""Order of canaries: many calls wait for what they say."""
AHEAD = 2
"""Calls for each that a model's replicas take at once, so that one waits for each that ends."""
RUN_AHEAD = 2048
"""Calls that may wait for slow models while rows are begun for a fast one: it is through long before them, and its
server may go. Each takes some 10 KB, and a row of judging makes dozens."""


ResultT = TypeVar("ResultT")


class ModelPool:
    """Asks one model. Open it with `async with`; calls may run concurrently."""

    def __init__(self, target: Target, *, policy: Policy, rng: random.Random) -> None:
        self._target = target
        self._policy = policy = policy.for_server(target.startup_s)
        self._rng = rng
        self._transport = Transport(target, policy=policy)
        self._room = Room(target, resolve_s=policy.resolve_s)
        self._pace = Pace(
            requests_per_minute=target.requests_per_minute,
            tokens_per_minute=target.tokens_per_minute,
            clock=lambda: asyncio.get_running_loop().time(),
        )
        self._folds_system = False
        self._is_away = False
        """No server can be reached; said in the log."""
        self._understood: set[str] = set()
        """Kinds of requests that were answered: the server does not refuse these."""
        self._trying = asyncio.Lock()
        self._calls = 0
        self._closing = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    @property
    def in_flight(self) -> int:
        return self._room.in_flight

    def stop_sending(self) -> None:
        """Requests that are out may be answered; calls between two requests, and new ones, are cancelled."""
        self._closing.set()
        self._room.close()

    @property
    def held(self) -> int:
        """Requests that wait for the endpoint's limits."""
        return self._pace.waiting

    @property
    def is_supplied(self) -> bool:
        """Whether calls wait for the replicas rather than replicas for calls: `AHEAD` times what these take at once."""
        return self._calls >= max(1, AHEAD * self._room.capacity)

    @property
    def waiting(self) -> int:
        """Calls beyond what the replicas take at once."""
        return max(0, self._calls - self._room.capacity)

    async def complete(self, request: Request[ResultT], *, affinity: str, order: int = 0) -> ResultT:
        """As `_complete`, and counted while it lasts, pauses between tries included."""
        self._calls += 1
        try:
            return await self._complete(request, affinity=affinity, order=order)
        finally:
            self._calls -= 1

    async def _complete(self, request: Request[ResultT], *, affinity: str, order: int = 0) -> ResultT:
        """The model's answer. Calls with one `affinity` (the row's id) prefer one replica;
        those of lower `order` come first.

        Raises:
            CallError: this call failed for good.
            ServerError: no server could be reached for `reconnect_s`, none is able to answer even a canary, it knows
            neither us nor the model, or it refuses what all requests have in common. The ledger does not record these,
            since they concern every call.
        """
        loop = asyncio.get_running_loop()
        tries: Tries | None = None
        while True:
            if self._closing.is_set():
                raise asyncio.CancelledError
            replica = await self._room.acquire(affinity, order=order, timeout_s=self._patience_s)
            asked = loop.time()
            tries = tries or Tries(self._policy, started=asked)
            result = await self._ask(replica, request, tries)
            if isinstance(result, Permanent):
                await self._check_befalls_one(result, request)
                raise self._error(result)
            if not isinstance(result, Retry):
                self._is_away = False
                self._understood.add(request.kind)
                return result
            tries.record(result, now=loop.time(), asked=asked, last_response=self._transport.last_response)
            if tries.first_disconnect is not None and not self._is_away:
                self._is_away = True  # logged once, however many calls wait
                log.warning(
                    "model_unreachable model=%s at=%s waiting_s=%.0f reason=%s",
                    self._target.model,
                    ",".join(self._target.urls),
                    self._policy.reconnect_s,
                    self._target.masked(result.message),
                )
            delay_s = self._policy.delay_s(result, tries.failures, self._rng)
            await self._check_bounds(tries, result, delay_s=delay_s)
            log.debug("call_retried model=%s trouble=%s delay_s=%.2f", self._target.model, result.trouble, delay_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), delay_s)

    @property
    def _patience_s(self) -> float | None:
        """How long a call waits for room; None: as long as it takes, since others wait for the endpoint's limits."""
        return None if self._pace.waiting else self._policy.deadline_s

    async def _ask(
        self, replica: Replica | None, request: Request[ResultT], tries: Tries | None = None
    ) -> ResultT | Permanent | Retry:
        """One try with an acquired replica, which is released; two when the template has no system role."""
        if replica is None:
            return Retry(Trouble.DISCONNECTED, "its host name has no address")
        try:
            foldable = has_system(request.messages)
            fold = foldable and self._folds_system
            result = await self._send(replica, request, tries, fold=fold)
            if isinstance(result, Permanent) and result.reason is Reason.NO_SYSTEM_ROLE and foldable and not fold:
                result = await self._send(replica, request, tries, fold=True)
                if not isinstance(result, Permanent | Retry) and not self._folds_system:
                    self._folds_system = True
                    log.info("system_role_folded model=%s", self._target.model)
        finally:
            self._room.release(replica)
        if isinstance(result, Permanent) and result.reason is Reason.NO_SYSTEM_ROLE:
            return Permanent(Reason.BAD_REQUEST, result.message)
        return result

    async def _send(
        self, replica: Replica, request: Request[ResultT], tries: Tries | None, *, fold: bool
    ) -> ResultT | Permanent | Retry:
        messages = fold_system(request.messages) if fold else request.messages
        clock = asyncio.get_running_loop().time
        came = clock()
        number = await self._pace.admit(sum(len(message["content"]) for message in messages), self._closing)
        if tries is not None:
            tries.held_s += clock() - came
        epoch = replica.limit.epoch
        outcome: ResultT | Permanent | Retry | None = None
        try:
            heard = partial(self._pace.heard, number)
            outcome = await self._transport.send(replica.address, request, messages=messages, heard=heard)
        finally:
            self._pace.answered(number, _tokens(outcome))
        if not isinstance(outcome, Retry):
            replica.limit.succeeded(now=asyncio.get_running_loop().time(), in_flight=replica.in_flight)
        elif outcome.trouble in (Trouble.THROTTLED, Trouble.TIMED_OUT):
            replica.limit.overloaded(sent_in=epoch)
            if outcome.after_s is not None and self._target.startup_s is None:
                self._pace.hold(min(outcome.after_s, self._policy.retry_after_max_s))
        elif outcome.trouble is Trouble.DISCONNECTED:
            self._room.rest(replica)
        return outcome

    async def _check_bounds(self, tries: Tries, retry: Retry, *, delay_s: float) -> None:
        """Raise when no bound allows another try after `delay_s`."""
        model = self._target.model
        now = asyncio.get_running_loop().time()
        message = self._target.masked(retry.message)
        if tries.gone(now=now, last_response=self._transport.last_response):
            where = ", ".join(self._target.urls)
            waited = f"{self._policy.reconnect_s:.0f} s"
            raise ServerError(f"model {model!r}: no server answered at {where} for {waited} ({message}); see its log")
        if tries.exhausted():
            if self._transport.last_success < tries.started and not await self._is_able():
                raise ServerError(f"model {model!r}: its servers answer nothing but errors ({message}); see their log")
            reason = Reason.TIMEOUT if retry.trouble is Trouble.TIMED_OUT else Reason.SERVER_ERROR
            raise CallError(reason, f"model {model!r}: gave up after {tries.failures} tries; the last: {message}")
        if tries.late(now=now, delay_s=delay_s):
            limit = f"{self._policy.deadline_s:.0f} s"
            raise CallError(Reason.TIMEOUT, f"model {model!r}: no answer within {limit}; the last try: {message}")

    async def _check_befalls_one(self, failure: Permanent, request: Request[object]) -> None:
        """Ask a canary when a request is refused before any like it was answered. The server may refuse a parameter
        always, or miss a header; then it refuses a request that says only "Hi", too.

        Raises:
            ServerError: it refuses that one too.
        """
        if failure.reason is not Reason.BAD_REQUEST or request.kind in self._understood:
            return
        async with self._trying:  # many calls are refused together; one canary is enough for all that it clears
            if request.kind in self._understood:
                return
            replica = await self._room.acquire("canary", order=FIRST, timeout_s=self._policy.try_s)
            result = await self._ask(replica, request.about(CANARY.messages))
            if isinstance(result, Permanent) and result.reason is Reason.BAD_REQUEST:
                message = self._target.masked(result.message)
                where = ", ".join(self._target.urls)
                raise ServerError(
                    f"model {self._target.model!r}: {where} refuses every request {request.kind}, even one that says "
                    f"only 'Hi' ({message}); mend what they have in common: the sampling, extraBody, an endpoint's "
                    "omit, names and headers, a server's serving.args"
                )
            if isinstance(result, Permanent) and result.reason in FATAL:
                raise self._error(result)
            if not isinstance(result, Retry):
                self._understood.add(request.kind)

    async def _is_able(self) -> bool:
        """Whether a server can answer anything. If so, the failure is the request's own and costs one row only."""
        replica = await self._room.acquire("canary", order=FIRST, timeout_s=self._policy.try_s)
        return not isinstance(await self._ask(replica, CANARIES[self._target.kind]), Retry)

    def _error(self, failure: Permanent) -> CallError | ServerError:
        message = self._target.masked(failure.message)
        model = self._target.model
        if failure.reason is Reason.UNAUTHORISED:
            return ServerError(
                f"model {model!r}: the server refuses our key or account ({message}); mend its secret or the account "
                "and run again: it goes on from here"
            )
        if failure.reason in FATAL:
            where = ", ".join(self._target.urls)
            return ServerError(f"model {model!r}: {where} does not serve {self._target.served_name!r} ({message})")
        return CallError(failure.reason, f"model {model!r}: {message}", spent=failure.spent)


def _tokens(outcome: object) -> int | None:
    """That a request took, as far as it is known."""
    match outcome:
        case Reply() | Letters():
            return outcome.prompt_tokens + outcome.completion_tokens if outcome.is_counted else None
        case Scalar():
            return outcome.prompt_tokens if outcome.is_counted else None
        case Permanent():
            return outcome.spent.prompt_tokens + outcome.spent.completion_tokens
        case _:
            return None


class Clients:
    """The pools of all models that are served now. Open it with `async with`."""

    def __init__(self, targets: Iterable[Target], *, policy: Policy | None = None, seed: int | None = None) -> None:
        rng = random.Random(seed)  # spreads retries; no result depends on it
        self._ended = asyncio.Event()
        self._pools = {t.model: ModelPool(t, policy=policy or Policy(), rng=rng) for t in targets if t.urls}

    async def __aenter__(self) -> Self:
        for pool in self._pools.values():
            await pool.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pool in self._pools.values():
            await pool.__aexit__(kind, error, trace)

    @property
    def in_flight(self) -> Mapping[str, int]:
        """Requests under way, by model."""
        return {name: pool.in_flight for name, pool in self._pools.items()}

    @property
    def held(self) -> Mapping[str, int]:
        """Requests that wait for an endpoint's limits, by model; without those that have none."""
        return {name: pool.held for name, pool in self._pools.items() if pool.held}

    def stop_sending(self) -> None:
        """See `ModelPool.stop_sending`."""
        for pool in self._pools.values():
            pool.stop_sending()

    async def complete(self, model: str, request: Request[ResultT], *, affinity: str, order: int = 0) -> ResultT:
        """See `ModelPool.complete`. Raises ModelAbsent: `model` is not served now."""
        pool = self._pools.get(model)
        if pool is None:
            raise ModelAbsent(model)
        try:
            return await pool.complete(request, affinity=affinity, order=order)
        finally:
            self._ended.set()

    async def until_wanted(self) -> None:
        """Wait until every model wants calls; while fewer than `RUN_AHEAD` calls wait for replicas, until some model
        does. More rows would wait for the others, and take memory."""
        while not self._is_wanted:
            self._ended.clear()
            await self._ended.wait()

    @property
    def _is_wanted(self) -> bool:
        supplied = [pool.is_supplied for pool in self._pools.values()]
        if not any(supplied):
            return True
        return not all(supplied) and sum(pool.waiting for pool in self._pools.values()) < RUN_AHEAD
