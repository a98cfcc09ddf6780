"""AlpacaEval asks one token a pair, in an order that follows from the question, and scores by its probability."""

from collections.abc import Mapping

import pytest

from moaa.api.evaluation import AlpacaEval
from moaa.asking.asker import Asker
from moaa.benchmark.alpaca_eval import AlpacaEvalMeasure, AlpacaFacts, order_of
from moaa.benchmark.measure import NoVerdict
from moaa.benchmark.measures import measure_of
from moaa.conversation import Message
from moaa.rows import PromptRow
from tests.unit.calls_scripted import AskedLetter, ScriptedCaller
from tests.unit.judge_scripted import PROMPTS, user

FIRST, SECOND = [next(q for q in map(str, range(99)) if order_of(q) == order) for order in ("ab", "ba")]
"""Questions whose measured answer stands first, and second."""


def measure(*, both: bool = False) -> AlpacaEvalMeasure:
    made = AlpacaEval.model_validate(
        {
            "name": "e",
            "type": "AlpacaEval",
            "source": "file:///e.json",
            "judgeModel": {"model": "judge"},
            "bothOrders": both,
        }
    )
    found = measure_of(made, student="llama")
    assert isinstance(found, AlpacaEvalMeasure)
    return found


def row(question: str, *, facts: str | None = None) -> PromptRow:
    return PromptRow(id="r", messages=user(question), answer="theirs", facts=facts)


def answered(question: str, text: str = "mine") -> list[Message]:
    return [*user(question), Message(role="assistant", content=text)]


def always_m(_: AskedLetter) -> Mapping[str, float]:
    return {"m": 0.6, "M": 0.2}


def likes_mine(asked: AskedLetter) -> Mapping[str, float]:
    text = asked.choice.messages[0]["content"]
    return {"m": 0.8, "M": 0.2} if text.index("mine") < text.index("theirs") else {"m": 0.2, "M": 0.8}


def test_both_places_are_drawn() -> None:
    drawn = [order_of(f"question {k}") for k in range(400)]
    assert 160 < drawn.count("ab") < 240


@pytest.mark.parametrize("question", [FIRST, SECOND])
async def test_the_score_is_the_share_of_its_own_letter(question: str) -> None:
    caller = ScriptedCaller(letters=likes_mine)
    scored = await measure().score(row(question), answered(question), Asker(caller, PROMPTS).at("s0"))
    assert scored.value == pytest.approx(0.8)
    assert scored.baseline_length == len("theirs")
    [asked] = caller.asked_letters
    assert (asked.model, asked.path) == ("judge", f"s0/alpaca/{order_of(question)}")
    assert (asked.choice.said, asked.choice.opening, asked.choice.letters) == ("", "", ("m", "M"))
    assert not caller.asked, "one token is all that is asked for"


async def test_both_orders_cancel_a_judge_that_names_the_first() -> None:
    caller = ScriptedCaller(letters=always_m)
    scored = await measure(both=True).score(row(FIRST), answered(FIRST), Asker(caller, PROMPTS).at("s0"))
    assert scored.value == pytest.approx(0.5)
    assert [said.order for said in scored.said] == ["ab", "ba"]
    assert [said.mass for said in scored.said] == pytest.approx([0.8, 0.8])


async def test_equal_answers_are_a_draw_without_a_call() -> None:
    caller = ScriptedCaller(letters=always_m)
    scored = await measure().score(row(FIRST), answered(FIRST, "theirs"), Asker(caller, PROMPTS))
    assert (scored.value, caller.asked_letters) == (0.5, [])


async def test_without_either_letter_there_is_no_score() -> None:
    caller = ScriptedCaller(letters=lambda _: {"m": 0.0, "M": 0.0})
    with pytest.raises(NoVerdict, match=r"row r: no verdict against the baseline: judge \(verdict\) unreadable: 1"):
        await measure().score(row(FIRST), answered(FIRST), Asker(caller, PROMPTS))


async def test_what_is_known_of_the_question_goes_with_its_score() -> None:
    facts = AlpacaFacts(difficulty=1.5, gamed=[(0.5, -1.0)])
    caller = ScriptedCaller(letters=always_m)
    known = row(FIRST, facts=facts.model_dump_json())
    scored = await measure().score(known, answered(FIRST), Asker(caller, PROMPTS))
    assert AlpacaFacts.model_validate(scored.detail) == facts
