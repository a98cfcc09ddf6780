import copy
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moaa.api.mixture import Mixture, Sampling
from moaa.api.prompts import DEFAULT_PROMPTS, PLACEHOLDERS, Prompts, effective, render
from moaa.api.training import Dpo
from moaa.asking.asker import Asker
from moaa.asking.cut import ENDED_MARK
from moaa.asking.reasons import TRANSIENT
from moaa.asking.windows import CUT_MARK, CharacterCounter, Window
from moaa.client.ledgered import Calls
from moaa.conversation import Message
from moaa.errors import CallError, ModelAbsent, ServerError
from moaa.mixture.alone import answer_alone, sample_answers
from moaa.mixture.prompts import aggregate_messages
from tests.answering import answer_conversation
from tests.unit.calls_scripted import Asked, MemoryLedger, ScriptedCaller, ScriptedClients

PROMPTS = effective(Prompts(aggregate="AGGREGATE\n{proposals}", proposal="[{number}:{text}]\n"))


def user(text: str) -> Message:
    return Message(role="user", content=text)


def assistant(text: str) -> Message:
    return Message(role="assistant", content=text)


def system(text: str) -> Message:
    return Message(role="system", content=text)


def mixture(*layers: list[str | dict[str, Any]], **changes: Any) -> Mixture:
    return Mixture.model_validate(
        {
            "layers": [{"proposers": [{"model": p} if isinstance(p, str) else p for p in layer]} for layer in layers],
            "aggregator": {"model": "agg", "temperature": "0.3"},
            **changes,
        }
    )


async def test_proposals_go_to_the_aggregator_in_order() -> None:
    caller = ScriptedCaller()
    made = mixture(["a", {"model": "b", "samples": 2}, "a"])
    answered = await answer_conversation([user("Q")], made, Asker(caller, PROMPTS))
    assert caller.paths == [
        "turn0/aggregate",
        "turn0/layer0/p0/s0",
        "turn0/layer0/p1/s0",
        "turn0/layer0/p1/s1",
        "turn0/layer0/p2/s0",
    ]
    assert caller.at("turn0/layer0/p0/s0").messages == (user("Q"),)
    assert caller.at("turn0/aggregate").messages == [
        system(
            "AGGREGATE\n[1:a@turn0/layer0/p0/s0]\n[2:b@turn0/layer0/p1/s0]\n[3:b@turn0/layer0/p1/s1]\n"
            "[4:a@turn0/layer0/p2/s0]"
        ),
        user("Q"),
    ]
    assert caller.at("turn0/aggregate").sampling is made.aggregator
    assert answered.messages == [user("Q"), assistant("agg@turn0/aggregate")]
    assert answered.row("id-1") == {
        "id": "id-1",
        "messages": answered.messages,
        "proposals": [
            {"path": "turn0/layer0/p0/s0", "model": "a", "text": "a@turn0/layer0/p0/s0"},
            {"path": "turn0/layer0/p1/s0", "model": "b", "text": "b@turn0/layer0/p1/s0"},
            {"path": "turn0/layer0/p1/s1", "model": "b", "text": "b@turn0/layer0/p1/s1"},
            {"path": "turn0/layer0/p2/s0", "model": "a", "text": "a@turn0/layer0/p2/s0"},
        ],
        "missing": 0,
        "absent": [],
        "shortened": 0,
        "wrote": ["agg"],
    }


async def test_turns_build_on_the_mixtures_answers_and_not_on_the_datas() -> None:
    caller = ScriptedCaller()
    messages = [system("S"), user("Q1"), assistant("the data's"), user("Q2"), assistant("the data's")]
    answered = await answer_conversation(messages, mixture(["a"]), Asker(caller, PROMPTS))
    first, second = assistant("agg@turn0/aggregate"), assistant("agg@turn1/aggregate")
    assert answered.messages == [system("S"), user("Q1"), first, user("Q2"), second]
    assert caller.at("turn1/layer0/p0/s0").messages == (system("S"), user("Q1"), first, user("Q2"))
    assert caller.at("turn1/aggregate").messages == [
        system("S\n\nAGGREGATE\n[1:a@turn1/layer0/p0/s0]"),
        user("Q1"),
        first,
        user("Q2"),
    ]
    assert not any("the data's" in asked.text for asked in caller.asked)


