"""Judges on anchors: which are measured, on which pairs, and that a bad one does not pass."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from math import comb
from typing import Any, cast

import pytest

from moaa.anchors.judges import MeasuredJudge, measured_judges
from moaa.anchors.own import own_pairs
from moaa.anchors.pairs import MADE, PairKind, anchor_pairs, most_pairs
from moaa.api.anchors import Anchors
from moaa.asking.asker import Asker
from moaa.evaluate.anchors import (
    JudgeFigures,
    accuracy_by_subset,
    doubts,
    failures,
    floors,
    judge_figures,
    reward_bench_sections,
)
from moaa.judge.method import Compared
from moaa.plan.graph import anchored_judges, build
from moaa.rows import AnchorRow, LabelledRow
from moaa.scoring.agreement import wilson
from moaa.scoring.reward_bench import SECTIONS
from moaa_jobs.stages.anchors import item
from tests.bad_resources import SCORED, SEEDED
from tests.plan_helpers import resource
from tests.unit.calls_scripted import Asked, AskedLetter, ScriptedCaller
from tests.unit.judge_scripted import judge

MARKED = {
    "criterion": "",
    "criteria": "CRITERIA\x1e{question}\x1e{answer_a}\x1e{answer_b}",
    "judge": "JUDGE\x1e{question}\x1e{answer_a}\x1e{answer_b}",
    "evaluation": "{text}",
    "meta_judge": "META\x1e{question}\x1e{answer_a}\x1e{answer_b}\x1e{evaluations}",
    "single": "SINGLE\x1e{question}\x1e{answer_a}\x1e{answer_b}",
}
RIGHT = {row["right"] for row in own_pairs()}
PAIRS = anchor_pairs(own_pairs())
Prefers = Callable[[str, str, Asked], bool]
"""Whether the first answer of two is named."""


def labelled(question: str, right: str = "right", wrong: str = "wrong", *, number: int = 0) -> LabelledRow:
    return LabelledRow(
        id=f"{question}#{number}", question_id=question, question=question, right=right, wrong=wrong, subset=None
    )


def single(name: str = "training judge", **changes: Any) -> MeasuredJudge:
    return MeasuredJudge(name, judge("Single", criteria=0), ("spec.judge",), **changes)


def answering(prefers: Prefers) -> Callable[[Asked], str]:
    def answer(asked: Asked) -> str:
        kind, _, a, b, *_ = asked.messages[0]["content"].split("\x1e")
        return "an evaluation" if kind == "JUDGE" else "[[A]]" if prefers(a, b, asked) else "[[B]]"

    return answer


async def verdicts(prefers: Prefers, judges: Sequence[MeasuredJudge], pairs: Sequence[Any] = PAIRS) -> list[AnchorRow]:
    rows: list[AnchorRow] = []
    for pair in pairs:
        for one in judges:
            made = await item(pair, one).work(Asker(ScriptedCaller(answering(prefers)), MARKED))
            rows += cast("list[AnchorRow]", made["verdicts"])
    return rows


def knows(a: str, b: str, _: Asked) -> bool:
    """The right answer, of two the shorter; the first of the same."""
    if (a.strip() in RIGHT) != (b.strip() in RIGHT):
        return a.strip() in RIGHT
    return len(a.strip()) <= len(b.strip())


def first(_a: str, _b: str, _: Asked) -> bool:
    return True


def longer(a: str, b: str, _: Asked) -> bool:
    return len(a) > len(b)


def coin(seed: int) -> Prefers:
    tossed = random.Random(seed)
    return lambda _a, _b, _: tossed.random() < 0.5


async def measured(prefers: Prefers) -> JudgeFigures:
    [found] = judge_figures(await verdicts(prefers, [single()]), [single()])
    return found


def refused(found: JudgeFigures, floor: str = "0.5") -> list[str]:
    said = Anchors(floor=Decimal(floor))
    return failures([found], [single()], floors(said, [single()]))


async def test_a_good_judge_passes_and_nothing_is_said_against_it() -> None:
    found = await measured(knows)
    assert (found.accuracy, found.degenerate, found.truncated, found.consistency) == (1.0, 1.0, 1.0, 1.0)
    assert (found.padded, found.length, found.first, found.same_first) == (0.0, 0.0, 0.5, 1.0)
    assert (found.pairs, found.questions, found.unjudged) == (40, 40, 0)
    assert refused(found) == []
    assert doubts([found], [single()]) == []


@pytest.mark.parametrize("seed", range(5))
async def test_a_coin_does_not_pass(seed: int) -> None:
    found = await measured(coin(seed))
    [why] = refused(found)
    assert why.startswith("the training judge (spec.judge: Single of agg) is right on ")
    assert "of 40 questions (95 % interval " in why
    assert "not shown to be above 0.5 (spec.anchors.floor)" in why


@pytest.mark.parametrize(
    ("prefers", "said"),
    [
        pytest.param(first, "names the answer that stands first in 100 % of its verdicts", id="always A"),
        pytest.param(longer, "right 100 points more often where the better answer is the longer one", id="the longer"),
    ],
)
async def test_a_judge_that_goes_by_something_else_does_not_pass_and_is_named(prefers: Prefers, said: str) -> None:
    found = await measured(prefers)
    assert found.accuracy == 0.5
    assert len(refused(found)) == 1
    assert refused(found, floor="0") == [], "a floor of 0 stops nobody"
    assert any(said in text for text in doubts([found], [single()]))


async def test_a_judge_that_likes_colons_and_repetition_is_named() -> None:
    def fooled(a: str, b: str, asked: Asked) -> bool:
        question = asked.messages[0]["content"].split("\x1e")[1]
        bad = [text in (":", "<think>\n\n</think>", question) or text == f"{text[: len(text) // 2]}" for text in (a, b)]
        if bad[0] != bad[1]:
            return bad[0]
        return len(a) > 2 * len(b) if a.startswith(b) or b.startswith(a) else knows(a, b, asked)

    found = await measured(fooled)
    assert found.accuracy == 1.0
    assert found.degenerate == 0.0
    told = doubts([found], [single()])
    assert any("empty thoughts or the question itself to an answer: they win 100 %" in text for text in told)
    assert any("prefers an answer said twice" in text for text in told)


def row(number: int, score: float | None, **changes: Any) -> AnchorRow:
    outcome = None if score is None else int(score)
    found = AnchorRow(
        id=f"q{number}",
        kind="labelled",
        question_id=f"q{number}",
        subset=None,
        judge="training judge",
        score=score,
        forward=outcome,
        backward=outcome,
        longer=None,
    )
    found.update(cast("AnchorRow", changes))
    return found


@pytest.mark.parametrize(
    ("right", "of", "passes"),
    [(42, 60, True), (36, 60, False), (28, 40, True), (19, 19, False), (20, 20, True), (0, 40, False)],
)
def test_the_floor_asks_for_evidence(right: int, of: int, *, passes: bool) -> None:
    [found] = judge_figures([row(i, float(i < right)) for i in range(of)], [single()])
    assert (refused(found) == []) == passes


@pytest.mark.parametrize(("tosses", "most"), [(2, 0.005), (1, 0.04)], ids=["each order", "both orders alike"])
def test_how_often_a_coin_passes(tosses: int, most: float) -> None:
    """Exactly, over every number of questions up to 300."""
    for of in range(20, 301):
        sides = tosses * of
        passes = next(k for k in range(sides + 1) if wilson(k / sides, of)[0] > 0.5)
        assert sum(comb(sides, k) for k in range(passes, sides + 1)) / 2**sides < most, of


def test_a_judge_without_verdicts_does_not_pass() -> None:
    [found] = judge_figures([row(i, None) for i in range(9)], [single()])
    assert (found.accuracy, found.unjudged) == (None, 9)
    assert "gave no verdict on any of 9 pairs (spec.anchors.floor)" in refused(found)[0]


def test_a_question_counts_once_however_many_answers_it_has() -> None:
    rows = [row(0, 1.0), *(row(1, 0.0, id=f"q1#{k}") for k in range(3))]
    [found] = judge_figures(rows, [single()])
    assert (found.accuracy, found.questions, found.pairs) == (0.5, 2, 4)


def test_subsets_are_told_apart() -> None:
    rows = [row(0, 1.0, subset="easy"), row(1, 0.0, subset="hard"), row(2, 1.0, subset="hard"), row(3, 1.0)]
    assert accuracy_by_subset(rows, "training judge") == {"easy": 1.0, "hard": 0.5}


def test_rewardbench_has_sections_once_all_its_subsets_are_there() -> None:
    subsets = [name for section in SECTIONS.values() for name in section]
    rows = [row(i, float(name.startswith("hep") or name == "math-prm"), subset=name) for i, name in enumerate(subsets)]
    found = reward_bench_sections(accuracy_by_subset(rows, "training judge"))
    assert found == {"Chat": 0.0, "Chat Hard": 0.0, "Safety": 0.0, "Reasoning": 1.0, "score": 0.25}
    assert reward_bench_sections(accuracy_by_subset(rows[:-1], "training judge")) == {}
    assert reward_bench_sections({}) == {}


def test_our_own_pairs_show_no_liking_for_length() -> None:
    longer_right = Counter(one["subset"] for one in own_pairs() if len(one["right"]) > len(one["wrong"]))
    assert longer_right == {"facts": 5, "arithmetic": 5, "instructions": 5, "safety": 5}
    assert Counter(one["subset"] for one in own_pairs()) == dict.fromkeys(longer_right, 10)
    assert len({one["question"] for one in own_pairs()}) == 40
    assert all(len(one["right"]) != len(one["wrong"]) for one in own_pairs())


def test_pairs_are_made_of_the_first_questions_by_rule() -> None:
    text = "one two three four five six seven eight"
    made = {pair.id: pair for pair in anchor_pairs([labelled("Q", text), labelled("R", "no"), labelled("Q", number=1)])}
    assert list(made) == [
        *("Q#0", "R#0", "Q#1"),
        *("Q#0/degenerate", "Q#0/truncated", "Q#0/padded", "Q#0/same"),
        *("R#0/degenerate", "R#0/padded", "R#0/same"),
    ], "half of a short answer may still be right, and a question is taken once"
    assert made["Q#0/degenerate"].wrong == ":"
    assert made["R#0/degenerate"].wrong == "<think>\n\n</think>"
    assert made["Q#0/truncated"].wrong == "one two three four"
    assert made["R#0/padded"].wrong == "no\n\nno"
    assert made["R#0/same"].wrong == "no ", "equal texts would be a tie without a call"
    assert Counter(pair.kind for pair in PAIRS)[PairKind.SAME] == MADE
    assert len(PAIRS) <= most_pairs(40)


async def test_what_is_measured_is_what_is_used() -> None:
    """Every pair goes through the method's own duel, both orders, the better answer as sample 0."""
    caller = ScriptedCaller(answering(knows))
    made = await item(PAIRS[0], single()).work(Asker(caller, MARKED))
    compared = await single().method.duel(
        PAIRS[0].row["question"], PAIRS[0].right, PAIRS[0].wrong, Asker(ScriptedCaller(answering(knows)), MARKED)
    )
    assert isinstance(compared, Compared)
    assert caller.paths == [f"{single().place}/c0-1/{order}/single" for order in ("ab", "ba")]
    assert [one["verdict"] for one in made["judgements"]] == [said.verdict for said in compared.said] == ["A", "B"]
    assert {one["benchmark"] for one in made["judgements"]} == {"training judge"}


