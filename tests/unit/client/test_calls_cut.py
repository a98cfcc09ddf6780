"""Answers that ended at their limit of tokens, wherever one can come: what becomes of the row, and what is counted."""

from decimal import Decimal
from typing import Any, cast

import pytest

from moaa.api.evaluation import ExactMatch
from moaa.api.mixture import FinalSampling, Mixture, Proposer, Sampling, WhenCut
from moaa.api.prompts import Prompts, effective
from moaa.api.training import Dpo
from moaa.asking.asker import Asker
from moaa.asking.caller import Reply
from moaa.asking.cut import ENDED_MARK
from moaa.asking.windows import CharacterCounter, Window
from moaa.client.ledgered import Calls
from moaa.client.request import ChatRequest, Request
from moaa.client.usage import role_of
from moaa.conversation import Message
from moaa.errors import CallError
from moaa.mixture.alone import answer_alone, sample_answers
from moaa.plan.canonical import canonical
from tests.answering import answer_conversation
from tests.unit.calls_scripted import Asked, MemoryLedger, ResultT, ScriptedCaller, ScriptedClients, cut
from tests.unit.judge_scripted import PROMPTS as JUDGE_PROMPTS
from tests.unit.judge_scripted import by_quality, compare, judge, pair

PROMPTS = effective(Prompts(aggregate="AGGREGATE {proposals}", proposal="[{number}:{text}]"))
HELLO = [Message(role="user", content="hello")]


def cutting(*paths: str) -> ScriptedCaller:
    """Calls whose name ends in one of `paths` are cut."""

    def answer(asked: Asked) -> str | Reply:
        return cut(f"half of {asked.path}") if asked.path.endswith(paths) else f"whole {asked.path}"

    return ScriptedCaller(answer)


def mixture(**changes: Any) -> Mixture:
    parts: dict[str, Any] = {
        "layers": [{"proposers": [{"model": "a"}, {"model": "b"}]}],
        "aggregator": {"model": "agg"},
    }
    return Mixture.model_validate(parts | changes)


def test_what_is_taught_or_measured_fails_by_default_and_a_proposal_does_not() -> None:
    assert Proposer(model="a").when_cut is Sampling().when_cut is WhenCut.USE
    writer = mixture().aggregator
    assert writer is not None
    assert writer.when_cut is Dpo().when_cut is FinalSampling().when_cut is WhenCut.FAIL
    assert ExactMatch(name="x", type="ExactMatch", source="file:///x.json").sampling.when_cut is WhenCut.FAIL


def test_only_another_policy_than_the_default_counts() -> None:
    assert "whenCut" not in str(canonical(mixture(addStudent=True)))
    assert "whenCut" not in canonical(FinalSampling(temperature=Decimal(0)))
    assert canonical(FinalSampling(when_cut=WhenCut.USE))["whenCut"] == "Use"
    assert canonical(Proposer(model="a", when_cut=WhenCut.FAIL))["whenCut"] == "Fail"


async def test_a_cut_proposal_is_used_with_a_mark_in_the_prompt_and_in_the_row() -> None:
    caller = cutting("p0/s0")
    made = await answer_conversation(HELLO, mixture(), Asker(caller, PROMPTS))
    half = f"half of turn0/layer0/p0/s0{ENDED_MARK}"
    assert f"[1:{half}]" in caller.at("turn0/aggregate").text
    assert [p["text"] for p in made.notes.proposals] == [half, "whole turn0/layer0/p1/s0"]
    assert made.messages[-1]["content"] == "whole turn0/aggregate"
    assert made.notes.absent == []


async def test_a_cut_proposal_may_be_left_out() -> None:
    declared = mixture(layers=[{"proposers": [{"model": "a", "whenCut": "Fail"}, {"model": "b"}]}])
    made = await answer_conversation(HELLO, declared, Asker(cutting("p0/s0"), PROMPTS))
    assert (len(made.notes.absent), len(made.notes.proposals)) == (1, 1)
    with pytest.raises(CallError, match=r"minProposals is 2; the first that failed: .*ended at its limit") as caught:
        await answer_conversation(HELLO, declared.with_(min_proposals=2), Asker(cutting("p0/s0"), PROMPTS))
    assert caught.value.reason == "too-few-proposals"


async def test_a_cut_answer_of_the_aggregator_fails_the_row_unless_it_may_be_used() -> None:
    with pytest.raises(
        CallError, match=r"'agg': .* \(8; maxTokens 2048\); raise maxTokens, or .*whenCut: Use"
    ) as caught:
        await answer_conversation(HELLO, mixture(), Asker(cutting("aggregate"), PROMPTS))
    assert caught.value.reason == "cut-answer"
    declared = mixture(aggregator={"model": "agg", "whenCut": "Use"})
    made = await answer_conversation(HELLO, declared, Asker(cutting("aggregate"), PROMPTS))
    assert made.messages[-1]["content"] == "half of turn0/aggregate"


async def test_a_cut_sample_is_left_out_as_long_as_two_remain() -> None:
    assert await sample_answers(HELLO, "m", Dpo(samples=4), Asker(cutting("s0", "s2"))) == ["whole s1", "whole s3"]
    with pytest.raises(CallError) as caught:
        await sample_answers(HELLO, "m", Dpo(samples=3), Asker(cutting("s0", "s2")))
    assert caught.value.reason == "cut-answer"
    kept = await sample_answers(HELLO, "m", Dpo(samples=3, when_cut=WhenCut.USE), Asker(cutting("s0", "s2")))
    assert kept == ["half of s0", "whole s1", "half of s2"]


