import asyncio
from decimal import Decimal
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moaa.api.mixture import JudgeModel, Sampling
from moaa.asking.gather import gather_calls
from moaa.asking.windows import CharacterCounter, Window
from moaa.client.ledgered import Calls
from moaa.client.request import ChatRequest, request_document, request_hash, sampling_seed
from moaa.conversation import Message
from moaa.errors import CallError, ModelAbsent, ServerError, StageError
from moaa.store.stages.manifest import TokenUsage
from tests.unit.calls_scripted import MemoryLedger, ScriptedClients

HELLO = [Message(role="user", content="hello")]
DIGESTS = {"m": "d" * 64, "n": "e" * 64}


def calls(ledger: MemoryLedger, clients: ScriptedClients, **changes: object) -> Calls:
    given = {"digests": DIGESTS, "run_seed": 7, "windows": {}, **changes}
    return Calls(clients=clients, ledger=ledger, **given)  # type: ignore[arg-type]


async def test_a_finished_call_is_never_sent_again() -> None:
    ledger, clients = MemoryLedger(), ScriptedClients()
    first = await calls(ledger, clients).of("r").call("p", "m", HELLO, Sampling())
    resumed = calls(ledger, clients)
    again = await resumed.of("r").call("p", "m", HELLO, Sampling())
    assert again == first
    assert len(clients.requests) == 1
    assert (resumed.usage.totals.sent, resumed.usage.totals.from_ledger) == (0, 1)
    assert resumed.usage.by_model() == {"m": TokenUsage(calls=1, prompt_tokens=5, completion_tokens=2)}


async def test_a_recorded_call_answers_while_its_model_is_absent() -> None:
    ledger = MemoryLedger()
    await calls(ledger, ScriptedClients()).of("r").call("p", "m", HELLO, Sampling())
    absent = calls(ledger, ScriptedClients(absent=["m"]))
    assert (await absent.of("r").call("p", "m", HELLO, Sampling())).text == "answer 1 of m"
    with pytest.raises(ModelAbsent):
        await absent.of("r").call("q", "m", HELLO, Sampling())


@pytest.mark.parametrize(
    "changed",
    [
        {"row": "s"},
        {"path": "q"},
        {"key": "retry1"},
        {"model": "n"},
        {"messages": [Message(role="user", content="bye")]},
        {"sampling": Sampling(temperature=Decimal("0.8"))},
        {"sampling": Sampling(top_p=Decimal("0.9"))},
        {"sampling": Sampling(max_tokens=5)},
        {"run_seed": 8},
    ],
    ids=lambda c: next(iter(c)),
)
async def test_whatever_shapes_an_answer_makes_another_call(changed: dict[str, object]) -> None:
    ledger, clients = MemoryLedger(), ScriptedClients()
    for change in ({}, changed):
        with_ = {"row": "r", "path": "p", "key": "", "model": "m", "messages": HELLO, "sampling": Sampling()} | change
        caller = calls(ledger, clients, run_seed=change.get("run_seed", 7)).of(str(with_["row"]))
        await caller.call(with_["path"], with_["model"], with_["messages"], with_["sampling"], key=with_["key"])  # type: ignore[arg-type]
    assert len(clients.requests) == 2


async def test_a_renamed_model_and_another_spelling_of_a_number_are_the_same_call() -> None:
    ledger, clients = MemoryLedger(), ScriptedClients()
    await calls(ledger, clients).of("r").call("p", "m", HELLO, Sampling(temperature=Decimal("0.7")))
    renamed = calls(ledger, clients, digests={"other": DIGESTS["m"]})
    judge = JudgeModel(model="other", temperature=Decimal("0.70"), top_p=Decimal("1.0"))
    await renamed.of("r").call("p", "other", HELLO, judge)
    assert len(clients.requests) == 1


def refuse(reason: str, _: ChatRequest) -> Exception:
    return CallError(reason, "no")


async def test_a_failure_for_good_is_recorded_and_one_that_may_pass_is_not() -> None:
    for reason, sends in (("context-length", 1), ("refused", 1), ("timeout", 2), ("server-error", 2)):
        clients = ScriptedClients(failing=partial(refuse, reason))
        ledger = MemoryLedger()
        for _ in range(2):
            with pytest.raises(CallError, match="no") as caught:
                await calls(ledger, clients).of("r").call("p", "m", HELLO, Sampling())
            assert caught.value.reason == reason
        assert len(clients.requests) == sends


async def test_equal_calls_of_a_row_under_way_together_are_sent_and_counted_once() -> None:
    clients = ScriptedClients(pause_s=0.01)
    shared = calls(MemoryLedger(), clients)
    asked = [shared.of("r").call("p", "m", HELLO, Sampling()) for _ in range(3)]
    replies = await asyncio.gather(*asked, shared.of("s").call("p", "m", HELLO, Sampling()))
    assert len(clients.requests) == 2
    assert replies[0] == replies[1] == replies[2] != replies[3]
    assert shared.usage.by_model() == {"m": TokenUsage(calls=2, prompt_tokens=10, completion_tokens=4)}
    assert not shared.under_way


