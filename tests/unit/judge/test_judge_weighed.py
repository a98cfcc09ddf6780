"""Verdicts by log-probabilities: where the letter is asked for, what a share is worth, what counts as no verdict."""

from collections.abc import Mapping

import pytest

from moaa.api.mixture import Judge
from moaa.asking.asker import Asker
from moaa.asking.windows import CharacterCounter, Window
from moaa.errors import CallError
from moaa.judge.methods import method_of
from moaa.judge.prompts import OPENING
from moaa.judge.ranking import PAIR, TIE
from moaa.judge.reading import led_to_letter
from moaa.judge.trail import UNREADABLE
from tests.unit.calls_scripted import Asked, AskedLetter, ScriptedCaller, cut
from tests.unit.judge_scripted import PROMPTS, by_quality, judge, quality, user


def weighed(method: str = "Single", **changes: object) -> Judge:
    return judge(method, verdict="LogProbs", criteria=0, **changes)


def shown(asked: AskedLetter) -> tuple[int, int]:
    first, rest = asked.choice.messages[0]["content"].split(" a=")[1].split(" b=")
    return quality(first), quality(" ".join(rest.split(" ")[:2]))


def sound(asked: AskedLetter) -> Mapping[str, float]:
    """Sure by 0.2 for each point of quality, and a little of the first answer's."""
    first, second = shown(asked)
    share = min(1.0, max(0.0, 0.55 + 0.2 * (first - second)))
    return {"A": 0.8 * share, "B": 0.8 * (1 - share)}


def first_always(_: AskedLetter) -> Mapping[str, float]:
    return {"A": 0.27 * 0.9, "B": 0.27 * 0.1}


async def test_a_score_is_the_mean_share_of_both_orders() -> None:
    caller = ScriptedCaller(by_quality, letters=sound)
    compared = await method_of(weighed()).duel("Q", "answer 2", "answer 1", Asker(caller, PROMPTS))
    assert compared is not None
    # In order ab the better one gets 0.75, in order ba 0.65: the judge's liking for the first cancels.
    assert compared.comparison["score"] == pytest.approx(0.7)
    assert (compared.comparison["forward"], compared.comparison["backward"]) == (1, 1)
    forward, backward = compared.said
    assert forward.probability == pytest.approx(0.75)
    assert backward.probability == pytest.approx(0.35)
    assert forward.mass == pytest.approx(0.8)
    assert (forward.verdict, backward.verdict) == ("A", "B")


async def test_the_letter_is_asked_for_where_the_reply_gives_its_verdict() -> None:
    caller = ScriptedCaller(lambda asked: f"{asked.model} weighs it.\n[[A]]", letters=sound)
    await method_of(weighed()).duel("Q", "answer 2", "answer 1", Asker(caller, PROMPTS))
    assert [asked.path for asked in caller.asked_letters] == ["c0-1/ab/single/letter", "c0-1/ba/single/letter"]
    choice = caller.asked_letters[0].choice
    assert (choice.said, choice.opening, choice.letters) == ("agg weighs it.\n", "[[", ("A", "B"))
    assert choice.messages == caller.at("c0-1/ab/single").messages


async def test_the_meta_judges_letter_follows_the_prompt_it_was_shown_shortened_as_it_was() -> None:
    def long_winded(asked: Asked) -> str:
        return "much " * 200 if "/j" in asked.path else "It is clear."

    windows = {"agg": Window(400, CharacterCounter())}
    declared = weighed("Mixture", aggregator={"model": "agg", "maxTokens": 64})
    caller = ScriptedCaller(long_winded, letters=sound)
    await method_of(declared).duel("Q", "answer 2", "answer 1", Asker(caller, PROMPTS, windows))
    choice = caller.asked_letters[0].choice
    assert choice.messages == caller.at("c0-1/ab/meta").messages
    assert "the rest was cut to fit" in choice.messages[0]["content"]
    assert (choice.said, choice.opening) == ("It is clear.", OPENING)


async def test_what_the_judge_said_is_shortened_where_the_window_has_no_room_for_all() -> None:
    windows = {"agg": Window(300, CharacterCounter())}
    caller = ScriptedCaller(lambda _: "word " * 400, letters=sound)
    await method_of(weighed()).duel("Q", "answer 2", "answer 1", Asker(caller, PROMPTS, windows))
    said = caller.asked_letters[0].choice.said
    assert said.endswith("[... the rest was cut to fit ...]")
    assert len(said) < 900


async def test_a_cut_reply_has_a_verdict_too_since_none_of_its_words_are_read() -> None:
    caller = ScriptedCaller(lambda _: cut("I would end with [[B]]. But"), letters=sound)
    compared = await method_of(weighed()).duel("Q", "answer 2", "answer 1", Asker(caller, PROMPTS))
    assert compared is not None
    assert compared.comparison["score"] == pytest.approx(0.7)
    choice = caller.asked_letters[0].choice
    assert choice.opening == OPENING
    assert "ended here at its length limit" in choice.said


