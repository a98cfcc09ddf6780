"""Answer methods beside the mixture: one teacher, a draw, the best by a judge, all answers."""

from collections import Counter
from typing import Any

import pytest

from moaa.api.mixture import Judge, Mixture, MixtureMethod, Parts, parts_of
from moaa.asking.asker import Asker
from moaa.asking.load import Load
from moaa.asking.reasons import Reason
from moaa.client.ledgered import Calls
from moaa.conversation import Message
from moaa.errors import CallError, ModelAbsent
from moaa.judge.ranking import TOO_FEW_VERDICTS
from moaa.mixture.best_of_n import Unranked
from moaa.mixture.method import Method, row_id
from moaa.mixture.methods import method_of
from moaa.mixture.proposals import TOO_FEW_PROPOSALS
from tests.answering import answer_conversation
from tests.unit.calls_scripted import Asked, MemoryLedger, ScriptedCaller, ScriptedClients, cut
from tests.unit.judge_scripted import PROMPTS, by_quality, judge, user

TWO = {"a": 1, "b": 2}
ASKED = [*user("Q")]
TALK = [*user("one"), Message(role="assistant", content="the data's"), *user("two")]


def declared(method: str, samples: dict[str, int] | None = None, **changes: Any) -> Mixture:
    proposers = [{"model": model, "samples": number} for model, number in (samples or TWO).items()]
    parts = parts_of(MixtureMethod(method))
    shape: dict[str, Any] = {"method": method}
    shape |= {"layers": [{"proposers": proposers}]} if parts.most_layers else {}
    shape |= {"aggregator": {"model": "agg"}} if parts.has_aggregator else {}
    return Mixture.model_validate(shape | changes)


def asked_of(method: str, **changes: Any) -> Method:
    return method_of(declared(method, **changes), judge=judge(), seed=1)


async def test_single_asks_the_teacher_alone_in_the_context_of_its_own_answers() -> None:
    caller = ScriptedCaller()
    answered = await answer_conversation(TALK, declared("Single"), Asker(caller))
    assert caller.paths == ["turn0/single", "turn1/single"]
    assert [m["content"] for m in caller.at("turn1/single").messages] == ["one", "agg@turn0/single", "two"]
    assert (answered.wrote, answered.notes.proposals) == (["agg", "agg"], [])


async def test_random_keeps_one_author_for_a_row_and_asks_nobody_else() -> None:
    mixture = declared("Random", {"a": 1, "b": 1, "c": 1})
    for number in range(12):
        caller = ScriptedCaller()
        answered = await answer_conversation(TALK, mixture, Asker(caller), seed=3, id=f"row-{number}")
        again = await answer_conversation(TALK, mixture, Asker(ScriptedCaller()), seed=3, id=f"row-{number}")
        assert answered == again
        assert len({asked.model for asked in caller.asked}) == 1
        assert answered.wrote == [caller.asked[0].model] * 2


async def test_random_draws_by_seed_and_row_and_evenly_among_answers() -> None:
    async def authors(seed: int) -> list[str]:
        mixture = declared("Random", {"a": 1, "b": 3})
        rows = [
            await answer_conversation(ASKED, mixture, Asker(ScriptedCaller()), seed=seed, id=str(i)) for i in range(400)
        ]
        return [row.wrote[0] for row in rows]

    first, second = await authors(1), await authors(2)
    assert first != second
    # 300 of 400 are expected; four standard deviations are 35.
    assert all(265 <= Counter(drawn)["b"] <= 335 for drawn in (first, second))


async def test_combined_gives_every_answer_a_conversation_of_its_own() -> None:
    mixture = declared("Combined")
    names = asked_of("Combined").names
    assert names == ("p0/s0", "p1/s0", "p1/s1")
    assert [row_id("r", name) for name in names] == ["r/p0/s0", "r/p1/s0", "r/p1/s1"]
    caller = ScriptedCaller()
    rows = [await answer_conversation(TALK, mixture, Asker(caller), name=name) for name in names]
    assert [row.wrote for row in rows] == [["a", "a"], ["b", "b"], ["b", "b"]]
    later = caller.at("turn1/layer0/p1/s1").messages
    assert [m["content"] for m in later] == ["one", "b@turn0/layer0/p1/s1", "two"]


def numbered(asked: Asked) -> str:
    """Proposers whose answers get better with their place, and judges that see it."""
    if "/layer0/" in asked.path:
        return f"answer {asked.path[-1]}" if asked.model == "b" else "answer 0"
    return by_quality(asked)