ALPACA = {"name": "alpaca", "type": "AlpacaEval", "source": "file:///alpaca.jsonl", "judgeModel": {"model": "eva"}}


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize(
    ("prefers", "accuracy", "first_share"),
    [pytest.param(knows, 0.9, 0.5, id="good"), pytest.param(first, 0.5, 1.0, id="always the first")],
)
async def test_a_benchmarks_own_question_is_what_its_judge_is_measured_by(
    prefers: Prefers, accuracy: float, first_share: float, *, both: bool
) -> None:
    def letters(asked: AskedLetter) -> dict[str, float]:
        _, a, b = asked.choice.messages[0]["content"].split("\x1e")
        sure = 0.9 if prefers(a, b, Asked("", "eva", (), judge("Single").aggregator)) else 0.1  # type: ignore[arg-type]
        return {"m": sure, "M": 1 - sure}

    owner = resource(spec__anchors={}, spec__evaluation__report=[ALPACA | {"bothOrders": both}])
    alpaca = next(one for one in anchored_judges(owner) if one.name == "judge of alpaca")
    assert (alpaca.fields, alpaca.form, alpaca.models) == (
        ("spec.evaluation.report[0].judgeModel",),
        "AlpacaEval",
        ("eva",),
    )
    assert [load.calls for load in alpaca.loads(10, answer_tokens=100)] == [20]
    rows = []
    for pair in PAIRS[:40]:
        caller = ScriptedCaller(letters=letters)
        prompts = {"alpaca_eval": "{question}\x1e{answer_a}\x1e{answer_b}"}
        made = await item(pair, alpaca).work(Asker(caller, prompts))
        rows += cast("list[AnchorRow]", made["verdicts"])
        assert len(caller.asked_letters) == 2
        assert sorted(one["order"] for one in made["judgements"]) == ["ab", "ba"]
    [found] = judge_figures(rows, [alpaca])
    assert found.accuracy == pytest.approx(accuracy)
    assert found.first == first_share