async def test_a_cut_answer_is_not_measured_unless_it_may_be() -> None:
    with pytest.raises(CallError) as caught:
        await answer_alone(HELLO, "m", FinalSampling(), Asker(cutting("turn0")))
    assert caught.value.reason == "cut-answer"
    made = await answer_alone(HELLO, "m", FinalSampling(when_cut=WhenCut.USE), Asker(cutting("turn0")))
    assert made[-1]["content"] == "half of turn0"


@pytest.mark.parametrize(("method", "path"), [("Mixture", "meta"), ("Single", "single"), ("Panel", "j0")])
async def test_a_verdict_that_was_cut_is_asked_for_again_and_never_counts(method: str, path: str) -> None:
    def answer(asked: Asked) -> str | Reply:
        text = by_quality(asked)
        return cut(f"I would end with {text}. But let me") if asked.path.endswith(path) else text

    caller = ScriptedCaller(answer)
    made = await compare(pair(), judge(method), Asker(caller, JUDGE_PROMPTS))
    assert f"c0-1/ab/{path}#retry1" in caller.paths
    if method == "Panel":
        assert made["votes"][0][0] is None
        assert made["votes"][1:] == [[0, 0], [0, 0]]
    else:
        assert (made["forward"], made["backward"]) == (None, None)


async def test_an_evaluation_that_was_cut_is_shown_as_such() -> None:
    def answer(asked: Asked) -> str | Reply:
        return cut("A is") if asked.path.endswith("j1") else by_quality(asked)

    caller = ScriptedCaller(answer)
    await compare(pair(), judge(), Asker(caller, JUDGE_PROMPTS))
    assert f"(2:A is{ENDED_MARK})" in caller.at("c0-1/ab/meta").text


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("turn0/layer0/p2/s1", "proposer"),
        ("s1/turn2/layer1/p0/s0", "proposer"),
        ("s0/turn0/aggregate", "aggregator"),
        ("turn1", "answer"),
        ("s0/turn1", "answer"),
        ("s3", "sample"),
        ("c0-1/criteria", "criteria"),
        ("s0/criteria", "criteria"),
        ("c0-1/ab/j2", "judge"),
        ("c0-1/ba/meta", "verdict"),
        ("s0/ab/single", "verdict"),
        ("somewhere/else", "else"),
    ],
)
def test_a_calls_name_says_what_it_is_for(path: str, role: str) -> None:
    assert role_of(path) == role


class Clients(ScriptedClients):
    """Every answer is cut, after a thought."""

    async def complete(self, model: str, request: Request[ResultT], *, affinity: str, order: int) -> ResultT:
        assert (affinity, order) == ("r", 0)
        asked: object = request
        assert isinstance(asked, ChatRequest)
        self.requests.append((model, asked))
        return cast("ResultT", Reply("half", "length", 5, asked.max_tokens, thought="hm"))


async def test_cut_answers_thoughts_and_lowered_budgets_are_counted_and_kept() -> None:
    ledger, clients = MemoryLedger(), Clients()
    windows = {"m": Window(400, CharacterCounter())}
    long = [Message(role="user", content="w " * 300)]
    for _ in range(2):  # sent, then replayed by another attempt
        calls = Calls(clients, ledger, {"m": "d"}, 1, windows)
        caller = calls.of("r")
        await caller.call("s0", "m", HELLO, Sampling(max_tokens=100))
        reply = await caller.call("turn0/layer0/p0/s0", "m", long, Sampling(max_tokens=200))
        used = calls.usage.by_model()["m"]
        assert (used.cut, used.thoughts, used.lowered) == ({"proposer": 1, "sample": 1}, 2, 1)
        assert reply.is_cut
        assert reply.thought == "hm"
    assert len(clients.requests) == 2
    sizes = [entry.lowered_to for entry in ledger.entries.values()]
    assert sizes == [None, clients.requests[1][1].max_tokens]
    assert clients.requests[1][1].max_tokens < 200
    # Of another fingerprint's call the tokens are not this stage's, but what it is counts here too.
    ledger.entries = {key: entry.model_copy(update={"reused": True}) for key, entry in ledger.entries.items()}
    calls = Calls(clients, ledger, {"m": "d"}, 1, windows)
    await calls.of("r").call("s0", "m", HELLO, Sampling(max_tokens=100))
    used = calls.usage.by_model()["m"]
    assert (used.reused, used.completion_tokens, used.cut, used.thoughts) == (1, 0, {"sample": 1}, 1)


async def test_a_prompt_that_does_not_fit_is_counted_though_nothing_was_sent() -> None:
    calls = Calls(ScriptedClients(), MemoryLedger(), {"m": "d"}, 1, {"m": Window(70, CharacterCounter())})
    for _ in range(2):
        with pytest.raises(CallError, match="maxModelLen"):
            await calls.of("r").call("s0", "m", [Message(role="user", content="w " * 3000)], Sampling())
    used = calls.usage.by_model()["m"]
    assert (used.calls, used.failures) == (0, {"context-length": 1})
    assert "maxModelLen" in used.examples["context-length"]