async def test_best_of_n_takes_what_the_judge_ranks_first_and_goes_on_from_it() -> None:
    caller = ScriptedCaller(numbered)
    mixture = declared("BestOfN", {"a": 1, "b": 3})
    answered = await answer_conversation(TALK, mixture, Asker(caller, PROMPTS), judge=judge("Single"))
    assert [m["content"] for m in answered.messages] == ["one", "answer 2", "two", "answer 2"]
    assert answered.wrote == ["b", "b"]
    assert sorted(answered.ranked) == [0, 1]
    assert "turn0/best/c0-3/ab/single" in caller.paths
    assert len(answered.notes.proposals) == 8


async def test_best_of_n_skips_comparisons_that_would_not_change_the_best() -> None:
    mixture, every, some = declared("BestOfN", {"a": 1, "b": 6}), ScriptedCaller(numbered), ScriptedCaller(numbered)
    adaptive = judge("Single", comparisons="Adaptive")
    whole = await answer_conversation(ASKED, mixture, Asker(every, PROMPTS), judge=judge("Single"))
    answered = await answer_conversation(ASKED, mixture, Asker(some, PROMPTS), judge=adaptive)
    assert answered.messages == whole.messages
    assert set(some.paths) < set(every.paths)


async def test_a_draw_goes_to_the_first_answer_never_by_length() -> None:
    def first_wins(asked: Asked) -> str:
        return f"{asked.model} {'long ' * (asked.model == 'b')}" if "/layer0/" in asked.path else "[[A]]"

    answered = await answer_conversation(
        ASKED,
        declared("BestOfN", {"a": 1, "b": 1}),
        Asker(ScriptedCaller(first_wins), PROMPTS),
        judge=judge("Single", criteria=0),
    )
    assert answered.wrote == ["a"]
    assert answered.ranked[0].ranking.outcome == "tie"


async def test_a_judge_without_verdicts_fails_the_row_and_is_heard() -> None:
    def silent(asked: Asked) -> str:
        return f"by {asked.model}" if "/layer0/" in asked.path else "no verdict"

    with pytest.raises(
        Unranked, match=r"which of 2 answers is best; the first that failed: agg \(unreadable\)"
    ) as error:
        await answer_conversation(
            ASKED,
            declared("BestOfN", {"a": 1, "b": 1}),
            Asker(ScriptedCaller(silent), PROMPTS),
            judge=judge("Single", criteria=0),
        )
    assert error.value.reason == TOO_FEW_VERDICTS
    assert {said.failure for said in error.value.ranked.compared[0].said} == {"unreadable"}


def failing(asked: Asked) -> str:
    if asked.model == "a":
        raise CallError(Reason.REFUSED, "the filter declined")
    return numbered(asked)


async def test_a_candidate_may_be_missing_down_to_min_proposals() -> None:
    mixture = declared("BestOfN", {"a": 1, "b": 2})
    answered = await answer_conversation(ASKED, mixture, Asker(ScriptedCaller(failing), PROMPTS), judge=judge("Single"))
    assert answered.messages[-1]["content"] == "answer 1"
    assert [(one["model"], one["reason"]) for one in answered.notes.absent] == [("a", "refused")]
    with pytest.raises(CallError, match="2 of 3 proposals are usable and minProposals is 3") as error:
        await answer_conversation(
            ASKED, mixture.with_(min_proposals=3), Asker(ScriptedCaller(failing), PROMPTS), judge=judge()
        )
    assert error.value.reason == TOO_FEW_PROPOSALS


async def test_the_last_candidate_is_taken_without_a_verdict() -> None:
    caller = ScriptedCaller(failing)
    answered = await answer_conversation(ASKED, declared("BestOfN"), Asker(caller, PROMPTS), judge=judge("Single"))
    assert answered.wrote == ["b"]
    lone = ScriptedCaller(failing)
    mixture = declared("BestOfN", {"a": 1, "b": 1})
    answered = await answer_conversation(ASKED, mixture, Asker(lone, PROMPTS), judge=judge("Single"))
    assert (answered.wrote, answered.ranked) == (["b"], {})
    assert not [path for path in lone.paths if "/best/" in path]


