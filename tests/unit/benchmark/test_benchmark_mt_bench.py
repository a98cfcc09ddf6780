"""An MtBench benchmark grades every turn, in some categories by references."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from moaa.api.evaluation import MtBench
from moaa.api.prompts import Prompts, effective
from moaa.asking.asker import Asker
from moaa.asking.caller import Reply
from moaa.benchmark.measure import NoVerdict
from moaa.benchmark.measures import measure_of, sampling_of
from moaa.benchmark.mt_bench import MtBenchMeasure, MtFacts
from moaa.conversation import Message
from moaa.rows import PromptRow
from tests.unit.calls_scripted import Asked, ScriptedCaller, cut

PROMPTS = effective(
    Prompts(
        exchange="{number}: {question} -> {answer}; ",
        expected="{number}: {text}; ",
        grade="{conversation}grade {number}",
        grade_reference="{conversation}right is {references}grade {number}",
    )
)
ANSWERED = [
    Message(role="user", content="One?"),
    Message(role="assistant", content="1"),
    Message(role="user", content="Two?"),
    Message(role="assistant", content="2"),
]


def row(category: str, references: list[str] | None = None) -> PromptRow:
    facts = MtFacts(category=category, references=references).model_dump_json()
    return PromptRow(id="81", messages=[ANSWERED[0], ANSWERED[2]], answer=None, facts=facts)


def measure(**changes: Any) -> MtBenchMeasure:
    found = measure_of(
        MtBench.model_validate(
            {
                "name": "mt",
                "type": "MtBench",
                "source": "file:///question.jsonl",
                "judgeModel": {"model": "judge"},
                **changes,
            }
        ),
        student="llama",
    )
    assert isinstance(found, MtBenchMeasure)
    return found


def by_turn(*said: str | Reply, then: str | Reply = "Hm.") -> Callable[[Asked], str | Reply]:
    return lambda asked: then if asked.key else said[int(asked.path[-1]) - 1]


async def test_each_turn_is_graded_by_one_call_with_the_conversation_up_to_it() -> None:
    caller = ScriptedCaller(by_turn("Fine. [[8]]", "Poor. [[3.5]]"))
    scored = await measure(judgeSystem="Be fair.").score(row("writing"), ANSWERED, Asker(caller, PROMPTS).at("s0"))
    assert scored.value == pytest.approx(0.575)
    assert scored.detail == {"category": "writing", "grades": [8.0, 3.5]}
    assert {asked.path: asked.text for asked in caller.asked} == {
        "s0/grade1": "<system>Be fair.\n<user>1: One? -> 1; grade 1",
        "s0/grade2": "<system>Be fair.\n<user>1: One? -> 1; 2: Two? -> 2; grade 2",
    }
    assert [(said.role, said.order, said.label, said.verdict) for said in scored.said] == [
        ("grade", "turn 1", "8", None),
        ("grade", "turn 2", "3.5", None),
    ]


async def test_references_are_shown_up_to_the_turn() -> None:
    caller = ScriptedCaller(by_turn("[[8]]", "[[3]]"))
    await measure().score(row("math", ["eins", "zwei"]), ANSWERED, Asker(caller, PROMPTS))
    assert [caller.at(f"grade{turn}").text for turn in (1, 2)] == [
        "<user>1: One? -> 1; right is 1: eins; grade 1",
        "<user>1: One? -> 1; 2: Two? -> 2; right is 1: eins; 2: zwei; grade 2",
    ]


async def test_a_system_message_of_the_question_is_shown_with_its_turn() -> None:
    caller = ScriptedCaller(by_turn("[[8]]", "[[3]]"))
    under = [Message(role="system", content="In rhyme."), *ANSWERED]
    await measure().score(row("writing"), under, Asker(caller, PROMPTS))
    assert caller.at("grade1").text == "<user>1: In rhyme.\n\nOne? -> 1; grade 1"


@pytest.mark.parametrize("unread", ["no grade", "[[0]]", cut("[[7]]")])
async def test_a_grade_that_cannot_be_read_is_asked_for_once_more(unread: str | Reply) -> None:
    caller = ScriptedCaller(by_turn("[[8]]", unread, then="[[4]]"))
    scored = await measure().score(row("writing"), ANSWERED, Asker(caller, PROMPTS))
    assert scored.value == pytest.approx(0.6)
    assert caller.paths == ["grade1", "grade2", "grade2#retry1"]
    assert caller.at("grade2", "retry1").sampling.temperature == Decimal("0.3")


async def test_without_a_grade_of_every_turn_there_is_no_score_and_the_other_grade_is_told() -> None:
    caller = ScriptedCaller(by_turn("Fine. [[8]]", "no grade"))
    with pytest.raises(NoVerdict, match=r"row 81: judge .grade. unreadable: 1; it said 'Hm.'") as caught:
        await measure().score(row("writing"), ANSWERED, Asker(caller, PROMPTS))
    assert [(said.label, said.failure) for said in caught.value.said] == [("8", ""), (None, "unreadable")]


@pytest.mark.parametrize(
    ("category", "temperature"),
    [("writing", "0.7"), ("roleplay", "0.7"), ("stem", "0.1"), ("humanities", "0.1"), ("math", "0"), ("coding", "0"),
     ("reasoning", "0"), ("extraction", "0"), ("tax law", "0.7")],
)  # fmt: skip
def test_answers_are_asked_for_at_the_category_s_temperature(category: str, temperature: str) -> None:
    sampling = {"temperature": "0", "maxTokens": 1024}
    found = sampling_of(measure(sampling=sampling).benchmark, row(category))
    assert (found.temperature, found.max_tokens) == (Decimal(temperature), 1024)
    plain = measure(sampling=sampling, byCategory=False).benchmark
    assert sampling_of(plain, row(category)) == plain.sampling


def test_what_is_asked_is_known_before() -> None:
    loads = list(measure().loads(80))
    assert [(load.model, load.calls) for load in loads] == [("judge", 80), ("judge", 80)]
    assert loads[0].prompt_tokens < loads[1].prompt_tokens


def test_our_prompts_show_all_and_ask_for_the_grade() -> None:
    """What `moaa.benchmark.mt_bench` reads is what they ask for."""
    ours = effective(Prompts())
    for name in ("grade", "grade_reference"):
        assert "[[5]]" in ours[name]