ARENA = {
    "name": "arena",
    "type": "ArenaHard",
    "version": "v2.0",
    "source": "file:///question.jsonl",
    "answers": {"source": "file:///answers.jsonl"},
    "judgeModel": {"model": "eva"},
}
MT = {"name": "mt", "type": "MtBench", "source": "file:///question.jsonl", "judgeModel": {"model": "eva"}}
SHOWN = {
    "arena_hard": "ARENA\x1e{question}\x1e{answer_a}\x1e{answer_b}",
    "exchange": "\x1e{answer}",
    "expected": "",
    "grade": "GRADE\x1e{conversation}",
    "grade_reference": "",
}


@pytest.mark.parametrize(
    ("benchmark", "says", "figures"),
    [
        pytest.param(ARENA, lambda a, b: "[[A>>B]]" if knows_texts(a, b) else "[[B>A]]", (1.0, 0.5), id="games"),
        pytest.param(ARENA, lambda _a, _b: "[[A=B]]", (0.5, None), id="ties"),
        pytest.param(ARENA, lambda _a, _b: "[[A>B]]", (0.5, 1.0), id="always the first"),
        pytest.param(MT, lambda a, _: "[[9]]" if a.strip() in RIGHT else "[[4.5]]", (1.0, None), id="grades"),
        pytest.param(MT, lambda _a, _b: "[[7]]", (0.5, None), id="one grade for all"),
        pytest.param(MT, lambda _a, _b: "fine", (None, None), id="no grade"),
    ],
)
async def test_judges_of_games_and_grades_are_measured_by_games_and_grades(
    benchmark: dict[str, Any], says: Callable[[str, str], str], figures: tuple[float | None, float | None]
) -> None:
    owner = resource(spec__anchors={}, spec__evaluation__report=[benchmark])
    one = next(found for found in anchored_judges(owner) if found.asks is not None)
    assert (one.form, one.models, one.fields) == (
        benchmark["type"],
        ("eva",),
        ("spec.evaluation.report[0].judgeModel",),
    )
    assert [load.calls for load in one.loads(10, answer_tokens=100)] == [20]
    rows = []
    for pair in PAIRS[:40]:

        def answer(asked: Asked) -> str:
            *_, a, b = asked.messages[-1]["content"].split("\x1e")
            return says(a if "ARENA" in asked.messages[-1]["content"] else b, b)

        caller = ScriptedCaller(answer)
        made = await item(pair, one).work(Asker(caller, SHOWN))
        assert {asked.key for asked in caller.asked} <= {"", "retry1"}
        assert len([asked for asked in caller.asked if not asked.key]) == 2
        rows += cast("list[AnchorRow]", made["verdicts"])
    [found] = judge_figures(rows, [one])
    assert (found.accuracy, found.first) == figures


