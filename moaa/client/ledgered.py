"""The real `Caller`: looks a call up in the ledger first and sends it only if it was never finished.

Always true: an answer is recorded before its caller sees it, so no later call rests on an answer that the ledger does
not know; equal calls of one row that are under way together are sent once; a permanent failure is recorded like an
answer, so that a resumed run agrees with the first (another fingerprint asks again); a failure that may pass
(`TRANSIENT`) is not, so that another attempt tries again.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from weakref import WeakValueDictionary

from moaa.api.mixture import JudgeModel, Sampling
from moaa.asking.caller import Reply
from moaa.asking.reasons import TRANSIENT
from moaa.asking.windows import Windows, completion_tokens
from moaa.client.request import ChatRequest, request_hash, sampling_seed
from moaa.client.usage import Usage
from moaa.conversation import Conversation
from moaa.errors import CallError, Spent, StageError
from moaa.store.ledger.segments import Answer, Entry, Failure


class CallLog(Protocol):
    """What this module needs of the ledger (`moaa.store.ledger.ledger.Ledger`)."""

    async def lookup(self, row: str, path: str, request_hash: str) -> Entry | None: ...

    async def record(self, entry: Entry) -> None: ...


class Completer(Protocol):
    """What this module needs of the clients (`moaa.client.pool.clients.Clients`)."""

    async def complete(self, model: str, request: ChatRequest, *, affinity: str) -> Reply:
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

    def of(self, row: str) -> "LedgeredCaller":
        """The caller of one row."""
        return LedgeredCaller(row, self)


class LedgeredCaller:
    """Asks models on behalf of one row; see `moaa.asking.caller.Caller`."""

    def __init__(self, row: str, calls: Calls) -> None:
        self._row = row
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
        digest = calls.digests.get(model)
        if digest is None:
            raise StageError(f"row {self._row!r}, call {path!r}: the stage was given no digest of model {model!r}")
        try:
            max_tokens = completion_tokens(calls.windows.get(model), messages, max_tokens=sampling.max_tokens)
        except CallError as error:
            calls.usage.unsent(model, error, call=(self._row, path, f"unsent {key}"))
            raise
        request = ChatRequest(
            messages=messages,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=max_tokens,
            seed=sampling_seed(run_seed=calls.run_seed, row=self._row, path=path, key=key),
        )
        identity = request_hash(request, model_digest=digest, run_seed=calls.run_seed, key=key)
        lowered_to = max_tokens if max_tokens < sampling.max_tokens else None
        lock = calls.under_way.setdefault((self._row, path, identity), asyncio.Lock())
        async with lock:
            known = await calls.ledger.lookup(self._row, path, identity)
            if known is not None:
                # Entries of releases that recorded no budgets lack it.
                calls.usage.add(known.model_copy(update={"lowered_to": lowered_to}), sent=False)
                return _replayed(known)
            entry = (await self._send(path, model, identity, request)).model_copy(update={"lowered_to": lowered_to})
            await calls.ledger.record(entry)
            calls.usage.add(entry, sent=True)
            return _replayed(entry)

    async def _send(self, path: str, model: str, identity: str, request: ChatRequest) -> Entry:
        try:
            reply = await self._calls.clients.complete(model, request, affinity=self._row)
        except CallError as error:
            if error.reason in TRANSIENT:
                raise
            return self._failed(path, model, identity, error)
        return Entry(
            row=self._row,
            path=path,
            key=identity,
            model=model,
            answer=Answer(text=reply.text, finish_reason=reply.finish_reason),
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            is_counted=reply.is_counted,
            thought=reply.thought,
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


def _replayed(entry: Entry) -> Reply:
    """The recorded outcome, as the caller would have seen it. Raises CallError: it was a failure."""
    if entry.failure is not None:
        spent = Spent(entry.prompt_tokens, entry.completion_tokens, entry.is_counted, entry.thought)
        raise CallError(entry.failure.reason, entry.failure.message, spent=spent)
    assert entry.answer is not None, "an entry holds an answer or a failure"
    return Reply(
        entry.answer.text,
        entry.answer.finish_reason,
        prompt_tokens=entry.prompt_tokens,
        completion_tokens=entry.completion_tokens,
        is_counted=entry.is_counted,
        thought=entry.thought,
    )
