"""Limits of endpoints, in virtual time: servers that count in their own ways, the pool that keeps to them."""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import pytest

from benchmarks.generation.ideal import VirtualLoop
from moaa.asking.caller import Reply
from moaa.client.outcome import Retry, Trouble
from moaa.client.pool import clients as pool
from moaa.client.pool.told import read_limits, seconds_of
from moaa.client.pool.transport import Transport
from moaa.client.request import ChatRequest
from moaa.client.target import Target

ANSWER_S = 2.0
TOKENS = 500
Headers = dict[str, str]


@dataclass
class Server(ABC):
    """Counts `per_minute` of what a call takes in its own way; `takes` is 1 where it counts requests."""

    per_minute: float
    takes: float = 1.0
    counted: str = "requests"
    tells: bool = True
    says_when: bool = False
    """Its refusals say how long to wait."""
    admitted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    @abstractmethod
    def admits(self, now: float) -> bool: ...

    @abstractmethod
    def state(self, now: float) -> tuple[float, float]:
        """What remains, and seconds until all is back."""

    def ask(self) -> tuple[bool, Headers, float]:
        now = asyncio.get_running_loop().time()
        is_admitted = self.admits(now)
        (self.admitted if is_admitted else self.refused).append(now)
        remaining, reset_s = self.state(now)
        told = {"limit": f"{self.per_minute:g}", "remaining": f"{int(remaining)}", "reset": f"{reset_s:.3f}s"}
        headers = {f"x-ratelimit-{name}-{self.counted}": value for name, value in told.items()} if self.tells else {}
        return is_admitted, headers, reset_s


@dataclass
class Sliding(Server):
    """No minute, wherever it begins, holds more."""

    _log: deque[float] = field(default_factory=deque)

    def admits(self, now: float) -> bool:
        while self._log and self._log[0] <= now - 60:
            self._log.popleft()
        is_room = (len(self._log) + 1) * self.takes <= self.per_minute
        if is_room:
            self._log.append(now)
        return is_room

    def state(self, now: float) -> tuple[float, float]:
        return self.per_minute - len(self._log) * self.takes, 60 - (now - self._log[0]) if self._log else 0


@dataclass
class Window(Server):
    """Counts from zero at every full minute."""

    _minute: int = -1
    _used: float = 0

    def admits(self, now: float) -> bool:
        if int(now // 60) != self._minute:
            self._minute, self._used = int(now // 60), 0
        is_room = self._used + self.takes <= self.per_minute
        self._used += self.takes * is_room
        return is_room

    def state(self, now: float) -> tuple[float, float]:
        return self.per_minute - self._used, 60 - now % 60


@dataclass
class Bucket(Server):
    """Refills bit by bit."""

    _level: float | None = None
    _at: float = 0

    def admits(self, now: float) -> bool:
        level = self.per_minute if self._level is None else self._level
        self._level = min(self.per_minute, level + (now - self._at) * self.per_minute / 60)
        self._at = now
        is_room = self._level >= self.takes
        self._level -= self.takes * is_room
        return is_room

    def state(self, now: float) -> tuple[float, float]:
        assert self._level is not None, now
        return self._level, 60 * (self.per_minute - self._level) / self.per_minute


def play(server: Server, *, seconds: float, requests: float | None = None, tokens: float | None = None) -> float:
    """More calls want to be sent than may, for so long. What was used of what is allowed, after the first minute."""

    class Direct(Transport):
        async def send(
            self,
            _address: Any,
            _request: Any,
            *,
            messages: Any,  # noqa: ARG002 - the signature of the real one
            heard: Callable[[Mapping[str, str]], None] = lambda _: None,
        ) -> Any:
            is_admitted, headers, reset_s = server.ask()
            await asyncio.sleep(ANSWER_S if is_admitted else 0.05)
            heard(headers)
            self.last_response = asyncio.get_running_loop().time()
            if not is_admitted:
                return Retry(Trouble.THROTTLED, "slow down", reset_s if server.says_when else None)
            self.last_success = self.last_response
            return Reply("fine", "stop", prompt_tokens=TOKENS - 100, completion_tokens=100)

    target = Target(
        "m", ("http://10.0.0.1:8000/v1",), "m", 2048, 32, requests_per_minute=requests, tokens_per_minute=tokens
    )
    request = ChatRequest(
        messages=({"role": "user", "content": "x" * 900},),
        temperature=Decimal(1),
        top_p=Decimal(1),
        max_tokens=8,
        seed=0,
    )

    async def run() -> None:
        async with pool.Clients([target], seed=1) as clients, asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(clients.complete("m", request, affinity=str(i), order=i))
                for i in range(int(2 * server.per_minute / server.takes * seconds / 60))
            ]
            await asyncio.sleep(seconds)
            for task in tasks:
                task.cancel()

    with patch.object(pool, "Transport", Direct), asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(run())
    used = sum(60 <= at < seconds for at in server.admitted) * server.takes
    return used / (server.per_minute * (seconds / 60 - 1))


@pytest.mark.parametrize("kind", [Sliding, Window, Bucket])
def test_a_stated_limit_of_requests_is_kept_and_used(kind: type[Server]) -> None:
    server = kind(per_minute=120, tells=False)
    assert play(server, seconds=180, requests=120) > 0.95
    assert server.refused == []


@pytest.mark.parametrize("kind", [Sliding, Window, Bucket])
def test_a_stated_limit_of_tokens_is_kept_and_used(kind: type[Server]) -> None:
    server = kind(per_minute=60_000, takes=TOKENS, counted="tokens", tells=False)
    assert play(server, seconds=180, tokens=60_000) > 0.95
    assert server.refused == []


@pytest.mark.parametrize("kind", [Window, Bucket])
@pytest.mark.parametrize("counted", ["requests", "tokens"])
def test_a_limit_that_headers_tell_is_kept_and_used(kind: type[Server], counted: str) -> None:
    takes = 1.0 if counted == "requests" else TOKENS
    server = kind(per_minute=120 * takes, takes=takes, counted=counted, says_when=True)
    assert play(server, seconds=180) > 0.95
    late = [at for at in server.refused if at > 10]
    assert len(late) <= 0.01 * len(server.admitted), f"refused at {late[:9]}"


def test_the_dialects_of_headers() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    openai = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-remaining-tokens": "149984",
        "x-ratelimit-reset-tokens": "6m0s",
    }
    found = read_limits(openai)
    assert found is not None
    assert found.requests is not None
    assert (found.requests.remaining, found.requests.reset_s, found.requests.limit) == (59, 1, 60)
    assert found.tokens is not None
    assert (found.tokens.remaining, found.tokens.reset_s, found.tokens.limit) == (149984, 360, None)
    anthropic = {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": "2026-01-01T00:00:12Z",
    }
    found = read_limits(anthropic, now=at)
    assert found is not None
    assert found.requests is not None
    assert found.requests.reset_s == 12
    assert seconds_of(str(at.timestamp() + 3), now=at) == 3
    assert read_limits({"x-ratelimit-remaining": "5", "x-ratelimit-reset-requests": "soon"}) is None
    assert read_limits({"x-ratelimit-remaining-requests": "-1", "x-ratelimit-reset-requests": "1s"}) is None