def knows_texts(a: str, b: str) -> bool:
    return (a.strip() in RIGHT) and b.strip() not in RIGHT


def names(**changes: Any) -> list[str]:
    return [one.name for one in anchored_judges(resource(spec__anchors={}, **changes))]


def test_every_judge_is_measured_and_each_of_its_models_alone() -> None:
    owner = resource(spec__anchors={})
    trainer, held, *alone = anchored_judges(owner)
    assert (trainer.name, trainer.fields, trainer.members) == ("training judge", ("spec.judge",), ("a", "b", "agg"))
    assert (held.name, held.fields, held.members) == ("judge of held", ("spec.evaluation.selection[0].judge",), ())
    assert [(one.name, one.judge.method, one.fields) for one in alone] == [(n, "Single", ()) for n in ("a", "b", "agg")]
    assert build(owner).stages["i0-anchors"].serves == ("agg", "a", "b", "eva")


def test_equal_judges_are_measured_once() -> None:
    whole = {"method": "Mixture", "judges": [{"model": "a"}, {"model": "b"}], "aggregator": {"model": "agg"}}
    owner = resource(spec__anchors={}, spec__evaluation__selection__0__judge=whole | {"allowStudent": True})
    trainer, *alone = anchored_judges(owner)
    assert trainer.fields == ("spec.judge", "spec.evaluation.selection[0].judge")
    assert [one.name for one in alone] == ["a", "b", "agg"]
    both = Anchors(floor=Decimal("0.5"), evaluation_floor=Decimal("0.7"))
    assert floors(both, [trainer, *alone]) == {"training judge": ("spec.anchors.evaluationFloor", Decimal("0.7"))}


def test_a_member_that_is_declared_alone_too_is_one_judge() -> None:
    alone = {"method": "Single", "aggregator": {"model": "a"}}
    trainer, held, *rest = anchored_judges(resource(spec__anchors={}, spec__evaluation__selection__0__judge=alone))
    assert trainer.members == ("judge of held", "b", "agg")
    assert [one.name for one in rest] == ["b", "agg"]
    assert held.members == ()