async def test_later_layers_read_the_layer_before() -> None:
    caller = ScriptedCaller()
    await answer_conversation([user("Q")], mixture(["a", "b"], ["c", "a"]), Asker(caller, PROMPTS))
    read = [system("AGGREGATE\n[1:a@turn0/layer0/p0/s0]\n[2:b@turn0/layer0/p1/s0]"), user("Q")]
    assert caller.at("turn0/layer1/p0/s0").messages == read
    assert caller.at("turn0/layer1/p1/s0").messages == read
    assert "[1:c@turn0/layer1/p0/s0]\n[2:a@turn0/layer1/p1/s0]" in caller.at("turn0/aggregate").text
    assert "layer0" not in caller.at("turn0/aggregate").text


def failing(*models: str) -> ScriptedCaller:
    def answer(asked: Asked) -> str:
        if asked.model in models:
            raise CallError("empty-answer", f"{asked.model} said nothing")
        return f"text of {asked.model}"

    return ScriptedCaller(answer)


async def test_a_missing_proposal_is_left_out_and_counted() -> None:
    caller = failing("b")
    answered = await answer_conversation([user("Q")], mixture(["a", "b", "c"], minProposals=2), Asker(caller, PROMPTS))
    assert answered.notes.absent == [{"path": "turn0/layer0/p1/s0", "model": "b", "reason": "empty-answer"}]
    assert answered.row("id-1")["missing"] == 1
    assert [p["model"] for p in answered.notes.proposals] == ["a", "c"]
    assert "[1:text of a]\n[2:text of c]" in caller.at("turn0/aggregate").text


@pytest.mark.parametrize("reason", sorted(TRANSIENT))
async def test_a_proposal_that_may_yet_come_fails_the_row_after_all_others_were_asked_for(reason: str) -> None:
    def answer(asked: Asked) -> str:
        if asked.model == "a":
            raise CallError(reason, "late")
        return asked.path

    caller = ScriptedCaller(answer)
    with pytest.raises(CallError, match="late") as caught:
        await answer_conversation([user("Q")], mixture(["a", "b", "c"]), Asker(caller, PROMPTS))
    assert caught.value.reason == reason
    assert caller.paths == ["turn0/layer0/p0/s0", "turn0/layer0/p1/s0", "turn0/layer0/p2/s0"]


@pytest.mark.parametrize("reason", sorted(TRANSIENT))
async def test_a_sample_that_may_yet_come_fails_the_row(reason: str) -> None:
    def answer(asked: Asked) -> str:
        if asked.path == "s0":
            raise CallError(reason, "late")
        return asked.path

    caller = ScriptedCaller(answer)
    with pytest.raises(CallError, match="late"):
        await sample_answers([user("Q")], "m", Dpo(samples=4), Asker(caller))
    assert len(caller.asked) == 4


async def test_too_few_proposals_fail_the_row_and_say_why() -> None:
    caller = failing("a", "b")
    told = r"1 of 3 proposals.*minProposals is 2; the first that failed: a \(empty-answer\): a said nothing"
    with pytest.raises(CallError, match=told) as caught:
        await answer_conversation([user("Q")], mixture(["a", "b", "c"], minProposals=2), Asker(caller, PROMPTS))
    assert caught.value.reason == "too-few-proposals"
    assert not any(path.endswith("aggregate") for path in caller.paths)


async def test_a_failed_aggregator_fails_the_row_with_its_reason() -> None:
    with pytest.raises(CallError) as caught:
        await answer_conversation([user("Q")], mixture(["a"]), Asker(failing("agg"), PROMPTS))
    assert caught.value.reason == "empty-answer"


async def test_all_calls_that_can_be_made_are_made_before_the_row_waits() -> None:
    caller = ScriptedCaller(absent=["b"])
    with pytest.raises(ModelAbsent) as caught:
        await answer_conversation([user("Q")], mixture(["b", "a", "c"]), Asker(caller, PROMPTS))
    assert caught.value.model == "b"
    assert caller.paths == ["turn0/layer0/p1/s0", "turn0/layer0/p2/s0"]


async def test_a_server_that_is_gone_ends_the_row_at_once() -> None:
    def answer(asked: Asked) -> str:
        raise ServerError("gone")

    with pytest.raises(ServerError):
        await answer_conversation([user("Q")], mixture(["a", "b"]), Asker(ScriptedCaller(answer), PROMPTS))


async def test_a_conversation_without_user_turn_fails() -> None:
    for call in (
        answer_conversation([system("S")], mixture(["a"]), Asker(ScriptedCaller(), PROMPTS)),
        answer_alone([assistant("A")], "a", Sampling(), Asker(ScriptedCaller())),
        sample_answers([], "a", Dpo(), Asker(ScriptedCaller())),
    ):
        with pytest.raises(CallError, match="no user turn"):
            await call