async def test_a_judge_that_follows_the_place_gives_ties_and_no_pair() -> None:
    caller = ScriptedCaller(by_quality, letters=first_always)
    ranked = await method_of(weighed()).rank(user("Q"), ["answer 1", "answer 2", "answer 3"], Asker(caller, PROMPTS))
    assert [c.comparison["score"] for c in ranked.compared] == [0.5, 0.5, 0.5]
    assert ranked.ranking.outcome == TIE


async def test_shares_rank_what_whole_verdicts_would_leave_tied() -> None:
    def unsure(asked: AskedLetter) -> Mapping[str, float]:
        first, second = shown(asked)
        share = 0.8 + 0.05 * (first - second)  # always the first, and more so when it is better
        return {"A": share, "B": 1 - share}

    caller = ScriptedCaller(by_quality, letters=unsure)
    ranked = await method_of(weighed()).rank(user("Q"), ["answer 1", "answer 3", "answer 2"], Asker(caller, PROMPTS))
    assert ranked.ranking.outcome == PAIR
    assert (ranked.ranking.chosen, ranked.ranking.rejected) == (1, 0)
    assert ranked.ranking.points == pytest.approx((0.425, 0.575, 0.5))


async def test_neither_letter_is_no_verdict_and_says_so() -> None:
    caller = ScriptedCaller(by_quality, letters=lambda _: {"A": 0.0, "B": 0.0})
    compared = await method_of(weighed()).duel("Q", "answer 2", "answer 1", Asker(caller, PROMPTS))
    assert compared is not None
    assert compared.comparison["score"] is None
    assert {(said.failure, said.verdict, said.mass) for said in compared.said} == {(UNREADABLE, None, 0.0)}


@pytest.mark.parametrize("at", ["text", "letter"])
async def test_a_failed_call_leaves_its_reason_and_no_second_try(at: str) -> None:
    def answer(asked: Asked) -> str:
        if at == "text":
            raise CallError("refused", "no")
        return by_quality(asked)

    def letters(_: AskedLetter) -> Mapping[str, float]:
        raise CallError("refused", "no")

    caller = ScriptedCaller(answer, letters=letters)
    compared = await method_of(weighed()).duel("Q", "answer 2", "answer 1", Asker(caller, PROMPTS))
    assert compared is not None
    assert [said.failure for said in compared.said] == ["refused", "refused"]
    assert len(caller.asked) == 2


async def test_one_letter_is_enough() -> None:
    caller = ScriptedCaller(by_quality, letters=lambda _: {"A": 0.4, "B": 0.0})
    compared = await method_of(weighed()).duel("Q", "answer 2", "answer 1", Asker(caller, PROMPTS))
    assert compared is not None
    assert [said.probability for said in compared.said] == [1.0, 1.0]


async def test_a_panel_still_counts_judges_and_not_how_sure_they_are() -> None:
    def letters(asked: AskedLetter) -> Mapping[str, float]:
        first, second = shown(asked)
        if asked.model == "j0":  # quite sure of the wrong one
            return {"A": 0.99, "B": 0.01} if first < second else {"A": 0.01, "B": 0.99}
        return {"A": 0.55, "B": 0.45} if first > second else {"A": 0.45, "B": 0.55}

    caller = ScriptedCaller(by_quality, letters=letters)
    compared = await method_of(weighed("Panel")).duel("Q", "answer 2", "answer 1", Asker(caller, PROMPTS))
    assert compared is not None
    assert compared.comparison["score"] == 1.0
    assert compared.comparison["votes"] == [[0, 0], [1, 1], [1, 1]]


@pytest.mark.parametrize(("method", "calls"), [("Single", 2), ("Mixture", 2), ("Panel", 6)])
async def test_the_forecast_counts_a_token_for_every_verdict(method: str, calls: int) -> None:
    text = list(method_of(judge(method, criteria=0)).duel_loads(1, answer_tokens=100))
    letters = list(method_of(weighed(method)).duel_loads(1, answer_tokens=100))
    extra = [load for load in letters if load not in text]
    assert sum(load.calls for load in extra) == calls
    assert {load.completion_tokens for load in extra} == {1}
    caller = ScriptedCaller(by_quality, letters=sound)
    await method_of(weighed(method)).duel("Q", "answer 2", "answer 1", Asker(caller, PROMPTS))
    assert len(caller.asked_letters) == calls


@pytest.mark.parametrize(
    ("text", "said", "opening"),
    [
        ("B is vague.\n[[A]]", "B is vague.\n", "[["),
        ("so [[B]].\n\n", "so ", "[["),
        ("[[A]] or [[B]]? I say [[A]].", "[[A]] or [[B]]? I say ", "[["),
        ("**[[a]]**", "**", "[["),
        ("[[A]]\nIts facts are right.", "[[A]]\nIts facts are right.", OPENING),
        ("A is better.", "A is better.", OPENING),
        ("", "", OPENING),
        (" \n", " \n", OPENING),
        ("so [[A", "so [[A", OPENING),
    ],
)
def test_where_the_letter_comes(text: str, said: str, opening: str) -> None:
    assert led_to_letter(text) == (said, opening)
