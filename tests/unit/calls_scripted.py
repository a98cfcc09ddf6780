"""A `Caller` and a `Completer` that answer from a function, and a ledger in memory."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from moaa.api.mixture import JudgeModel, Sampling
from moaa.asking.caller import Reply
from moaa.client.request import ChatRequest
from moaa.conversation import Conversation
from moaa.errors import ModelAbsent
from moaa.store.ledger.segments import Entry

Answer = Callable[["Asked"], str | Reply]


@dataclass(frozen=True)
class Asked:
    path: str
    model: str
    messages: Conversation
    sampling: Sampling | JudgeModel
    key: str = ""

    @property
    def text(self) -> str:
        """All of the prompt."""
        return "\n".join(f"<{m['role']}>{m['content']}" for m in self.messages)


def reply(text: str) -> Reply:
    return Reply(text, "stop", prompt_tokens=1, completion_tokens=1)


def cut(text: str) -> Reply:
    """An answer that ended at its limit of tokens."""
    return Reply(text, "length", prompt_tokens=1, completion_tokens=8)


@dataclass
class ScriptedCaller:
    """Answers with `answer(asked)`, which may raise; models in `absent` are absent."""

    answer: Answer = lambda asked: f"{asked.model}@{asked.path}"
    absent: Iterable[str] = ()
    asked: list[Asked] = field(default_factory=list)

    async def call(
        self, path: str, model: str, messages: Conversation, sampling: Sampling | JudgeModel, *, key: str = ""
    ) -> Reply:
        if model in self.absent:
            raise ModelAbsent(model)
        asked = Asked(path, model, messages, sampling, key)
        names = [(a.path, a.key) for a in self.asked]
        assert (path, key) not in names, f"{path} was asked for twice"
        self.asked.append(asked)
        answer = self.answer(asked)
        return answer if isinstance(answer, Reply) else reply(answer)

    @property
    def paths(self) -> list[str]:
        return sorted(a.path + (f"#{a.key}" if a.key else "") for a in self.asked)

    def at(self, path: str, key: str = "") -> Asked:
        return next(a for a in self.asked if (a.path, a.key) == (path, key))


@dataclass
class MemoryLedger:
    entries: dict[tuple[str, str, str], Entry] = field(default_factory=dict)

    async def lookup(self, row: str, path: str, request_hash: str) -> Entry | None:
        return self.entries.get((row, path, request_hash))

    async def record(self, entry: Entry) -> None:
        self.entries.setdefault((entry.row, entry.path, entry.key), entry)


def _never(_: ChatRequest) -> None:
    return None


def _numbered(model: str, _: ChatRequest, number: int) -> str:
    return f"answer {number} of {model}"


@dataclass
class ScriptedClients:
    """Answers with a number that no two requests share; models in `absent` are absent."""

    absent: Iterable[str] = ()
    failing: Callable[[ChatRequest], Exception | None] = _never
    answer: Callable[[str, ChatRequest, int], str] = _numbered
    pause_s: float = 0.0
    requests: list[tuple[str, ChatRequest]] = field(default_factory=list)

    async def complete(self, model: str, request: ChatRequest, *, affinity: str) -> Reply:
        assert affinity, "the row's id"
        if model in self.absent:
            raise ModelAbsent(model)
        self.requests.append((model, request))
        failure = self.failing(request)
        if failure is not None:
            raise failure
        number = len(self.requests)
        if self.pause_s:
            await asyncio.sleep(self.pause_s)
        return Reply(self.answer(model, request, number), "stop", prompt_tokens=5, completion_tokens=2)
