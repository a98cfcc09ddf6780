"""An ArenaHard benchmark plays two games a question and reads five labels."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from moaa.api.evaluation import ArenaHard
from moaa.api.prompts import Prompts, effective
from moaa.asking.asker import Asker
from moaa.asking.caller import Reply
from moaa.asking.reasons import Reason
from moaa.asking.windows import CharacterCounter, Window
from moaa.benchmark.arena_hard import GO_ON, ArenaDetail, ArenaHardMeasure
from moaa.benchmark.measure import NoVerdict
from moaa.benchmark.measures import measure_of, sampling_of
from moaa.conversation import Message
from moaa.errors import CallError
from moaa.rows import PromptRow
from tests.unit.calls_scripted import Asked, ScriptedCaller, cut

PROMPTS = effective(Prompts(arena_hard="q={question} a={answer_a} b={answer_b}"))
ROW = PromptRow(
    id="r", messages=[Message(role="user", content="Q")], answer="theirs", facts='{"category": "hard_prompt"}'
)
ANSWERED = [*ROW["messages"], Message(role="assistant", content="**mine**\n- a")]


def measure(version: str, **changes: Any) -> ArenaHardMeasure:
    found = measure_of(
        ArenaHard.model_validate(
            {
                "name": "arena",
                "type": "ArenaHard",
                "version": version,
                "source": "file:///question.jsonl",
                "answers": {"source": "file:///gpt-4.jsonl"},
                "judgeModel": {"model": "judge", "maxTokens": 64},
                **changes,
            }
        ),
        student="llama",
    )
    assert isinstance(found, ArenaHardMeasure)
    return found


def by_game(first: str | Reply, second: str | Reply, then: str | Reply = "") -> Callable[[Asked], str | Reply]:
    """What the judge says in each game, and `then` when it is asked to go on."""
    return lambda asked: then if asked.key else first if asked.path.endswith("game1") else second


@pytest.mark.parametrize(
    ("first", "second", "score", "sides"),
    [
        ("B>>A", "A>B", 1.0, ["B", "A"]),
        ("A>B", "B>>A", 0.0, ["A", "B"]),
        ("B>>A", "B>A", 0.75, ["B", "B"]),  # three games won, one lost
        ("A=B", "A>B", 0.75, [None, "A"]),
    ],
)
async def test_the_first_place_is_the_baseline_s_in_game_1_and_the_model_s_in_game_2(
    first: str, second: str, score: float, sides: list[str | None]
) -> None:
    caller = ScriptedCaller(by_game(f"so [[{first}]]", f"so [[{second}]]"))
    scored = await measure("v0.1").score(ROW, ANSWERED, Asker(caller, PROMPTS).at("s0"))
    assert scored.value == score
    assert [(asked.path, asked.text) for asked in sorted(caller.asked, key=lambda one: one.path)] == [
        ("s0/game1", "<user>q=Q a=theirs b=**mine**\n- a"),
        ("s0/game2", "<user>q=Q a=**mine**\n- a b=theirs"),
    ]
    assert [(said.order, said.label) for said in scored.said] == [("ba", first), ("ab", second)]
    assert [said.verdict for said in scored.said] == sides


async def test_labels_lengths_and_styles_are_kept_for_the_figures() -> None:
    caller = ScriptedCaller(by_game("[[A>B]]", "[[A=B]]"))
    scored = await measure("v2.0").score(ROW, ANSWERED, Asker(caller, PROMPTS))
    assert scored.baseline_length == 6
    assert scored.detail == json.loads(json.dumps(scored.detail))
    assert ArenaDetail.model_validate(scored.detail).model_dump() == {
        "category": "hard_prompt",
        "labels": ("A>B", "A=B"),
        "style": (12, 0, 1, 1),
        "baseline_style": (6, 0, 0, 0),
    }


async def test_the_judge_s_system_message_stands_first() -> None:
    caller = ScriptedCaller(by_game("[[A>B]]", "[[A=B]]"))
    await measure("v2.0", judgeSystem="Be fair.").score(ROW, ANSWERED, Asker(caller, PROMPTS))
    assert {asked.messages[0]["content"] for asked in caller.asked} == {"Be fair."}


async def test_v0_1_asks_a_judge_without_a_label_to_go_on_once() -> None:
    caller = ScriptedCaller(by_game("Both are fine.", "[[B>A]]", "[[A>>B]]"))
    scored = await measure("v0.1").score(ROW, ANSWERED, Asker(caller, PROMPTS))
    assert scored.value == 0.0
    assert caller.paths == ["game1", "game1#retry1", "game2"]
    assert [m["content"] for m in caller.at("game1", "retry1").messages[1:]] == ["Both are fine.", GO_ON]
    assert scored.said[0].text == "Both are fine.\n[[A>>B]]"
    assert scored.said[0].label == "A>>B"


async def test_v0_1_reads_both_replies_together() -> None:
    """Two different labels are none, wherever they stand; v2.0 takes the last and asks nobody again."""
    caller = ScriptedCaller(by_game(cut("At first [[A>B]], but"), "[[A>B]] or [[A=B]]", "[[B>A]]"))
    with pytest.raises(NoVerdict, match=r"row r: judge .verdict. unreadable: 2; it said '.*but .*B>A") as caught:
        await measure("v0.1").score(ROW, ANSWERED, Asker(caller, PROMPTS))
    assert caller.paths == ["game1", "game1#retry1", "game2"]
    assert [said.failure for said in caught.value.said] == ["unreadable", "unreadable"]
    caller = ScriptedCaller(by_game("At first [[A>B]], but then [[B>A]]", "[[A>B]] or [[A=B]]"))
    assert (await measure("v2.0").score(ROW, ANSWERED, Asker(caller, PROMPTS))).value == 0.75
    assert caller.paths == ["game1", "game2"]


async def test_a_game_without_a_label_costs_itself_in_v0_1_and_the_question_in_v2_0() -> None:
    caller = ScriptedCaller(by_game("Hm.", "[[A>B]]", "Still hm."))
    scored = await measure("v0.1").score(ROW, ANSWERED, Asker(caller, PROMPTS))
    assert scored.value == 1.0
    assert ArenaDetail.model_validate(scored.detail).labels == (None, "A>B")
    with pytest.raises(NoVerdict) as caught:
        await measure("v2.0").score(ROW, ANSWERED, Asker(ScriptedCaller(caller.answer), PROMPTS))
    assert [said.label for said in caught.value.said] == [None, "A>B"]


async def test_a_reply_that_was_cut_has_no_label() -> None:
    caller = ScriptedCaller(by_game(cut("[[A>B]]"), "[[A>B]]"))
    with pytest.raises(NoVerdict) as caught:
        await measure("v2.0").score(ROW, ANSWERED, Asker(caller, PROMPTS))
    assert [said.failure for said in caught.value.said] == [Reason.CUT_ANSWER, ""]


async def test_what_a_judge_said_is_shortened_where_it_is_to_go_on_and_answers_never_are() -> None:
    long = "Thinking. " * 200
    windows = {"judge": Window(600, CharacterCounter())}
    caller = ScriptedCaller(by_game(long, "[[A>B]]", "[[A>B]]"))
    await measure("v0.1").score(ROW, ANSWERED, Asker(caller, PROMPTS, windows))
    shown = caller.at("game1", "retry1").messages[1]["content"]
    assert len(shown) < len(long)
    assert shown.endswith("the rest was cut to fit ...]")


async def test_a_failure_that_may_pass_fails_the_row_and_another_only_its_game() -> None:
    def fails(reason: Reason) -> Callable[[Asked], str | Reply]:
        def answer(asked: Asked) -> str:
            if asked.path == "game1":
                raise CallError(reason, "no")
            return "[[A>B]]"

        return answer

    with pytest.raises(CallError) as caught:
        await measure("v0.1").score(ROW, ANSWERED, Asker(ScriptedCaller(fails(Reason.TIMEOUT)), PROMPTS))
    assert caught.value.reason == Reason.TIMEOUT
    scored = await measure("v0.1").score(ROW, ANSWERED, Asker(ScriptedCaller(fails(Reason.CONTEXT_LENGTH)), PROMPTS))
    assert (scored.value, scored.said[0].failure) == (1.0, "context-length")


def test_what_is_asked_is_known_before() -> None:
    found = measure("v0.1")
    assert [(load.model, load.calls, load.completion_tokens) for load in found.loads(10)] == [("judge", 20, 64)]
    assert found.judge.models == ["judge"]
    assert sampling_of(found.benchmark, ROW) == found.benchmark.sampling
