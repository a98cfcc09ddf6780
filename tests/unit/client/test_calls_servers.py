"""Every behaviour of other people's servers, met by the real client and the ledger over loopback."""

from decimal import Decimal

import pytest

from moaa.api.mixture import Sampling
from moaa.asking.caller import Reply
from moaa.client.ledgered import Calls
from moaa.client.pool.clients import Clients
from moaa.client.pool.policy import Policy
from moaa.client.target import Target
from moaa.conversation import Message
from moaa.errors import CallError, ServerError
from tests.fakes.behaviours import BEHAVIOURS, MAX_TOKENS
from tests.fakes.model_server import Answered, Behaviour, Ended, Failed, ModelServer, play
from tests.unit.calls_scripted import MemoryLedger

QUICK = Policy(try_s=5.0, deadline_s=10.0, reconnect_s=0.3, connect_s=1.0, tries=3, backoff_s=0.001, backoff_max_s=0.02)
SAMPLING = Sampling(temperature=Decimal("0.7"), max_tokens=MAX_TOKENS)


async def call(server: ModelServer, ledger: MemoryLedger, *, system: bool) -> tuple[Reply | Exception, Calls]:
    """One attempt at one call, in a process of its own as it were."""
    messages = [Message(role="user", content="What is it?")]
    if system:
        messages.insert(0, Message(role="system", content="Be kind."))
    async with Clients([Target("m", (server.url,), "served", 4)], policy=QUICK) as clients:
        calls = Calls(clients, ledger, {"m": "d"}, 1, {})
        try:
            return await calls.of("row").call("p", "m", messages, SAMPLING), calls
        except (CallError, ServerError) as error:
            return error, calls


def test_there_are_enough_of_them_and_each_has_its_name() -> None:
    assert len({b.name for b in BEHAVIOURS}) == len(BEHAVIOURS) >= 60


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda b: b.name)
async def test_what_comes_of_it(behaviour: Behaviour) -> None:
    ledger = MemoryLedger()
    async with play(behaviour) as server:
        first, calls = await call(server, ledger, system=behaviour.system)
        asked = len(server.requests)
        again, _ = await call(server, ledger, system=behaviour.system)
        asked_again = len(server.requests) - asked
    assert asked == behaviour.asked
    (used,) = calls.usage.by_model().values() or [None]
    match behaviour.outcome:
        case Answered() as expected:
            assert isinstance(first, Reply), first
            assert (first.text, first.thought, first.is_cut) == (expected.text, expected.thought, expected.cut)
            assert first.is_counted == (expected.tokens is not None)
            assert (first.prompt_tokens, first.completion_tokens) == (expected.tokens or (0, 0))
            assert used is not None
            assert (used.prompt_tokens, used.completion_tokens, used.uncounted) == (
                *(expected.tokens or (0, 0)),
                int(expected.tokens is None),
            )
            assert (sum(used.cut.values()), used.thoughts) == (int(expected.cut), int(bool(expected.thought)))
            assert again == first
            assert asked_again == 0
        case Failed() as expected:
            assert isinstance(first, CallError), first
            assert first.reason == expected.reason
            assert expected.words in str(first)
            assert first.spent.thought == expected.thought
            assert isinstance(again, CallError)
            assert (asked_again == 0) == expected.remembered == bool(ledger.entries)
            if expected.remembered:
                assert used is not None
                assert used.failures == {expected.reason: 1}
                assert expected.words in used.examples[expected.reason]
                assert (used.prompt_tokens, used.completion_tokens) == (expected.tokens or (0, 0))
                assert (str(again), again.spent) == (str(first), first.spent)
        case Ended() as expected:
            assert isinstance(first, ServerError), first
            assert expected.words in str(first)
            assert not ledger.entries
            assert asked_again == behaviour.asked
