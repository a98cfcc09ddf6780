"""Rows over the real ledger in a directory: a worker killed at any call, then a new attempt."""

from contextlib import suppress
from pathlib import Path

import pytest

from moaa.api.mixture import Mixture
from moaa.api.prompts import Prompts, effective
from moaa.asking.asker import Asker
from moaa.client.ledgered import Calls
from moaa.client.request import ChatRequest
from moaa.conversation import Message
from moaa.plan.result import ledger_path, stage_path
from moaa.plan.stage import Kind
from moaa.rows import ConversationRow
from moaa.store.fencing import claim
from moaa.store.ledger.ledger import Ledger
from moaa.store.objects.directory import DirectoryStore
from tests.answering import answer_conversation
from tests.unit.calls_scripted import ScriptedClients

DIGESTS = {name: name * 8 for name in ("a", "b", "agg")}
PROMPTS = effective(Prompts())
ROWS = {f"row-{i}": [Message(role="user", content=f"Question {i}?")] for i in range(3)}
MIXTURE = Mixture.model_validate(
    {"layers": [{"proposers": [{"model": "a", "samples": 2}, {"model": "b"}]}], "aggregator": {"model": "agg"}}
)


class Killed(Exception):
    """Stands for the end of the process."""


def fingerprint(letter: str) -> str:
    return letter * 64


async def generate(root: Path, clients: ScriptedClients, *, stage: str = "f", mixture: Mixture = MIXTURE) -> Calls:
    """One attempt at the shard; its rows are in `written` of the result's clients."""
    store = DirectoryStore(root)
    inputs = fingerprint("0")
    token = await claim(store, stage_path(Kind.GENERATE, inputs, fingerprint(stage)), "00000")
    async with await Ledger.load(store, ledger_path(Kind.GENERATE, inputs), token) as ledger:
        calls = Calls(clients, ledger, DIGESTS, 5, {})
        for name, messages in ROWS.items():
            answered = await answer_conversation(messages, mixture, Asker(calls.of(name), PROMPTS))
            written.append(answered.row(name))
        await ledger.flush()
    return calls


written: list[ConversationRow] = []


@pytest.mark.parametrize("killed_at", [0, 1, 3, 4, 7, 11])
async def test_what_was_durable_is_never_sent_again(tmp_path: Path, killed_at: int) -> None:
    sent = 0

    def kill(_: ChatRequest) -> Exception | None:
        nonlocal sent
        sent += 1
        return Killed() if sent > killed_at else None

    written.clear()
    with suppress(Killed):
        await generate(tmp_path, ScriptedClients(failing=kill))
    second = ScriptedClients(answer=lambda model, _, number: f"second {number} of {model}")
    written.clear()
    await generate(tmp_path, second)
    resumed = list(written)
    assert killed_at + len(second.requests) == 12

    third = ScriptedClients()
    written.clear()
    calls = await generate(tmp_path, third)
    assert third.requests == []
    assert written == resumed
    assert calls.usage.totals.from_ledger == 12


async def test_an_edited_aggregator_reuses_every_proposal(tmp_path: Path) -> None:
    await generate(tmp_path, ScriptedClients())
    edited = MIXTURE.with_(aggregator={"model": "agg", "temperature": "0"})
    clients = ScriptedClients()
    calls = await generate(tmp_path, clients, stage="e", mixture=edited)
    assert [model for model, _ in clients.requests] == ["agg"] * 3
    usage = calls.usage.by_model()
    assert (usage["a"].reused, usage["b"].reused, usage["agg"].calls) == (6, 3, 3)
    assert (usage["a"].calls, usage["a"].prompt_tokens) == (0, 0)
