"""When an engine with continuous batching would have answered: a model of vLLM's timing. Pure; the caller's clock
counts.

An engine works in steps. In a step every running sequence gets one token, and up to `chunk_tokens` of waiting prompts
are read beside them; a step lasts as long as its parts say (`Speed`). At most `slots` sequences are in the engine;
others wait, first come, first served. Blocks of a prompt's beginning that were seen before are not read again. Blocks
enter the cache when their request is admitted, and leave it least recently used first.

Left out: preemption when the cache of keys and values is full, and speculative tokens.
"""

import hashlib
import json
import math
import random
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any, Generic, TypeVar

KeyT = TypeVar("KeyT")

CHARACTERS = 4
"""Of a token."""
BLOCK_TOKENS = 64
"""vLLM's own blocks are of 16; four at once cost a fourth of the hashing."""
TEXT = "It depends on what is asked, and on whom; then again, the rest follows from the first and needs no more words. "


@dataclass(frozen=True)
class Speed:
    """Parts of a step, in seconds. The defaults are of the order of an 8B model on one H100."""

    step_s: float = 0.008
    sequence_s: float = 0.00005
    """For each running sequence."""
    prompt_token_s: float = 0.00002
    """For each token of a prompt that is read."""
    chunk_tokens: int = 2048
    slots: int = 64
    cache_blocks: int = 4096
    factor: float = 1.0
    """How many times as fast as that."""


@dataclass(frozen=True)
class Answer:
    """What a model says to one request, and what that takes."""

    prompt: str
    text: str
    tokens: int

    @property
    def prompt_tokens(self) -> int:
        return max(1, len(self.prompt) // CHARACTERS)


MEDIAN_TOKENS = 180
SIGMA = 0.8
"""Of a log-normal distribution: half of all answers have under 180 tokens, one of a hundred over 1,150."""


def answer_to(body: Mapping[str, Any]) -> Answer:
    """The answer to a request's body: equal bodies get equal answers, seed included."""
    messages: Sequence[Mapping[str, str]] = body["messages"]
    prompt = "".join(f"{message['role']}\n{message['content']}\n" for message in messages)
    identity = json.dumps([body["model"], prompt, body.get("seed")]).encode()
    digest = hashlib.sha256(identity).hexdigest()
    drawn = MEDIAN_TOKENS * math.exp(SIGMA * random.Random(digest).gauss(0.0, 1.0))
    tokens = max(1, min(int(drawn), int(body["max_tokens"]) - 1))
    first = f"{digest[:16]}. "
    text = (first + TEXT * (1 + tokens * CHARACTERS // len(TEXT)))[: max(len(first), tokens * CHARACTERS)]
    return Answer(prompt, text, tokens)


@dataclass
class Work(Generic[KeyT]):
    """A request in an engine."""

    key: KeyT
    answer: Answer
    arrived: float
    unread: int = 0
    """Tokens of its prompt."""


@dataclass
class Engine(Generic[KeyT]):
    """One replica. Tell it the time with `advance` before anything else is asked of it."""

    speed: Speed
    cached_tokens: int = 0
    """Of prompts, found in the cache."""
    prompt_tokens: int = 0
    _at: float = 0.0
    """When the last step ended."""
    _steps: int = 0
    _arrivals: int = 0
    _waiting: deque[Work[KeyT]] = field(default_factory=deque)
    _reading: deque[Work[KeyT]] = field(default_factory=deque)
    _unread: int = 0
    """Tokens of the prompts that are read."""
    _running: list[tuple[int, int, Work[KeyT]]] = field(default_factory=list)
    """A heap by the step in which they end."""
    _blocks: OrderedDict[int, None] = field(default_factory=OrderedDict)

    @property
    def load(self) -> int:
        """Requests that it has."""
        return len(self._waiting) + len(self._reading) + len(self._running)

    def add(self, key: KeyT, answer: Answer, *, now: float) -> None:
        """A request arrives; `key` names it when it is answered. `advance(now)` went before."""
        if self.load == 0:
            self._at = now
        self._waiting.append(Work(key, answer, now))

    def advance(self, now: float) -> list[tuple[KeyT, Answer, float]]:
        """The requests that were answered up to `now`, each with its time."""
        ended: list[tuple[KeyT, Answer, float]] = []
        while (steps := self._next_steps()) is not None:
            count, duration = steps
            if not self._reading and self._at + count * duration > now:
                count = int((now - self._at) / duration)  # the batch stays as it is: stop between two steps
            if count == 0 or self._at + count * duration > now:
                break
            self._step(count, duration, ended)
        return ended

    def next_event(self) -> float | None:
        """When to advance next; None while there is nothing to do."""
        steps = self._next_steps()
        return None if steps is None else self._at + steps[0] * steps[1]

    def _next_steps(self) -> tuple[int, float] | None:
        """How many steps are alike, from here, and what one lasts."""
        self._admit()
        speed, running = self.speed, len(self._running)
        duration = speed.step_s + speed.sequence_s * running
        if self._reading:
            chunk = min(speed.chunk_tokens, self._unread)
            return 1, (duration + speed.prompt_token_s * chunk) / speed.factor
        if not running:
            return None
        duration /= speed.factor
        count = self._running[0][0] - self._steps
        if self._waiting and running < speed.slots:
            count = min(count, max(1, math.ceil((self._waiting[0].arrived - self._at) / duration)))
        return count, duration

    def _admit(self) -> None:
        while self._waiting and len(self._reading) + len(self._running) < self.speed.slots:
            if self._waiting[0].arrived > self._at:
                return
            work = self._waiting.popleft()
            known = self._find(work.answer.prompt)
            tokens = work.answer.prompt_tokens
            self.prompt_tokens += tokens
            self.cached_tokens += min(known, tokens - 1)
            work.unread = max(1, tokens - known)
            self._unread += work.unread
            self._reading.append(work)

    def _find(self, prompt: str) -> int:
        """Tokens of the prompt's beginning that are in the cache; all its blocks are afterwards."""
        size, chain, known, is_known = BLOCK_TOKENS * CHARACTERS, 0, 0, True
        for start in range(0, len(prompt) - size + 1, size):
            chain = hash((chain, prompt[start : start + size]))
            is_known = is_known and chain in self._blocks
            known += BLOCK_TOKENS * is_known
            self._blocks[chain] = None
            self._blocks.move_to_end(chain)
        while len(self._blocks) > self.speed.cache_blocks:
            self._blocks.popitem(last=False)
        return known

    def _step(self, count: int, duration: float, ended: list[tuple[KeyT, Answer, float]]) -> None:
        self._at += count * duration
        self._steps += count
        budget = self.speed.chunk_tokens
        while self._reading and budget > 0:
            work = self._reading[0]
            read = min(work.unread, budget)
            work.unread -= read
            self._unread -= read
            budget -= read
            if work.unread:
                break
            self._reading.popleft()  # the step that reads its last token gives the answer's first
            heappush(self._running, (self._steps + work.answer.tokens - 1, self._arrivals, work))
            self._arrivals += 1
        while self._running and self._running[0][0] <= self._steps:
            work = heappop(self._running)[2]
            ended.append((work.key, work.answer, self._at))
