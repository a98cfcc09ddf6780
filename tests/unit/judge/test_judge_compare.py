"""One comparison: who is asked what, in which order, and what failures leave of it."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moaa.api.mixture import PAPER_CRITERIA
from moaa.asking.asker import Asker
from moaa.asking.reasons import TRANSIENT
from moaa.asking.windows import CharacterCounter, Window
from moaa.errors import CallError
from moaa.judge.ranking import majority, panel_score
from moaa.rows import Comparison
from tests.unit.calls_scripted import Asked, ScriptedCaller
from tests.unit.judge_scripted import CHOICE, PROMPTS, by_quality, compare, heard, judge, pair, shown


async def test_the_mixture_judges_in_both_orders_by_criteria_chosen_once() -> None:
    caller = ScriptedCaller(by_quality)
    made = await compare(pair(), judge(), Asker(caller, PROMPTS))
    assert made == Comparison(
        a=0,
        b=1,
        criteria=["Accuracy", "Depth", "Safety"],
        chosen=True,
        score=0.0,
        forward=0,
        backward=0,
        votes=[],
    )
    assert caller.paths == [
        "c0-1/ab/j0",
        "c0-1/ab/j1",
        "c0-1/ab/j2",
        "c0-1/ab/meta",
        "c0-1/ba/j0",
        "c0-1/ba/j1",
        "c0-1/ba/j2",
        "c0-1/ba/meta",
        "c0-1/criteria",
    ]
    assert caller.at("c0-1/ab/j1").text == "<user>JUDGE q=Q a=answer 1 b=answer 2 by Accuracy;Depth;Safety;"
    assert caller.at("c0-1/ba/meta").text == (
        "<user>META q=Q a=answer 2 b=answer 1 by Accuracy;Depth;Safety; "
        "read (1:evaluation by j0)(2:evaluation by j1)(3:evaluation by j2)"
    )
    assert caller.at("c0-1/criteria").model == caller.at("c0-1/ab/meta").model == "agg"
    assert caller.at("c0-1/criteria").text.startswith("<user>CRITERIA q=Q a=answer 1 b=answer 2 3 of Instruction")


async def test_single_asks_the_aggregator_alone() -> None:
    caller = ScriptedCaller(by_quality)
    made = await compare(pair(), judge("Single"), Asker(caller, PROMPTS))
    assert (made["forward"], made["backward"], made["votes"]) == (0, 0, [])
    assert caller.paths == ["c0-1/ab/single", "c0-1/ba/single", "c0-1/criteria"]


async def test_no_criteria_to_choose_means_all_of_them_and_no_call() -> None:
    caller = ScriptedCaller(by_quality)
    made = await compare(pair(), judge("Single", criteria=0), Asker(caller, PROMPTS))
    assert made["criteria"] == [c.name for c in PAPER_CRITERIA]
    assert caller.paths == ["c0-1/ab/single", "c0-1/ba/single"]


async def test_a_panel_counts_votes_that_hold_in_both_orders() -> None:
    def answer(asked: Asked) -> str:
        if asked.model == "j0":
            return "[[A]]"  # follows the order
        return by_quality(asked)

    caller = ScriptedCaller(answer)
    made = await compare(pair("answer 5", "answer 2"), judge("Panel"), Asker(caller, PROMPTS))
    assert made["votes"] == [[1, 0], [1, 1], [1, 1]]
    assert (made["forward"], made["backward"]) == (1, 1)
    assert made["score"] == 1.0
    assert made["criteria"] == [c.name for c in PAPER_CRITERIA]
    assert not any("criteria" in path for path in caller.paths)


@pytest.mark.parametrize(
    ("votes", "score"),
    [
        ([[1, 1], [1, 1], [0, 0]], 1.0),
        ([[0, 0], [0, 0], [1, 0]], 0.0),
        ([[1, 1], [0, 0], [1, 0]], 0.5),
        ([[1, 0], [0, 1], [1, 0]], 0.5),
        ([[1, 1], [1, 0], [0, 1]], 0.5),  # one of three is no majority
        ([[1, 1], [1, 0], [None, 1]], 0.5),
        ([[1, 1], [None, 1], [None, None]], None),
        ([[1, 1], [1, 1], [None, 1]], 1.0),
    ],
)
def test_panel_scores(votes: list[list[int | None]], score: float | None) -> None:
    assert panel_score(votes, least=2) == score


def test_a_majority_needs_more_than_half() -> None:
    assert majority([1, 0, 1]) == 1
    assert majority([0]) == 0
    assert majority([1, 0]) is None
    assert majority([1, None, None]) is None
    assert majority([1, 1, None]) == 1
    assert majority([None]) is None
    assert majority([]) is None


async def test_an_unreadable_verdict_is_asked_for_once_more_and_warmer() -> None:
    def answer(asked: Asked) -> str:
        if asked.path.endswith("meta") and asked.key == "":
            return "hard to say"
        return by_quality(asked)

    caller = ScriptedCaller(answer)
    made = await compare(pair(), judge(), Asker(caller, PROMPTS))
    assert (made["forward"], made["backward"]) == (0, 0)
    assert caller.at("c0-1/ab/meta").sampling.temperature == 0
    again = caller.at("c0-1/ab/meta", "retry1")
    assert again.sampling.temperature == Decimal("0.3")
    assert again.messages == caller.at("c0-1/ab/meta").messages


async def test_a_warm_judge_is_not_cooled_by_the_retry() -> None:
    caller = ScriptedCaller(lambda _: "?")
    warm = judge("Single", criteria=0, aggregator={"model": "agg", "temperature": "0.9"})
    await compare(pair(), warm, Asker(caller, PROMPTS))
    assert caller.at("c0-1/ab/single", "retry1").sampling.temperature == Decimal("0.9")


async def test_what_stays_unreadable_is_a_failed_comparison_and_no_score() -> None:
    caller = ScriptedCaller(lambda asked: CHOICE if asked.path.endswith("criteria") else "no idea")
    made = await compare(pair(), judge("Single"), Asker(caller, PROMPTS))
    assert (made["forward"], made["backward"]) == (None, None)
    assert made["score"] is None
    assert caller.paths.count("c0-1/ab/single#retry1") == 1


async def test_criteria_that_cannot_be_read_are_all_there_are() -> None:
    caller = ScriptedCaller(lambda asked: "Beauty" if "criteria" in asked.path else by_quality(asked))
    made = await compare(pair(), judge(), Asker(caller, PROMPTS))
    assert made["criteria"] == [c.name for c in PAPER_CRITERIA]
    assert (made["chosen"], made["score"]) == (False, 0.0)
    assert caller.paths.count("c0-1/criteria#retry1") == 1
    again = ScriptedCaller(lambda asked: "Beauty" if "criteria" in asked.path else by_quality(asked))
    whole = await heard(pair(), judge(), Asker(again, PROMPTS))
    first = whole.said[0]
    assert (first.role, first.failure, first.text) == ("criteria", "unreadable", "Beauty")


async def test_one_readable_order_is_not_a_score() -> None:
    def answer(asked: Asked) -> str:
        return "?" if "/ba/" in asked.path else by_quality(asked)

    made = await compare(pair(), judge("Single"), Asker(ScriptedCaller(answer), PROMPTS))
    assert (made["forward"], made["backward"]) == (0, None)
    assert made["score"] is None


async def test_a_judge_that_fails_is_left_out_and_without_any_there_is_no_verdict() -> None:
    def answer(asked: Asked) -> str:
        if asked.model in broken:
            raise CallError("context-length", "too long")
        return by_quality(asked)

    broken = {"j1"}
    caller = ScriptedCaller(answer)
    made = await compare(pair(), judge(), Asker(caller, PROMPTS))
    assert made["forward"] == 0
    assert caller.at("c0-1/ab/meta").text.endswith("(1:evaluation by j0)(2:evaluation by j2)")
    broken = {"j0", "j1", "j2"}
    made = await compare(pair(), judge(), Asker(ScriptedCaller(answer), PROMPTS))
    assert (made["forward"], made["backward"]) == (None, None)
    broken = {"agg"}
    made = await compare(pair(), judge(), Asker(ScriptedCaller(answer), PROMPTS))
    assert (made["forward"], made["chosen"]) == (None, False)


@pytest.mark.parametrize(
    ("least", "broken", "score"), [(None, 1, 0.0), (None, 2, None), (1, 2, 0.0), (3, 0, 0.0), (3, 1, None)]
)
@pytest.mark.parametrize("method", ["Mixture", "Panel"])
async def test_a_comparison_needs_its_judges(method: str, least: int | None, broken: int, score: float | None) -> None:
    def answer(asked: Asked) -> str:
        if asked.model in {f"j{i}" for i in range(broken)}:
            raise CallError("context-length", "too long")
        return by_quality(asked)

    declared = judge(method, minJudges=least) if least else judge(method)
    found = await heard(pair(), declared, Asker(ScriptedCaller(answer), PROMPTS))
    if (method, least, broken) == ("Panel", 1, 2):
        score = 0.5  # one judge of three is heard, and no majority of the panel
    assert found.comparison["score"] == score
    missing = [said for said in found.said if said.failure == "context-length"]
    assert {said.judge for said in missing} == {f"j{i}" for i in range(broken)}


async def test_all_that_judges_say_is_kept_in_order() -> None:
    found = await heard(pair(), judge(), Asker(ScriptedCaller(by_quality), PROMPTS))
    assert [(said.order, str(said.role), said.judge, said.verdict) for said in found.said] == [
        ("", "criteria", "agg", None),
        *(("ab", "evaluation", f"j{i}", None) for i in range(3)),
        ("ab", "verdict", "agg", "B"),
        *(("ba", "evaluation", f"j{i}", None) for i in range(3)),
        ("ba", "verdict", "agg", "A"),
    ]
    assert found.said[1].text == "evaluation by j0"
    assert not any(said.failure for said in found.said)


async def test_a_failed_order_leaves_the_other_as_it_is() -> None:
    def answer(asked: Asked) -> str:
        if asked.path == "c0-1/ba/meta":
            raise CallError("refused", "no")
        return by_quality(asked)

    made = await compare(pair(), judge(), Asker(ScriptedCaller(answer), PROMPTS))
    assert (made["forward"], made["backward"]) == (0, None)


@pytest.mark.parametrize("reason", sorted(TRANSIENT))
@pytest.mark.parametrize(
    ("method", "failing", "asked"),
    [
        ("Mixture", "c0-1/criteria", 1),
        ("Mixture", "c0-1/ab/j1", 8),  # the judges and the meta-judge of the other order, the judges of this one
        ("Mixture", "c0-1/ab/meta", 9),
        ("Panel", "c0-1/ba/j0", 6),
        ("Single", "c0-1/ab/single", 3),
    ],
)
async def test_a_failure_that_may_pass_fails_the_row_after_all_other_calls(
    method: str, failing: str, asked: int, reason: str
) -> None:
    def answer(asked: Asked) -> str:
        if asked.path == failing:
            raise CallError(reason, "late")
        return by_quality(asked)

    caller = ScriptedCaller(answer)
    with pytest.raises(CallError, match="late") as caught:
        await compare(pair(), judge(method), Asker(caller, PROMPTS))
    assert caught.value.reason == reason
    assert len(caller.asked) == asked


async def test_long_evaluations_are_shortened_for_the_meta_judge() -> None:
    def answer(asked: Asked) -> str:
        return "e" * 3000 if asked.path.endswith("j0") else by_quality(asked)

    caller = ScriptedCaller(answer)
    windows = {"agg": Window(1024, CharacterCounter())}
    made = await compare(pair(), judge(), Asker(caller, PROMPTS, windows))
    assert made["forward"] == 0
    assert "cut to fit" in caller.at("c0-1/ab/meta").text


@settings(deadline=None)
@given(st.sampled_from(["Mixture", "Single", "Panel"]), st.data())
async def test_swapping_the_answers_mirrors_the_outcome(method: str, data: st.DataObject) -> None:
    """Whatever a judge answers to a prompt, naming the answers the other way round gives the opposite score."""
    verdicts: dict[tuple[str, str, str], str] = {}

    def answer(asked: Asked) -> str:
        content = asked.messages[0]["content"]
        if content.startswith("CRITERIA"):
            return CHOICE
        if content.startswith("JUDGE"):
            return "evaluation"
        known = (asked.model, *shown(asked))
        if known not in verdicts:
            verdicts[known] = data.draw(st.sampled_from(["[[A]]", "[[B]]", "?"]))
        return verdicts[known]

    there = await compare(pair("answer 1", "answer 2"), judge(method), Asker(ScriptedCaller(answer), PROMPTS))
    back = await compare(pair("answer 2", "answer 1"), judge(method), Asker(ScriptedCaller(answer), PROMPTS))
    first, second = there["score"], back["score"]
    assert (first is None) == (second is None)
    if first is not None and second is not None:
        assert first + second == 1.0
