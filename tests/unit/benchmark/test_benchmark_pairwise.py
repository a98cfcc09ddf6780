"""A Pairwise benchmark compares with a model's answers, or with those that the data gives, without asking anybody."""

import pytest

from moaa.api.evaluation import Pairwise
from moaa.asking.asker import Asker
from moaa.benchmark.measure import NO_VERDICT
from moaa.benchmark.measures import measure_of
from moaa.benchmark.pairwise import PairwiseMeasure
from moaa.conversation import Message
from moaa.errors import CallError
from moaa.rows import PromptRow
from tests.unit.calls_scripted import ScriptedCaller
from tests.unit.judge_scripted import PROMPTS, by_quality, user


def pairwise(baseline: str) -> PairwiseMeasure:
    found = measure_of(
        Pairwise.model_validate(
            {
                "name": "e",
                "type": "Pairwise",
                "source": "file:///e.jsonl",
                "baseline": baseline,
                "judge": {"method": "Single", "aggregator": {"model": "agg"}, "criteria": 0},
            }
        ),
        student="llama",
    )
    assert isinstance(found, PairwiseMeasure)
    return found


def answered(text: str) -> list[Message]:
    return [*user("Q"), Message(role="assistant", content=text)]


@pytest.mark.parametrize(
    ("baseline", "yardstick", "needs_given"), [("$base", "llama", False), ("eva", "eva", False), ("$given", None, True)]
)
def test_whose_answers_are_the_yardstick(baseline: str, yardstick: str | None, needs_given: bool) -> None:
    measure = pairwise(baseline)
    assert (measure.yardstick, measure.needs_given, measure.needs_gold) == (yardstick, needs_given, False)


@pytest.mark.parametrize(("given", "score"), [("answer 1", 1.0), ("answer 3", 0.0), ("answer 2", 0.5)])
async def test_the_data_s_own_answer_is_compared_with_and_nobody_writes_it(given: str, score: float) -> None:
    caller = ScriptedCaller(by_quality)
    row = PromptRow(id="r", messages=user("Q"), answer=given)
    asker = Asker(caller, PROMPTS).at("s0")
    assert (await pairwise("$given").score(row, answered("answer 2"), asker)).value == score
    assert {asked.model for asked in caller.asked} <= {"agg"}


async def test_without_a_verdict_it_says_against_what() -> None:
    row = PromptRow(id="r", messages=user("Q"), answer="answer 1")
    asker = Asker(ScriptedCaller(lambda _: "no idea"), PROMPTS).at("s0")
    with pytest.raises(CallError, match="row r: no verdict against the row's own answer") as caught:
        await pairwise("$given").score(row, answered("answer 2"), asker)
    assert caught.value.reason == NO_VERDICT