async def test_long_proposals_are_shortened_for_the_reader_and_kept_whole_in_the_row() -> None:
    caller = ScriptedCaller(lambda asked: "x" * 3000 if asked.model == "a" else "short")
    windows = {"agg": Window(1024, CharacterCounter())}
    answered = await answer_conversation([user("Q")], mixture(["a", "b"]), Asker(caller, PROMPTS, windows))
    assert answered.notes.shortened == 1
    assert answered.notes.proposals[0]["text"] == "x" * 3000
    read = caller.at("turn0/aggregate").text
    assert "cut to fit" in read
    assert "[2:short]" in read
    assert len(read) < 2000


roles = st.sampled_from(["user", "assistant", "system"])
conversations = st.lists(
    st.builds(lambda role, content: Message(role=role, content=content), roles, st.text("ab{}", max_size=4)), max_size=6
)


@settings(deadline=None)
@given(conversations)
async def test_inputs_are_never_changed_and_every_user_turn_is_answered(messages: list[Message]) -> None:
    before = copy.deepcopy(messages)
    users = [m for m in messages if m["role"] == "user"]
    caller = ScriptedCaller()
    call = answer_conversation(messages, mixture(["a"], ["b"]), Asker(caller, PROMPTS))
    if not users:
        with pytest.raises(CallError):
            await call
        return
    answered = await call
    assert messages == before
    assert [m for m in answered.messages if m["role"] == "user"] == users
    assert [m["role"] for m in answered.messages].count("assistant") == len(users)
    assert answered.messages[-1]["role"] == "assistant"
    assert all(
        answered.messages[i + 1]["role"] == "assistant" for i, m in enumerate(answered.messages) if m["role"] == "user"
    )


async def test_a_model_alone_builds_on_its_own_answers() -> None:
    caller = ScriptedCaller()
    messages = [user("Q1"), assistant("the data's"), user("Q2")]
    answered = await answer_alone(messages, "m", Sampling(), Asker(caller).at("s1"))
    assert answered == [user("Q1"), assistant("m@s1/turn0"), user("Q2"), assistant("m@s1/turn1")]


async def test_samples_answer_the_last_user_turn_of_the_data() -> None:
    caller = ScriptedCaller()
    dpo = Dpo(samples=3)
    messages = [system("S"), user("Q1"), assistant("given"), user("Q2"), assistant("dropped")]
    assert await sample_answers(messages, "m", dpo, Asker(caller)) == ["m@s0", "m@s1", "m@s2"]
    assert caller.paths == ["s0", "s1", "s2"]
    assert caller.at("s2").messages == [system("S"), user("Q1"), assistant("given"), user("Q2")]
    sampling = caller.at("s0").sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (dpo.temperature, dpo.top_p, dpo.max_tokens)


async def test_a_failed_sample_is_left_out_while_two_remain() -> None:
    def answer(asked: Asked) -> str:
        if asked.path in broken:
            raise CallError("empty-answer", asked.path)
        return asked.path

    broken = {"s1"}
    assert await sample_answers([user("Q")], "m", Dpo(samples=3), Asker(ScriptedCaller(answer))) == ["s0", "s2"]
    broken = {"s1", "s2"}
    with pytest.raises(CallError, match="s1"):
        await sample_answers([user("Q")], "m", Dpo(samples=3), Asker(ScriptedCaller(answer)))


@settings(deadline=None)
@given(st.integers(0, 12))
async def test_a_row_killed_anywhere_and_resumed_is_the_row_never_killed(killed_at: int) -> None:
    made = mixture(["a", "b"], [{"model": "a", "samples": 2}])
    messages = [user("Q1"), user("Q2")]
    digests = {name: name * 8 for name in ("a", "b", "agg")}

    def text(model: str, request: Any, number: int) -> str:
        return f"{model} {request.seed}"  # a deterministic server

    class Killed(Exception):
        pass

    ledger = MemoryLedger()
    sent = 0

    def kill(request: Any) -> Exception | None:
        nonlocal sent
        sent += 1
        return Killed() if sent > killed_at else None

    first = ScriptedClients(failing=kill, answer=text)
    with suppress(Killed):
        await answer_conversation(messages, made, Asker(Calls(first, ledger, digests, 1, {}).of("r"), PROMPTS))
    durable = len(ledger.entries)
    second = ScriptedClients(answer=text)
    resumed = await answer_conversation(messages, made, Asker(Calls(second, ledger, digests, 1, {}).of("r"), PROMPTS))
    whole = ScriptedClients(answer=text)
    fresh = await answer_conversation(
        messages, made, Asker(Calls(whole, MemoryLedger(), digests, 1, {}).of("r"), PROMPTS)
    )
    assert resumed == fresh
    assert len(whole.requests) == 10
    assert durable + len(second.requests) == 10


