"""A `Caller` and a `Completer` that answer from a function, and a ledger in memory."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar, cast

from moaa.api.mixture import JudgeModel, Sampling
from moaa.asking.caller import Choice, Letters, Reply, Scalar
from moaa.client.request import ChatRequest, Request
from moaa.conversation import Conversation
from moaa.errors import ModelAbsent
from moaa.store.ledger.segments import Entry

Answer = Callable[["Asked"], str | Reply]
ResultT = TypeVar("ResultT")


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


@dataclass(frozen=True)
class AskedLetter:
    path: str
    model: str
    choice: Choice


@dataclass(frozen=True)
class AskedScore:
    path: str
    model: str
    answered: Conversation

    @property
    def answer(self) -> str:
        return self.answered[-1]["content"]


def _length(asked: AskedScore) -> float:
    return float(len(asked.answer))


def _even(_: AskedLetter) -> Mapping[str, float]:
    return {"A": 0.5, "B": 0.5}


@dataclass
class ScriptedCaller:
    """Answers with `answer(asked)`, `letters(asked)` or `score_of(asked)`, which may raise; those in `absent` are not
    there."""

    answer: Answer = lambda asked: f"{asked.model}@{asked.path}"
    absent: Iterable[str] = ()
    letters: Callable[[AskedLetter], Mapping[str, float]] = _even
    score_of: Callable[[AskedScore], float] = _length
    asked: list[Asked] = field(default_factory=list)
    asked_scores: list[AskedScore] = field(default_factory=list)
    asked_letters: list[AskedLetter] = field(default_factory=list)

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

    async def choose(self, path: str, model: str, choice: Choice, *, key: str = "") -> Letters:
        if model in self.absent:
            raise ModelAbsent(model)
        assert not key
        assert path not in [asked.path for asked in self.asked_letters], f"{path} was asked for twice"
        asked = AskedLetter(path, model, choice)
        self.asked_letters.append(asked)
        return Letters(self.letters(asked), prompt_tokens=1, completion_tokens=1)

    async def score(self, path: str, model: str, answered: Conversation) -> Scalar:
        if model in self.absent:
            raise ModelAbsent(model)
        assert path not in [asked.path for asked in self.asked_scores], f"{path} was asked for twice"
        asked = AskedScore(path, model, answered)
        self.asked_scores.append(asked)
        return Scalar(self.score_of(asked), prompt_tokens=1)

    @property
    def paths(self) -> list[str]:
        """Of the calls for an answer."""
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

    async def complete(self, model: str, request: Request[ResultT], *, affinity: str, order: int) -> ResultT:
        assert affinity, "the row's id"
        assert order >= 0
        asked: object = request
        assert isinstance(asked, ChatRequest)
        if model in self.absent:
            raise ModelAbsent(model)
        self.requests.append((model, asked))
        failure = self.failing(asked)
        if failure is not None:
            raise failure
        number = len(self.requests)
        if self.pause_s:
            await asyncio.sleep(self.pause_s)
        return cast("ResultT", Reply(self.answer(model, asked, number), "stop", prompt_tokens=5, completion_tokens=2))