def test_one_model_in_two_judges_of_other_criteria_is_two() -> None:
    panel = {"method": "Panel", "judges": [{"model": "a"}, {"model": "b"}, {"model": "eva"}]}
    assert names(spec__evaluation__selection__0__judge=panel) == [
        *("training judge", "judge of held", "a", "b", "agg"),
        *("a as in judge of held", "b as in judge of held", "eva"),
    ]


def test_a_judge_that_nobody_asks_is_not_measured() -> None:
    assert names(spec__training={"sft": {}}, spec__data__preference=None) == ["judge of held"]


def test_the_student_as_a_judge_is_measured_as_declared_and_said_so() -> None:
    with_student = {"method": "Single", "aggregator": {"model": "$student"}, "allowStudent": True}
    [trainer, _] = anchored_judges(resource(spec__anchors={}, spec__judge=with_student))
    assert trainer.judge.models == ["base"]
    [found] = judge_figures([row(i, 1.0) for i in range(9)], [trainer])
    assert "asks $student; it was measured with the declared student" in doubts([found], [trainer])[-1]


async def test_a_reward_model_is_measured_alone_and_beside_the_judges_it_orders_answers_for() -> None:
    plain = measured_judges(resource(spec__anchors={}, spec__evaluation=None).spec, lambda one: one)
    ordered = measured_judges(resource(spec__anchors={}, spec__evaluation=None, **SEEDED).spec, lambda one: one)
    assert [one.name for one in ordered] == ["training judge", "b", "a", "agg"]
    whole, rm = ordered[:2]
    assert "b" not in whole.models, "whom nobody asks in a duel"
    assert (rm.form, rm.models, rm.fields, rm.members) == ("RewardModel", ("b",), ("spec.judge.rewardModel",), ())
    assert plain[0].place == MeasuredJudge("", plain[0].judge.model_copy(update={"reward_model": None})).place
    [alone] = measured_judges(resource(spec__anchors={}, spec__evaluation=None, **SCORED).spec, lambda one: one)
    assert (alone.key, alone.name) == (rm.key, "training judge"), "it is asked once, whoever names it"


async def test_a_reward_model_is_right_where_the_better_answer_has_the_higher_score() -> None:
    [rm] = measured_judges(resource(spec__anchors={}, spec__evaluation=None, **SCORED).spec, lambda one: one)
    rows: list[AnchorRow] = []
    for pair in PAIRS[:40]:
        caller = ScriptedCaller(score_of=lambda asked: float(asked.answer in RIGHT))
        rows += cast("list[AnchorRow]", (await item(pair, rm).work(Asker(caller)))["verdicts"])
    [figures] = judge_figures(rows, [rm])
    assert (figures.accuracy, figures.consistency, figures.unjudged) == (1.0, None, 0)
    assert not failures([figures], [rm], floors(Anchors(), [rm]))


async def test_members_that_err_alike_are_one_vote_beside_the_best_of_them() -> None:
    """Two judges that follow the place and one that knows: in a mixture whose verdict follows the place."""

    def prefers(a: str, b: str, asked: Asked) -> bool:
        return knows(a, b, asked) if asked.model == "b" else True

    judges = measured_judges(resource(spec__anchors={}, spec__evaluation=None).spec, lambda one: one)
    figures = judge_figures(await verdicts(prefers, judges, PAIRS[:40]), judges)
    [why] = failures(figures, judges, floors(Anchors(), judges))
    assert "Mixture of agg, a, b) is right on 50.0 %" in why
    assert "; of the models alone, b is right on 100.0 % of 40 questions" in why
    assert figures[0].alpha is not None
    assert figures[0].alpha < 0.5
    assert figures[0].outdone_by == "b"
    assert "right less often than b alone" in doubts(figures, judges)[1]
    assert figures[0].votes is None, "none of the three errs more on one pair than on another"


async def test_judges_that_err_on_the_same_questions_are_one_vote() -> None:
    def prefers(a: str, b: str, asked: Asked) -> bool:
        """`a` and `b` of the judges are wrong about one half of the questions, `agg` about another."""
        question = asked.messages[0]["content"].split("\x1e")[1]
        wrong = len(question) % 2 if asked.model != "agg" else len(question) // 2 % 2
        return knows(a, b, asked) != bool(wrong)

    judges = measured_judges(resource(spec__anchors={}, spec__evaluation=None).spec, lambda one: one)
    whole, *_ = judge_figures(await verdicts(prefers, judges, PAIRS[:40]), judges)
    assert whole.votes is not None
    assert 1.5 < whole.votes < 2.5, "two of three err alike"
    assert whole.outdone_by is None
