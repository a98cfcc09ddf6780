"""The real `Caller`: looks a call up in the ledger first and sends it only if it was never finished.

Always true: an answer is recorded before its caller sees it, so no later call rests on an answer that the ledger does
not know; equal calls of one row that are under way together are sent once; a permanent failure is recorded like an
answer, so that a resumed run agrees with the first (another fingerprint asks again); a failure that may pass
(`TRANSIENT`) is not, so that another attempt tries again. A call that is out when its row is cancelled goes on: what
is paid is recorded, if it comes before the shard closes.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar
from weakref import WeakValueDictionary

from moaa.api.mixture import JudgeModel, Sampling
from moaa.asking.caller import Choice, Letters, Reply, Scalar
from moaa.asking.reasons import TRANSIENT
from moaa.asking.windows import Windows, completion_tokens
from moaa.client.letters import LetterRequest
from moaa.client.request import ChatRequest, Request, request_hash, sampling_seed
from moaa.client.scores import ScoreRequest
from moaa.client.usage import Usage
from moaa.conversation import Conversation, Message
from moaa.errors import CallError, Spent, StageError
from moaa.store.ledger.segments import Answer, Entry, Failure

ResultT = TypeVar("ResultT")


class CallLog(Protocol):
    """What this module needs of the ledger (`moaa.store.ledger.ledger.Ledger`)."""

    async def lookup(self, row: str, path: str, request_hash: str) -> Entry | None: ...

    async def record(self, entry: Entry) -> None: ...


class Completer(Protocol):
    """What this module needs of the clients (`moaa.client.pool.clients.Clients`)."""

    async def complete(self, model: str, request: Request[ResultT], *, affinity: str, order: int) -> ResultT:
        """Raises CallError, ServerError, ModelAbsent."""
        ...


@dataclass(frozen=True)
class Calls:
    """What the callers of a shard's rows share."""

    clients: Completer
    ledger: CallLog
    digests: Mapping[str, str]
    """`moaa.plan.digests.answering_digest` of every model that may be asked, served now or not."""
    run_seed: int
    windows: Windows
    """Of every model that may be asked, served now or not: requests are looked up as they would be sent."""
    usage: Usage = field(default_factory=Usage)
    under_way: WeakValueDictionary[tuple[str, str, str], asyncio.Lock] = field(default_factory=WeakValueDictionary)
    """One lock for each call under way, so that items of one row (subjects of an evaluation) share an answer."""

    sending: set[asyncio.Task[Entry]] = field(default_factory=set)
    """Calls that are out: their answers are recorded even if nobody waits for them any more."""

    async def keep(self, call: Coroutine[object, object, Entry]) -> Entry:
        """The recorded outcome of a call that goes on when its caller is cancelled. Raises as the call."""
        task = asyncio.create_task(call)
        self.sending.add(task)
        task.add_done_callback(self.sending.discard)
        return await asyncio.shield(task)

    def of(self, row: str, *, order: int = 0) -> "LedgeredCaller":
        """The caller of one row. Where calls wait for a server, those of lower `order` come first."""
        return LedgeredCaller(row, self, order)