async def test_a_cancelled_call_leaves_its_equal_to_be_sent() -> None:
    clients = ScriptedClients(pause_s=0.01)
    shared = calls(MemoryLedger(), clients)
    first = asyncio.create_task(shared.of("r").call("p", "m", HELLO, Sampling()))
    second = asyncio.create_task(shared.of("r").call("p", "m", HELLO, Sampling()))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).text == "answer 2 of m"


async def test_calls_of_another_fingerprint_cost_this_one_nothing() -> None:
    ledger, clients = MemoryLedger(), ScriptedClients()
    await calls(ledger, clients).of("r").call("p", "m", HELLO, Sampling())
    ledger.entries = {k: e.model_copy(update={"reused": True}) for k, e in ledger.entries.items()}
    resumed = calls(ledger, clients)
    await resumed.of("r").call("p", "m", HELLO, Sampling())
    assert resumed.usage.by_model() == {"m": TokenUsage(reused=1)}


async def test_max_tokens_is_sent_as_the_window_allows() -> None:
    clients = ScriptedClients()
    windows = {"m": Window(512, CharacterCounter())}
    await calls(MemoryLedger(), clients, windows=windows).of("r").call("p", "m", HELLO, Sampling(max_tokens=2048))
    assert clients.requests[0][1].max_tokens == 512 - 64 - 8 - 2


async def test_a_model_without_digest_is_a_mistake_of_the_plan() -> None:
    with pytest.raises(StageError, match="no digest of model 'x'"):
        await calls(MemoryLedger(), ScriptedClients()).of("r").call("p", "x", HELLO, Sampling())


def test_seeds_are_fixed_31_bit_numbers() -> None:
    assert sampling_seed(run_seed=0, row="r", path="p", key="") == 22907939
    # Where one part ends and the next begins matters.
    assert sampling_seed(run_seed=0, row="a", path="bc", key="") != sampling_seed(
        run_seed=0, row="ab", path="c", key=""
    )


@settings(deadline=None)
@given(st.integers(0, 2**31 - 1), st.text(), st.text(), st.text())
def test_seeds_are_in_range(run_seed: int, row: str, path: str, key: str) -> None:
    assert 0 <= sampling_seed(run_seed=run_seed, row=row, path=path, key=key) < 2**31


def test_the_request_hash_is_fixed() -> None:
    request = ChatRequest(HELLO, Decimal("0.70"), Decimal(1), 16, seed=3)
    assert request_document(request, model_digest="d", run_seed=7, key="k") == {
        "model": "d",
        "messages": [{"role": "user", "content": "hello"}],
        "temperature": "0.7",
        "topP": "1",
        "maxTokens": 16,
        "seed": 7,
        "key": "k",
    }
    digest = request_hash(request, model_digest="d", run_seed=7, key="k")
    # Guards the ledger of finished runs: a change of this value re-sends every call ever made.
    assert digest == "4be96b6be38658bd5b270fe41eb0b89be95c8d7f821925c886e302d32d18854d"


async def test_gathering_waits_for_all_before_a_model_is_absent() -> None:
    done: list[str] = []

    async def fine(name: str) -> str:
        await asyncio.sleep(0.01)
        done.append(name)
        return name

    async def absent() -> str:
        raise ModelAbsent("m")

    async def failed() -> str:
        raise CallError("refused", "no")

    with pytest.raises(ModelAbsent):
        await gather_calls([absent(), fine("a"), failed(), fine("b")])
    assert done == ["a", "b"]
    results = await gather_calls([fine("c"), failed()])
    assert results[0] == "c"
    assert isinstance(results[1], CallError)
    assert await gather_calls([]) == []


async def test_a_row_waits_for_an_absent_model_before_it_fails_for_what_may_pass() -> None:
    async def fails(reason: str) -> str:
        raise CallError(reason, reason)

    async def absent() -> str:
        raise ModelAbsent("m")

    with pytest.raises(ModelAbsent):
        await gather_calls([fails("timeout"), absent()])
    with pytest.raises(CallError, match="timeout"):
        await gather_calls([fails("refused"), fails("timeout"), fails("server-error")])


async def test_gathering_ends_at_once_when_a_server_is_gone() -> None:
    ended: list[str] = []

    async def long() -> str:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("long")
        return "never"

    async def gone() -> str:
        raise ServerError("gone")

    async with asyncio.timeout(1):
        with pytest.raises(ServerError):
            await gather_calls([long(), gone(), long()])
    assert ended == ["long", "long"]  # nothing is left behind
