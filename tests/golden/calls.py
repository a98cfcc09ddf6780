"""Golden values of model calls: paths, keys, sampling, seeds, request hashes and prompts of one row.

Models answer by a digest of what they are asked, so that answers do not depend on the order in which calls end. Every
message is kept once, under the first characters of its digest.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from moaa.api.mixture import Judge, JudgeModel, Mixture, Sampling
from moaa.api.prompts import Prompts, effective
from moaa.api.training import Dpo
from moaa.asking.asker import Asker
from moaa.asking.caller import Caller, Choice, Letters, Reply, Scalar
from moaa.asking.windows import CharacterCounter, Window, Windows
from moaa.client.ledgered import Calls, LedgeredCaller
from moaa.client.letters import LetterRequest
from moaa.client.request import ChatRequest, Request, request_document
from moaa.conversation import Conversation, Message, fold_system
from moaa.errors import CallError
from moaa.judge.methods import method_of
from moaa.judge.prompts import question_text
from moaa.judge.row import pair_row, ranking_row
from moaa.mixture.alone import answer_alone, sample_answers
from moaa.rows import RankingRow, SampleRow
from tests.answering import answer_conversation
from tests.golden.book import digest
from tests.golden.resources import METHODS, OWN_PROMPTS, judge
from tests.unit.calls_scripted import MemoryLedger

SEED = 11
OURS = effective(Prompts())
OWN = effective(Prompts.model_validate(OWN_PROMPTS))
DIGESTS = {name: digest(name) for name in ("a", "b", "far", "agg", "base", "eva")}
CHOICE = "Selected Criteria:\n1. Accuracy\n2. Depth\nExplanation:\nClarity matters less."
QUESTION = [Message(role="user", content="Why is the sky blue?")]
TURNS = [
    Message(role="system", content="Answer in verse."),
    Message(role="user", content="Why is the sky blue?"),
    Message(role="assistant", content="the data's own answer"),
    Message(role="user", content="And at dusk? {question} 你好 \ud83c"),
]
MIXTURE = Mixture.model_validate(
    {
        "layers": [
            {"proposers": [{"model": "a", "samples": 2}, {"model": "b", "temperature": "0.9"}, {"model": "a"}]},
            {"proposers": [{"model": "far", "maxTokens": 256}, {"model": "a"}]},
        ],
        "aggregator": {"model": "agg", "temperature": "0.3"},
        "minProposals": 2,
    }
)
TOLERANT = MIXTURE.with_(min_proposals=1)
NARROW: Windows = {"agg": Window(tokens=520, counter=CharacterCounter())}
"""In which proposals and evaluations have to be cut."""

Answer = Callable[[str, ChatRequest], str]
ResultT = TypeVar("ResultT")


def by_digest(model: str, request: ChatRequest) -> str:
    """A verdict by a digest of what is shown; what `b` says at temperature 0 cannot be read."""
    content = request.messages[-1]["content"]
    if "Selected Criteria" in content or content.startswith("CRITERIA"):
        return CHOICE
    said = digest(f"{model} {content}")[:8]
    if model == "b" and request.temperature == 0:
        return f"{said}: I cannot decide"
    if "[[A]]" in content or content.startswith(("META", "SINGLE")):
        return f"{said}: [[{'A' if int(said, 16) % 2 else 'B'}]]"
    return f"{model} says {said}"


def long_winded(model: str, request: ChatRequest) -> str:
    return by_digest(model, request) + " and so on" * 40


def forgetful(model: str, request: ChatRequest) -> str:
    """One proposer and one judge, `far`, never has an answer."""
    if model == "far":
        raise CallError("empty-answer", "far said nothing")
    return by_digest(model, request)


@dataclass
class Clients:
    """Answers by a function and keeps what was sent, by seed."""

    answer: Answer
    sent: dict[int, ChatRequest] = field(default_factory=dict)

    async def complete(self, model: str, request: Request[ResultT], *, affinity: str, order: int) -> ResultT:
        assert (affinity, order) == ("row-1", 0)
        asked: object = request
        if isinstance(asked, LetterRequest):
            first = int(digest(f"{model} {asked.choice.said}")[:4], 16) / 0xFFFF
            return cast("ResultT", Letters({"A": first / 2, "B": (1 - first) / 2}, 5, 1))
        assert isinstance(asked, ChatRequest)
        assert asked.seed not in self.sent, "two calls of a row share a seed"
        self.sent[asked.seed] = asked
        return cast("ResultT", Reply(self.answer(model, asked), "stop", prompt_tokens=5, completion_tokens=2))


@dataclass
class Recorder:
    """A caller that writes down what it is asked."""

    inner: LedgeredCaller
    texts: dict[str, Any]
    asked: list[dict[str, Any]] = field(default_factory=list)

    async def call(
        self, path: str, model: str, messages: Conversation, sampling: Sampling | JudgeModel, *, key: str = ""
    ) -> Reply:
        kept = [dict(message) for message in messages]
        name = digest(str(kept))[:12]
        self.texts[name] = [{"role": m["role"], "content": _ascii(str(m["content"]))} for m in kept]
        self.asked.append({"path": path, "key": key, "model": model, "messages": name})
        return await self.inner.call(path, model, messages, sampling, key=key)

    async def choose(self, path: str, model: str, choice: Choice, *, key: str = "") -> Letters:
        told = {"said": choice.said, "opening": choice.opening, "question": choice.question}
        self.asked.append({"path": path, "key": key, "model": model, **told})
        return await self.inner.choose(path, model, choice, key=key)

    async def score(self, path: str, model: str, answered: Conversation) -> Scalar:
        self.asked.append({"path": path, "model": model, "answered": [dict(message) for message in answered]})
        return await self.inner.score(path, model, answered)


def calls() -> dict[str, Any]:
    """By scene: what was asked, what was sent and recorded, and what came of the row."""
    texts: dict[str, Any] = {}
    found = {name: asyncio.run(_scene(scene, texts)) for name, scene in _scenes().items()}
    return {"scenes": found, "texts": texts}


def requests() -> dict[str, Any]:
    """A request as it is hashed, as it is sent, and as it is sent to a model without a system role."""
    sampling = Sampling(max_tokens=99)
    asked = ChatRequest(TURNS[:2], sampling.temperature, sampling.top_p, sampling.max_tokens, seed=7)
    return {
        "hashed": request_document(asked, model_digest=DIGESTS["a"], run_seed=SEED, key="retry1"),
        "sent": asked.body(served_name="served-a", messages=asked.messages),
        "folded": asked.body(served_name="served-a", messages=fold_system(asked.messages)),
    }


@dataclass(frozen=True)
class Scene:
    act: Callable[[Caller], Awaitable[Any]]
    answer: Answer = by_digest
    windows: Windows = field(default_factory=dict)


def _scenes() -> dict[str, Scene]:
    alone = Sampling(max_tokens=64)
    found = {
        "mixture, our prompts": Scene(lambda c: _mixed(QUESTION, OURS, c)),
        "mixture, own prompts, two turns": Scene(lambda c: _mixed(TURNS, OWN, c)),
        "mixture of an evaluation": Scene(lambda c: _mixed(QUESTION, OWN, c, path="s1/")),
        "mixture, too few proposals": Scene(lambda c: _mixed(QUESTION, OWN, c), forgetful),
        "mixture, a proposer fails": Scene(lambda c: _mixed(QUESTION, OWN, c, mixture=TOLERANT), forgetful),
        "mixture, narrow window": Scene(lambda c: _mixed(QUESTION, OWN, c, windows=NARROW), long_winded, NARROW),
        "alone": Scene(lambda c: answer_alone(TURNS, "base", alone, Asker(c))),
        "alone in an evaluation": Scene(lambda c: answer_alone(TURNS, "base", alone, Asker(c).at("s0"))),
        "samples": Scene(lambda c: sample_answers(TURNS, "base", Dpo(samples=3), Asker(c))),
    }
    for method in METHODS:
        found |= _judged(method)
    narrow = Judge.model_validate(judge("Mixture"))
    found["Mixture, narrow window"] = Scene(
        lambda c: _ranked(narrow, _row(2), Asker(c, OWN, NARROW)), long_winded, NARROW
    )
    return found


def _judged(method: str) -> dict[str, Scene]:
    declared = Judge.model_validate(judge(method))
    everything = Judge.model_validate(judge(method) | {"criteria": 0})
    some = Judge.model_validate(judge(method) | {"criteria": 2})
    weighed = Judge.model_validate(judge(method) | {"verdict": "LogProbs"})
    return {
        f"{method}, our prompts": Scene(lambda c: _ranked(some, _row(2), Asker(c, OURS))),
        f"{method}, all criteria, our prompts": Scene(lambda c: _ranked(everything, _row(2), Asker(c, OURS))),
        f"{method}, own prompts, both rows": Scene(lambda c: _both_rows(declared, c)),
        f"{method}, a judge fails": Scene(lambda c: _ranked(declared, _row(2), Asker(c, OWN)), forgetful),
        f"{method}, equal texts": Scene(lambda c: _ranked(declared, _row(1, 1), Asker(c, OWN))),
        f"{method}, verdicts by log-probabilities": Scene(
            lambda c: _ranked(weighed, _row(2), Asker(c, OWN)), by_digest
        ),
        f"{method}, against a baseline": Scene(lambda c: _duel(declared, Asker(c, OWN).at("s0"))),
    }


async def _both_rows(declared: Judge, caller: Caller) -> Any:
    row = _row(3, 1)
    ranked = await method_of(declared).rank(row["messages"], row["samples"], Asker(caller, OWN))
    return {"ranking": ranking_row(row, ranked), "pair": pair_row(row, ranked)}


async def _duel(declared: Judge, asker: Asker) -> float | None:
    compared = await method_of(declared).duel(question_text(TURNS), "mine", "theirs", asker)
    return compared.comparison["score"] if compared else 0.5


async def _ranked(declared: Judge, row: SampleRow, asker: Asker) -> RankingRow:
    return ranking_row(row, await method_of(declared).rank(row["messages"], row["samples"], asker))


async def _mixed(
    messages: Conversation,
    prompts: dict[str, str],
    caller: Caller,
    *,
    mixture: Mixture = MIXTURE,
    windows: Windows | None = None,
    path: str = "",
) -> Any:
    asker = Asker(caller, prompts, windows or {}, path.rstrip("/"))
    return (await answer_conversation(messages, mixture, asker)).row("row-1")


def _row(different: int, same: int = 0) -> SampleRow:
    """So many different samples, and so many that equal the first."""
    samples = [f"sample {i}" for i in range(different)] + ["sample 0"] * same
    return SampleRow(id="row-1", messages=TURNS if different > 2 else QUESTION, samples=samples)


async def _scene(scene: Scene, texts: dict[str, Any]) -> dict[str, Any]:
    clients, ledger = Clients(scene.answer), MemoryLedger()
    calls = Calls(clients=clients, ledger=ledger, digests=DIGESTS, run_seed=SEED, windows=scene.windows)
    caller = Recorder(calls.of("row-1"), texts)
    try:
        result = await scene.act(caller)
    except CallError as error:
        result = {"reason": error.reason, "error": str(error)}
    return {
        "asked": sorted(" ".join(filter(None, call.values())) for call in caller.asked),
        "sent": sorted(_sent(seed, request) for seed, request in clients.sent.items()),
        "ledger": sorted(_entry(entry) for entry in ledger.entries.values()),
        "result": _plain(result),
    }


def _sent(seed: int, request: ChatRequest) -> str:
    return f"seed {seed}: {request.temperature} {request.top_p} {request.max_tokens}"


def _entry(entry: Any) -> str:
    if entry.letters is not None:
        said = f"letters {entry.letters}"
    else:
        said = f"{entry.failure.reason}: {entry.failure.message}" if entry.failure else entry.answer.text
    return f"{entry.path} {entry.key} {entry.model}: {said[:60]}"


def _plain(value: Any) -> Any:
    """JSON can carry it: lone surrogates written out."""
    if isinstance(value, str):
        return _ascii(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _ascii(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