async def test_identical_proposers_never_share_an_answer_and_an_edited_aggregator_resends_no_proposal() -> None:
    digests = {name: name * 8 for name in ("a", "agg")}
    ledger, clients = MemoryLedger(), ScriptedClients()
    answered = await answer_conversation(
        [user("Q")], mixture(["a", "a"]), Asker(Calls(clients, ledger, digests, 1, {}).of("r"), PROMPTS)
    )
    assert len({p["text"] for p in answered.notes.proposals}) == 2
    assert len({request.seed for _, request in clients.requests}) == 3
    edited = mixture(["a", "a"], aggregator={"model": "agg", "temperature": "0"})
    again = ScriptedClients()
    await answer_conversation([user("Q")], edited, Asker(Calls(again, ledger, digests, 1, {}).of("r"), PROMPTS))
    assert [model for model, _ in again.requests] == ["agg"]


def test_default_templates_hold_their_placeholders_and_nothing_else() -> None:
    assert Prompts(**DEFAULT_PROMPTS) is not None
    assert effective(Prompts()) == dict(DEFAULT_PROMPTS)
    assert effective(Prompts(judge="{question}{answer_a}{answer_b}"))["judge"] == "{question}{answer_a}{answer_b}"


@pytest.mark.parametrize("name", sorted(PLACEHOLDERS))
def test_every_default_template_shows_all_its_values(name: str) -> None:
    must, may = PLACEHOLDERS[name]
    values = {placeholder: f"<<{placeholder}>>" for placeholder in must | may}
    text = render(DEFAULT_PROMPTS[name], values, DEFAULT_PROMPTS)
    for placeholder in must | may:
        assert f"<<{placeholder}>>" in text
    assert "{" not in text
    assert "}" not in text


def test_judge_prompts_share_everything_up_to_the_answers() -> None:
    opening = DEFAULT_PROMPTS["judge"].split("===== END OF ANSWER B")[0]
    assert "{answer_b}" in opening
    for name in ("criteria", "meta_judge", "single"):
        assert DEFAULT_PROMPTS[name].startswith(opening)


@settings(deadline=None)
@given(st.text(), st.text())
def test_braces_in_answers_stay_text(first: str, second: str) -> None:
    messages = aggregate_messages([user("Q")], [first, "{text}{number}" + second], DEFAULT_PROMPTS)
    assert f"DRAFT 1 =====\n{first}\n=====" in messages[0]["content"]
    assert "{text}{number}" + second in messages[0]["content"]


@pytest.mark.parametrize(
    ("said", "mark"),
    [
        ("===== DRAFT 1 =====\nParis.\n===== END OF DRAFT 1 =====", "===== DRAFT 1 ====="),
        ("Paris.\n  ===== end of draft 12 =====  ", "===== end of draft 12 ====="),
        (f"Paris is{ENDED_MARK}", ENDED_MARK.strip()),
        (f"Paris is{CUT_MARK} and so on", CUT_MARK.strip()),
    ],
)
async def test_an_answer_that_copies_our_marks_fails_its_row(said: str, mark: str) -> None:
    caller = ScriptedCaller(lambda asked: said if asked.model == "agg" else "Paris.")
    with pytest.raises(CallError, match=r"copied-mark|stood at a draft") as caught:
        await answer_conversation([user("Q")], mixture(["a"]), Asker(caller, effective(Prompts())))
    assert caught.value.reason == "copied-mark"
    assert repr(mark) in str(caught.value)


@pytest.mark.parametrize("said", ["===== A HEADING =====", "DRAFT 1", "the rest was cut to fit", "[1:Paris.]"])
async def test_lines_that_only_look_alike_are_no_marks(said: str) -> None:
    caller = ScriptedCaller(lambda asked: said if asked.model == "agg" else "Paris.")
    answered = await answer_conversation([user("Q")], mixture(["a"]), Asker(caller, effective(Prompts())))
    assert answered.messages[-1]["content"] == said


async def test_a_mark_that_the_user_wrote_may_be_answered_with() -> None:
    caller = ScriptedCaller(lambda asked: "It says:\n===== DRAFT 1 =====" if asked.model == "agg" else "Paris.")
    question = user("Explain this:\n===== DRAFT 1 =====")
    answered = await answer_conversation([question], mixture(["a"]), Asker(caller, effective(Prompts())))
    assert answered.messages[-1]["content"].endswith("===== DRAFT 1 =====")
