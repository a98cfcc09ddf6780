"""Which models a row may still ask, as its method's answers come in."""

from collections.abc import Collection
from typing import Any

import pytest

from moaa.api.mixture import Mixture
from moaa.api.prompts import Prompts, effective
from moaa.asking.asker import Asker
from moaa.asking.reasons import Reason
from moaa.asking.rest import Rest
from moaa.client.ledgered import Calls
from moaa.client.request import ChatRequest
from moaa.conversation import Message
from moaa.errors import CallError, ModelAbsent, StageError
from moaa.mixture.methods import method_of
from moaa.mixture.row import answer_conversation
from tests.unit.calls_scripted import MemoryLedger, ScriptedClients

ONE_TURN = [Message(role="user", content="First?")]
TWO_TURNS = [*ONE_TURN, Message(role="assistant", content="Mm."), Message(role="user", content="Second?")]
MODELS = ("a", "b", "agg")
TWO_LAYERS = {
    "layers": [{"proposers": [{"model": "a", "samples": 2}, {"model": "b"}]}, {"proposers": [{"model": "b"}]}],
    "aggregator": {"model": "agg"},
}
ONE_LAYER = {"layers": [{"proposers": [{"model": "a"}, {"model": "b"}]}], "aggregator": {"model": "agg"}}


class Row:
    """A row whose requests and models given up are told in the order in which they happened."""

    def __init__(self, **clients: Any) -> None:
        self.told: list[str] = []
        self.clients = ScriptedClients(answer=self._answer, **clients)

    def _answer(self, model: str, _: ChatRequest, number: int) -> str:
        self.told.append(model)
        return f"answer {number} of {model}"

    def _gave_up(self, models: Collection[str]) -> None:
        self.told += [f"-{model}" for model in sorted(models)]

    async def answer(self, mixture: dict[str, Any], messages: list[Message], then: frozenset[str] | None) -> list[str]:
        calls = Calls(self.clients, MemoryLedger(), {name: name * 8 for name in MODELS}, 5, {})
        asker = Asker(calls.of("row"), effective(Prompts()), rest=Rest(MODELS, self._gave_up))
        writer = method_of(Mixture.model_validate(mixture), judge=None, seed=1).writer("row", "")
        await answer_conversation(messages, writer, asker, then=then)
        return self.told


async def test_a_model_goes_with_its_last_answer() -> None:
    told = await Row().answer(TWO_LAYERS, ONE_TURN, frozenset())
    assert sorted(told[:4]) == ["-a", "a", "a", "b"]
    assert told[4:] == ["b", "-b", "agg"]


async def test_before_the_last_turn_none_goes() -> None:
    told = await Row().answer(ONE_LAYER, TWO_TURNS, frozenset())
    assert [name for name in told[:3] if name.startswith("-")] == []
    assert sorted(told[3:]) == ["-a", "-b", "a", "agg", "b"]


@pytest.mark.parametrize(("then", "gone"), [(None, []), (frozenset({"a"}), ["-b"])])
async def test_what_the_row_asks_afterwards_stays(then: frozenset[str] | None, gone: list[str]) -> None:
    told = await Row().answer(ONE_LAYER, ONE_TURN, then)
    assert [name for name in told if name.startswith("-")] == gone


async def test_a_proposer_that_aggregates_too_stays_until_then() -> None:
    both = {**ONE_LAYER, "aggregator": {"model": "a"}}
    assert [name for name in await Row().answer(both, ONE_TURN, frozenset()) if name.startswith("-")] == ["-agg", "-b"]


@pytest.mark.parametrize(
    ("method", "given_up"),
    [("Random", ["-agg", "-a"]), ("Single", [])],
)
async def test_other_methods_give_up_what_they_never_ask(method: str, given_up: list[str]) -> None:
    told = await Row().answer({**ONE_LAYER, "method": method}, ONE_TURN, frozenset())
    assert sorted(name for name in told if name.startswith("-")) == sorted(given_up)


@pytest.mark.parametrize(
    ("reason", "gone"),
    [(Reason.REFUSED, ["-a", "-b"]), (Reason.TIMEOUT, ["-b"])],
    ids=["for good", "it may pass"],
)
async def test_a_failure_gives_up_its_model_when_it_is_recorded(reason: Reason, gone: list[str]) -> None:
    first = True

    def fail(_: ChatRequest) -> Exception | None:
        nonlocal first
        first, failing = False, first
        return CallError(reason, "no") if failing else None

    row = Row(failing=fail)
    with pytest.raises(CallError):
        await row.answer({**ONE_LAYER, "minProposals": 2}, ONE_TURN, frozenset())
    assert sorted(name for name in row.told if name.startswith("-")) == gone


async def test_a_model_that_is_absent_is_not_given_up() -> None:
    row = Row(absent=("a",))
    with pytest.raises(ModelAbsent):
        await row.answer(ONE_LAYER, ONE_TURN, frozenset())
    assert [name for name in row.told if name.startswith("-")] == ["-b"]


async def test_a_model_that_was_given_up_is_refused() -> None:
    calls = Calls(ScriptedClients(), MemoryLedger(), {}, 5, {})
    told: list[str] = []
    asker = Asker(calls.of("row"), rest=Rest(MODELS, told.extend))
    asker.only({"a"})
    asker.only({"a", "b"})
    assert sorted(told) == ["agg", "b"]
    with pytest.raises(StageError, match="'b' is asked by a row that had said"):
        await asker.at("x").ask("b", ONE_TURN, Mixture.model_validate(ONE_LAYER).layers[0].proposers[0])