class LedgeredCaller:
    """Asks models on behalf of one row; see `moaa.asking.caller.Caller`."""

    def __init__(self, row: str, calls: Calls, order: int) -> None:
        self._row = row
        self._order = order
        self._calls = calls

    async def call(
        self, path: str, model: str, messages: Conversation, sampling: Sampling | JudgeModel, *, key: str = ""
    ) -> Reply:
        """See `Caller.call`.

        Raises:
            CallError, ModelAbsent: as there.
            ServerError: the model's servers are gone.
            StoreError: the ledger cannot be written (Fenced: a newer attempt owns the shard).
            StageError: the stage does not know the model, a mistake of the plan.
        """
        calls = self._calls
        max_tokens = self._budget(path, model, messages, max_tokens=sampling.max_tokens, key=key)
        request = ChatRequest(
            messages=messages,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=max_tokens,
            seed=sampling_seed(run_seed=calls.run_seed, row=self._row, path=path, key=key),
        )
        lowered_to = max_tokens if max_tokens < sampling.max_tokens else None
        entry = await self._entry(path, model, request, _answered, key=key, lowered_to=lowered_to)
        assert entry.answer is not None, "an answer was asked for"
        return Reply(
            entry.answer.text,
            entry.answer.finish_reason,
            prompt_tokens=entry.prompt_tokens,
            completion_tokens=entry.completion_tokens,
            is_counted=entry.is_counted,
            thought=entry.thought,
        )

    async def choose(self, path: str, model: str, choice: Choice, *, key: str = "") -> Letters:
        """See `Caller.choose`. Raises as `call`."""
        around = Message(role="user", content=choice.said + choice.opening + choice.question)
        self._budget(path, model, [*choice.messages, around], max_tokens=1, key=key)
        entry = await self._entry(path, model, LetterRequest(choice), _chosen, key=key)
        assert entry.letters is not None, "letters were asked for"
        return Letters(entry.letters, entry.prompt_tokens, entry.completion_tokens, entry.is_counted)

    async def score(self, path: str, model: str, answered: Conversation) -> Scalar:
        """See `Caller.score`. Raises as `call`."""
        self._budget(path, model, answered, max_tokens=0, key="")
        entry = await self._entry(path, model, ScoreRequest(tuple(answered)), _scored, key="")
        assert entry.score is not None, "a score was asked for"
        return Scalar(entry.score, entry.prompt_tokens, entry.is_counted)

    def _budget(self, path: str, model: str, messages: Conversation, *, max_tokens: int, key: str) -> int:
        """The completion tokens to ask for. Raises CallError: `context-length`."""
        calls = self._calls
        try:
            return completion_tokens(calls.windows.get(model), messages, max_tokens=max_tokens)
        except CallError as error:
            calls.usage.unsent(model, error, call=(self._row, path, f"unsent {key}"))
            raise

    async def _entry(
        self,
        path: str,
        model: str,
        request: Request[ResultT],
        outcome: Callable[[ResultT], Mapping[str, object]],
        *,
        key: str,
        lowered_to: int | None = None,
    ) -> Entry:
        """The recorded outcome of a call that went well; it is sent if it was never finished.

        Raises:
            CallError: it failed, now or when it was recorded.
            ModelAbsent, ServerError, StoreError, StageError: as `call`.
        """
        calls = self._calls
        digest = calls.digests.get(model)
        if digest is None:
            raise StageError(f"row {self._row!r}, call {path!r}: the stage was given no digest of model {model!r}")
        identity = request_hash(request, model_digest=digest, run_seed=calls.run_seed, key=key)
        lock = calls.under_way.setdefault((self._row, path, identity), asyncio.Lock())
        async with lock:
            known = await calls.ledger.lookup(self._row, path, identity)
            if known is not None:
                # Entries of releases that recorded no budgets lack it.
                calls.usage.add(known.model_copy(update={"lowered_to": lowered_to}), sent=False)
                return _well(known)
            return _well(await calls.keep(self._sent(path, model, identity, request, outcome, lowered_to)))

    async def _sent(
        self,
        path: str,
        model: str,
        identity: str,
        request: Request[ResultT],
        outcome: Callable[[ResultT], Mapping[str, object]],
        lowered_to: int | None,
    ) -> Entry:
        """Send the call and record its outcome."""
        calls = self._calls
        sent = await self._send(path, model, identity, request, outcome)
        entry = sent.model_copy(update={"lowered_to": lowered_to})
        await calls.ledger.record(entry)
        calls.usage.add(entry, sent=True)
        return entry

    async def _send(
        self,
        path: str,
        model: str,
        identity: str,
        request: Request[ResultT],
        outcome: Callable[[ResultT], Mapping[str, object]],
    ) -> Entry:
        try:
            result = await self._calls.clients.complete(model, request, affinity=self._row, order=self._order)
        except CallError as error:
            if error.reason in TRANSIENT:
                raise
            return self._failed(path, model, identity, error)
        return Entry.model_validate(
            {"row": self._row, "path": path, "key": identity, "model": model, **outcome(result)}
        )

    def _failed(self, path: str, model: str, identity: str, error: CallError) -> Entry:
        spent = error.spent
        return Entry(
            row=self._row,
            path=path,
            key=identity,
            model=model,
            failure=Failure(reason=str(error.reason), message=str(error)),
            prompt_tokens=spent.prompt_tokens,
            completion_tokens=spent.completion_tokens,
            is_counted=spent.is_counted,
            thought=spent.thought,
        )


def _well(entry: Entry) -> Entry:
    """The entry itself. Raises CallError: it is of a failure."""
    if entry.failure is not None:
        spent = Spent(entry.prompt_tokens, entry.completion_tokens, entry.is_counted, entry.thought)
        raise CallError(entry.failure.reason, entry.failure.message, spent=spent)
    return entry


def _answered(reply: Reply) -> dict[str, object]:
    """A reply's part of an entry."""
    return {
        "answer": Answer(text=reply.text, finish_reason=reply.finish_reason),
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "is_counted": reply.is_counted,
        "thought": reply.thought,
    }


def _chosen(letters: Letters) -> dict[str, object]:
    """Letters' part of an entry."""
    return {
        "letters": dict(letters.probabilities),
        "prompt_tokens": letters.prompt_tokens,
        "completion_tokens": letters.completion_tokens,
        "is_counted": letters.is_counted,
    }


def _scored(scalar: Scalar) -> dict[str, object]:
    """A score's part of an entry."""
    return {"score": scalar.score, "prompt_tokens": scalar.prompt_tokens, "is_counted": scalar.is_counted}