@pytest.mark.parametrize("method", ["Random", "Combined"])
async def test_a_cut_answer_is_never_taught_whatever_when_cut_says(method: str) -> None:
    mixture = declared(method, {"a": 1})
    name = method_of(mixture, judge=None, seed=0).names[0]
    with pytest.raises(CallError, match="nothing cut is taught; raise maxTokens") as error:
        await answer_conversation(ASKED, mixture, Asker(ScriptedCaller(lambda _: cut("half"))), name=name)
    assert error.value.reason == Reason.CUT_ANSWER


async def test_a_cut_candidate_is_left_out() -> None:
    def one_cut(asked: Asked) -> Any:
        return cut("half") if asked.model == "a" else numbered(asked)

    answered = await answer_conversation(
        ASKED, declared("BestOfN"), Asker(ScriptedCaller(one_cut), PROMPTS), judge=judge("Single")
    )
    assert [one["reason"] for one in answered.notes.absent] == ["cut-answer"]
    assert "half" not in str(answered.messages)


async def test_every_candidate_is_asked_before_a_row_waits() -> None:
    caller = ScriptedCaller(numbered, absent=["a"])
    with pytest.raises(ModelAbsent):
        await answer_conversation(ASKED, declared("BestOfN"), Asker(caller, PROMPTS), judge=judge())
    assert caller.paths == ["turn0/layer0/p1/s0", "turn0/layer0/p1/s1"]


@pytest.mark.parametrize("method", ["Random", "Combined", "BestOfN"])
async def test_methods_over_the_same_proposers_find_the_mixtures_proposals_in_the_ledger(method: str) -> None:
    ledger, digests = MemoryLedger(), {name: name for name in ("a", "b", "agg")}
    first = ScriptedClients()
    asker = Asker(Calls(first, ledger, digests, 1, {}).of("r"), PROMPTS)
    await answer_conversation(ASKED, declared("Mixture"), asker)
    second = ScriptedClients(answer=lambda *_: "[[A]]")
    asker = Asker(Calls(second, ledger, digests, 1, {}).of("r"), PROMPTS)
    mixture = declared(method)
    chosen = judge("Single", criteria=0)
    for name in method_of(mixture, judge=chosen, seed=1).names:
        answered = await answer_conversation(ASKED, mixture, asker, judge=chosen, name=name)
        assert answered.messages[-1]["content"].startswith("answer")
    assert {model for model, _ in second.requests} <= {"agg"}


LOADS = {
    "Mixture": {"a": 100, "b": 200, "agg": 100},
    "Single": {"agg": 100},
    "Random": {"a": 33, "b": 67},
    "Combined": {"a": 100, "b": 200},
    # Three pairs a prompt, each in both orders: criteria, three judges and a verdict.
    "BestOfN": {"a": 100, "b": 200, "agg": 300 + 600, "j0": 600, "j1": 600, "j2": 600},
}


@pytest.mark.parametrize("method", list(MixtureMethod))
def test_loads_are_the_calls_that_are_made(method: MixtureMethod) -> None:
    made = asked_of(method)
    calls: Counter[str] = Counter()
    for load in made.loads(100):
        calls[load.model] += load.calls
    assert calls == LOADS[method]
    assert set(calls) == set(made.models)
    assert set(made.authors) <= set(made.models)
    assert all(isinstance(load, Load) and load.completion_tokens for load in made.loads(1))


@pytest.mark.parametrize("method", list(MixtureMethod))
def test_a_method_never_reads_what_it_says_has_no_effect(method: MixtureMethod) -> None:
    parts = parts_of(method)
    ignored = asked_of(method).without_effect
    assert ("aggregator" in ignored) <= (not parts.has_aggregator)
    assert ("layers" in ignored) == (parts.most_layers == 0)
    assert isinstance(parts, Parts)


def test_answers_may_be_as_long_as_the_longest_author_writes() -> None:
    layers = [{"proposers": [{"model": "a", "maxTokens": 9}, {"model": "b", "maxTokens": 90}]}]
    assert {asked_of(m, layers=layers).answer_tokens for m in ("Random", "Combined", "BestOfN")} == {90}
    assert asked_of("Single", aggregator={"model": "agg", "maxTokens": 7}).answer_tokens == 7


def test_a_judge_is_whatever_is_declared() -> None:
    for chosen in (judge(), judge("Single"), judge("Panel")):
        method = method_of(declared("BestOfN"), judge=Judge.model_validate(chosen), seed=0)
        assert set(method.models) == {"a", "b", *chosen.models}
