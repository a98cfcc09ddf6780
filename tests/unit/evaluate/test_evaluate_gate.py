"""Who wins a promotion, and whom an evaluation measures."""

from dataclasses import replace
from decimal import Decimal
from math import exp, log
from random import Random
from typing import Any

import pytest

from moaa.api import MoAA
from moaa.api.evaluation import MIN_QUESTIONS, Evaluation, ExactMatch, Gate, GateRule
from moaa.benchmark.exact_match import equal
from moaa.evaluate.drift import Sign
from moaa.evaluate.gate import Answered, Decision, Student, student_of
from moaa.evaluate.gate import decide as decide_in
from moaa.evaluate.told import decided, doubts, points
from moaa.plan.evidence import Trial
from moaa.plan.graph import build
from moaa.plan.subjects import How, Subject, subjects
from moaa.scoring.length import JUDGE_DEVIATION, Judged, Taste, lc_estimate


def evaluation(rule: GateRule = GateRule.MEAN, min_gain: str = "0", *, names: tuple[str, ...] = ("m",)) -> Evaluation:
    selection = [ExactMatch(name=n, type="ExactMatch", source="file:///d/e.jsonl") for n in names]
    return Evaluation(selection=list(selection), gate=Gate(rule=rule, min_gain=Decimal(min_gain)), bootstrap=500)


ONE = Trial(level=0.025, iteration=1, shares={}, objective=frozenset(), seed=0)
"""The only comparison of its run, and no benchmark without a judge."""


def decide(previous: Student, candidates: dict[str, Student], evaluation: Evaluation, trial: Trial = ONE) -> Decision:
    return decide_in(previous, candidates, evaluation, trial)


def told(decision: Decision, by: Evaluation) -> str:
    return decided(decision, by, {"sft": "SFT", "dpo": "DPO"})


def student(**benchmarks: dict[str, float]) -> Student:
    """Scores of answers whose lengths nobody knows."""
    return {name: Answered(found, {}, {}) for name, found in benchmarks.items()}


def scores(*values: float, times: int = 5) -> Student:
    return student(m={str(i): value for i, value in enumerate(values * times)})


OLD = scores(0.5, 0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("candidates", "rule", "min_gain", "winner"),
    [
        pytest.param({"sft": scores(1, 1, 0.5, 0.5)}, "Mean", "0", "sft", id="better"),
        pytest.param({"sft": scores(0, 0.5, 0.5, 0.5)}, "Mean", "0", None, id="worse"),
        pytest.param({"sft": scores(0.5, 0.5, 1, 0)}, "Mean", "0", None, id="equal is no gain"),
        pytest.param({"sft": scores(0.5, 0.5, 1, 0)}, "Mean", "-0.01", "sft", id="equal is no loss"),
        pytest.param({"sft": scores(0.5, 0.5, 0.5, 0.5 + 1e-6)}, "Mean", "0", "sft", id="a little better"),
        pytest.param({"sft": scores(0.5, 0.5, 1, 0)}, "Mean", "0.001", None, id="equal does not reach more"),
        pytest.param({"sft": scores(0.5, 0.5, 0.5, 0.4)}, "Mean", "-0.05", "sft", id="a tolerated loss"),
        pytest.param({"sft": OLD, "dpo": scores(1, 0.5, 0.5, 0.5)}, "Mean", "0", "dpo", id="the best that passes"),
        pytest.param({"sft": scores(1, 0.5, 0.5, 0.5), "dpo": OLD}, "Mean", "0", "sft", id="the best, first"),
        pytest.param({"sft": scores(1, 0.5, 0.5, 0.5), "dpo": scores(0.5, 0.5, 0.5, 1)}, "Mean", "0", "sft", id="tie"),
        pytest.param(
            {"sft": scores(0.6, 0.7, 0.8, 0.3)}, "Mean", "0.1", "sft", id="a sum of floats just below its value"
        ),
        pytest.param({"sft": scores(1, 1, 0, 0.6)}, "LowerBound", "0", None, id="better on average only"),
    ],
)
def test_gate(candidates: dict[str, Any], rule: str, min_gain: str, winner: str | None) -> None:
    decision = decide(OLD, candidates, evaluation(GateRule(rule), min_gain))
    assert decision.winner == winner
    assert list(decision.compared) == list(candidates)


@pytest.mark.parametrize(
    ("new", "times", "min_gain", "winner"),
    [
        pytest.param((0.7, 0.8, 0.6, 0.9), 5, "0.05", "sft", id="shown to be better"),
        pytest.param((0.5, 0.5, 0.5, 0.5), 50, "0", None, id="the same scores"),
        pytest.param((0.75,), 20, "0.25", None, id="no more than the smallest gain"),
        pytest.param((0.5,), 20, "-0.01", "sft", id="no loss where some is tolerated"),
        pytest.param((1.0,), 19, "0", None, id="too few questions, without spread"),
        pytest.param((1.0,), 2, "-1", None, id="two questions"),
    ],
)
def test_a_lower_bound_shows_a_gain(new: tuple[float, ...], times: int, min_gain: str, winner: str | None) -> None:
    old = scores(*[0.5] * len(new), times=times)
    by = evaluation(GateRule.LOWER_BOUND, min_gain)
    decision = decide(old, {"sft": scores(*new, times=times)}, by)
    assert decision.winner == winner
    assert ("SFT: unknown, fewer than 20 questions" in told(decision, by)) == (len(new) * times < 20)


@pytest.mark.parametrize("rule", list(GateRule))
def test_every_rule_needs_enough_questions_of_every_benchmark(rule: GateRule) -> None:
    many, few = (dict.fromkeys(map(str, range(count)), 0.0) for count in (40, MIN_QUESTIONS - 1))
    best_many, best_few = (dict.fromkeys(found, 1.0) for found in (many, few))
    strict = evaluation(rule, names=("m", "n"))
    decision = decide(student(m=many, n=few), {"sft": student(m=best_many, n=best_few)}, strict)
    assert decision.winner is None
    assert "SFT: unknown, fewer than 20 questions" in told(decision, strict)
    assert doubts(decision, {"sft": "SFT"}) == [
        "nobody could be promoted by n: 19 questions; no student is promoted on fewer than 20, so the present one "
        "stays. Give more, or move the benchmark to report"
    ]
    assert decide(student(m=many, n=many), {"sft": student(m=best_many, n=best_many)}, strict).winner == "sft"


@pytest.mark.parametrize("rule", list(GateRule))
@pytest.mark.parametrize("min_gain", ["-1", "0", "0.5"])
def test_one_question_promotes_nobody(rule: GateRule, min_gain: str) -> None:
    better = {"sft": student(m={"0": 1.0})}
    assert decide(student(m={"0": 0.0}), better, evaluation(rule, min_gain)).winner is None


def compared_with(rows: list[tuple[float, float, float]]) -> Student:
    """Of (score, own length, baseline's length)."""
    named = {str(i): row for i, row in enumerate(rows)}
    return {"m": Answered({i: row[0] for i, row in named.items()}, {i: row[1:] for i, row in named.items()}, {})}


BASELINE = [(0.5, 100.0, 100.0)] * 60
"""The previous student is what it is compared with."""
LONGER = [(1.0, 300.0 + i, 100.0) if i < 40 else (0.0, 101.0, 100.0 + 2 * i) for i in range(60)]
"""Wins where it writes much more, and only there: two in three."""
BETTER = [(1.0 if i % 4 else 0.0, 105.0 if i // 4 % 2 else 95.0, 100.0) for i in range(60)]
"""Wins three in four, whichever is longer."""


@pytest.mark.parametrize("rule", list(GateRule))
def test_length_alone_promotes_nobody(rule: GateRule) -> None:
    decision = decide(compared_with(BASELINE), {"sft": compared_with(LONGER)}, evaluation(rule))
    sft = decision.compared["sft"]
    assert sft.raw == pytest.approx(2 / 3 - 1 / 2)
    assert sft.controlled == ("m",)
    assert sft.gain.mean < 0
    assert decision.winner is None
    assert "points at equal length on m (raw mean +16.7)" in told(decision, evaluation(rule))
    assert doubts(decision, {"sft": "SFT"}) == []
    better = decide(compared_with(BASELINE), {"sft": compared_with(BETTER)}, evaluation(rule))
    assert better.winner == "sft"
    assert better.compared["sft"].gain.mean == pytest.approx(0.25, abs=1e-3)


@pytest.mark.parametrize("rule", list(GateRule))
@pytest.mark.parametrize("score", [0.5, 0.4])
def test_short_answers_alone_promote_nobody(rule: GateRule, score: float) -> None:
    """At equal length they would gain 20 points and more: the judge here does not care for length."""
    shorter = compared_with([(score, 30.0 + i % 7, 100.0) for i in range(60)])
    decision = decide(compared_with(BASELINE), {"sft": shorter}, evaluation(rule))
    assert decision.winner is None
    assert decision.compared["sft"].controlled == ()
    assert decision.compared["sft"].gain.mean == pytest.approx(score - 0.5)


def test_longer_by_the_same_everywhere_is_no_gain() -> None:
    decision = decide(
        compared_with(BASELINE), {"sft": compared_with([(row[0], 150.0, 100.0) for row in LONGER])}, evaluation()
    )
    assert (decision.winner, decision.compared["sft"].controlled) == (None, ("m",))


@pytest.mark.parametrize("rule", list(GateRule))
def test_longer_by_one_ratio_before_a_judge_that_goes_by_it_is_no_gain(rule: GateRule) -> None:
    """Half as much again everywhere; who is longer by more wins more often, and nothing else tells."""
    rng = Random(3)
    rows = []
    for _ in range(300):
        baseline = 1200 * exp(rng.gauss(0, 0.5))
        own = 1.5 * baseline * exp(rng.gauss(0, 0.25))
        won = 1 / (1 + exp(-1.5 * log(own / baseline) / log(1.5) - rng.gauss(0, 0.5)))
        rows.append((won, own, baseline))
    decision = decide(compared_with(BASELINE * 5), {"sft": compared_with(rows)}, evaluation(rule))
    assert decision.compared["sft"].raw > 0.2
    assert (decision.winner, decision.compared["sft"].controlled) == (None, ("m",))


def test_a_gain_at_equal_length_is_the_difference_of_both_estimates() -> None:
    decision = decide(compared_with(BETTER), {"sft": compared_with(LONGER)}, evaluation())
    longer, better = ({str(i): Judged(*row) for i, row in enumerate(rows)} for rows in (LONGER, BETTER))
    expected = min(
        lc_estimate(longer, [better], slope_deviation=JUDGE_DEVIATION, taste=taste).rate
        - lc_estimate(better, [longer], slope_deviation=JUDGE_DEVIATION, taste=taste).rate
        for taste in Taste
    )
    assert expected < decision.compared["sft"].raw
    assert decision.compared["sft"].gain.mean == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    "unknown",
    [
        pytest.param({"m": Answered(compared_with(LONGER)["m"].scores, {}, {})}, id="no length is known"),
        pytest.param(
            {"m": Answered(compared_with(LONGER)["m"].scores, {"0": (1.0, 2.0)}, {})}, id="one length is known"
        ),
    ],
)
def test_without_lengths_the_raw_scores_decide_and_that_is_said(unknown: Student) -> None:
    decision = decide(compared_with(BASELINE), {"sft": unknown}, evaluation())
    assert (decision.winner, decision.compared["sft"].controlled) == ("sft", ())
    assert decision.compared["sft"].gain.mean == decision.compared["sft"].raw
    assert "SFT is promoted: its mean gain over the previous student, +16.7 points, raw on m, is above" in told(
        decision, evaluation()
    )
    [said] = doubts(decision, {"sft": "SFT"})
    assert said.startswith("raw win rates on m decided over SFT, not those at equal length: ")
    assert "not all known" in said


def test_scores_that_no_judge_gave_are_never_called_raw() -> None:
    decision = decide(OLD, {"sft": scores(1, 1, 0.5, 0.5)}, evaluation())
    assert "raw" not in told(decision, evaluation())
    assert doubts(decision, {"sft": "SFT"}) == []


@pytest.mark.parametrize(
    ("candidates", "by", "expected"),
    [
        pytest.param(
            {"sft": scores(1, 1, 0.5, 0.5), "dpo": scores(1, 1, 1, 1)},
            evaluation(min_gain="0.01"),
            "DPO is promoted: its mean gain over the previous student, +50.0 points, the highest of the candidates, "
            "reaches the 1.0 points that the gate asks for.",
            id="the best",
        ),
        pytest.param(
            {"sft": scores(0.25, 0.25, 0.25, 0.25), "dpo": OLD},
            evaluation(GateRule.LOWER_BOUND),
            "The previous student stays: no candidate's lower 97.5 % bound of the gain is above the 0.0 points that "
            "the gate asks for (SFT: −25.0 points; DPO: 0.0 points).",
            id="nobody",
        ),
        pytest.param(
            {"dpo": {}},
            Evaluation(),
            "DPO is promoted: it was trained last, and there is no selection benchmark to compare by.",
            id="nothing to compare by",
        ),
    ],
)
def test_what_decided_is_told(candidates: dict[str, Any], by: Evaluation, expected: str) -> None:
    assert told(decide({} if not by.selection else OLD, candidates, by), by) == expected


def test_a_gain_that_may_be_chance_is_called_so() -> None:
    decision = decide(OLD, {"sft": scores(1, 0, 1, 0.25)}, evaluation())
    low, high = decision.compared["sft"].gain.low, decision.compared["sft"].gain.high
    assert low is not None
    assert high is not None
    assert low < 0 < high
    spread = f"{points(low)} to {points(high)}"
    assert told(decision, evaluation()).endswith(
        f" Its interval, {spread}, holds zero: the gain may be chance, and rule Mean accepts that."
    )


FORGETS = student(
    judged={str(i): 0.5 + 0.4 * (i % 3 > 0) for i in range(300)}, code={str(i): float(i % 5 > 1) for i in range(300)}
)
"""27 points more before the judge, 20 fewer of what no judge scores."""
KNOWS = student(judged={str(i): 0.5 for i in range(300)}, code={str(i): float(i % 5 > 0) for i in range(300)})


@pytest.mark.parametrize("rule", list(GateRule))
def test_no_gain_makes_up_for_what_is_forgotten(rule: GateRule) -> None:
    both = evaluation(rule, names=("judged", "code"))
    trial = replace(ONE, objective=frozenset({"code"}))
    decision = decide(KNOWS, {"sft": FORGETS}, both, trial)
    assert decision.winner is None
    assert list(decision.compared["sft"].forgotten) == ["code"]
    assert "without forgetting" in told(decision, both)
    assert "forgets: -20.0 points on code, -24.6 at worst" in told(decision, both)
    judged = replace(ONE, objective=frozenset({"judged"}))
    assert decide(KNOWS, {"sft": FORGETS}, both, judged).winner == "sft", "nothing is lost there"


def test_the_candidate_that_forgets_gives_way_to_one_that_does_not() -> None:
    modest = student(judged={str(i): 0.6 + 0.1 * (i % 2) for i in range(300)}, code=dict(KNOWS["code"].scores))
    trial = replace(ONE, objective=frozenset({"code"}))
    both = evaluation(GateRule.LOWER_BOUND, names=("judged", "code"))
    assert decide(KNOWS, {"sft": FORGETS, "dpo": modest}, both, trial).winner == "dpo"


def test_a_smaller_share_of_the_error_rate_asks_for_more() -> None:
    better = {"sft": scores(1, 1, 0.5, 0, 0.5, times=10)}
    previous = scores(0.5, 0.5, 0.5, 0.5, 0.5, times=10)
    strict = evaluation(GateRule.LOWER_BOUND)
    alone, one_of_many = (decide(previous, better, strict, replace(ONE, level=level)) for level in (0.05, 0.0005))
    assert (alone.winner, one_of_many.winner) == ("sft", None)
    assert "lower 95 % bound" in told(alone, strict)
    assert "lower 99.95 % bound" in told(one_of_many, strict)


def test_each_iteration_selects_by_questions_of_its_own() -> None:
    """A student that is better on the questions of iteration 1 alone is promoted there, and not in iteration 2."""
    first, second = (replace(ONE, iteration=i, shares={"m": 2}) for i in (1, 2))
    questions = [str(i) for i in range(400)]
    lucky = student(m={name: float(first.reads("m", name)) for name in questions})
    previous = student(m=dict.fromkeys(questions, 0.5))
    strict = evaluation(GateRule.LOWER_BOUND)
    found = [decide(previous, {"sft": lucky}, strict, trial) for trial in (first, second)]
    assert [decision.winner for decision in found] == ["sft", None]
    assert [d.compared["sft"].gain.mean for d in found] == [0.5, -0.5]
    assert sum(d.compared["sft"].gain.rows for d in found) == 400


def styled(length: float, refused: float, repeated: float) -> Student:
    """Right where it counts, so that only its style can be named."""
    names = [str(i) for i in range(40)]
    style = {Sign.LENGTH: length, Sign.REFUSALS: refused, Sign.REPETITION: repeated}
    return {"m": Answered(dict.fromkeys(names, 1.0), {}, dict.fromkeys(names, style))}


@pytest.mark.parametrize(
    ("after", "named"),
    [
        pytest.param((125.0, 0.03, 0.15), None, id="at the bounds"),
        pytest.param((126.0, 0.01, 0.10), "answers on m grew from 100 to 126 characters", id="longer"),
        pytest.param((100.0, 0.05, 0.10), "refusals on m rose from 1.0 to 5.0 %", id="refuses"),
        pytest.param((100.0, 0.01, 0.16), "repetition on m rose from 10.0 to 16.0 %", id="repeats itself"),
        pytest.param((40.0, 0.0, 0.0), None, id="shorter and better"),
    ],
)
def test_what_changed_about_the_answers_is_named_and_bars_nobody(
    after: tuple[float, float, float], named: str | None
) -> None:
    before = {"m": replace(styled(100.0, 0.01, 0.10)["m"], scores={str(i): 0.0 for i in range(40)})}
    strict = evaluation(GateRule.LOWER_BOUND)
    decision = decide(before, {"sft": styled(*after)}, strict)
    assert decision.winner == "sft"
    assert len(decision.compared["sft"].drifts) == (named is not None)
    assert (f"But {named}." if named else "+100.0 points, is above") in told(decision, strict)


def test_rows_of_an_earlier_release_have_a_length_and_no_other_sign() -> None:
    row: Any = {"benchmark": "m", "model": "sft", "id": "1", "score": 1.0, "length": 5.0}
    assert student_of([row], ["m"])["m"].signs == {"1": {Sign.LENGTH: 5.0}}
    newer: Any = {**row, "refused": 0.5, "repeated": None}
    assert student_of([newer], ["m"])["m"].signs == {"1": {Sign.LENGTH: 5.0, Sign.REFUSALS: 0.5}}


def test_without_selection_the_last_trained_wins() -> None:
    assert decide({}, {"sft": {}, "dpo": {}}, Evaluation()).winner == "dpo"


def test_a_benchmark_without_scores_is_not_a_zero() -> None:
    with pytest.raises(ValueError, match="benchmark m: no question"):
        decide(student(m={}), {"sft": scores(1.0)}, evaluation())
    with pytest.raises(ValueError, match="at least one candidate"):
        decide(OLD, {}, evaluation())


def test_selection_benchmarks_weigh_the_same() -> None:
    old = student(m={"1": 0.5, "2": 0.5}, n={"1": 0.5})
    new = student(m={"1": 1.0, "2": 1.0}, n={"1": 0.25})
    decision = decide(old, {"sft": new}, evaluation(names=("m", "n")))
    assert decision.compared["sft"].gain.mean == pytest.approx(0.125)


@pytest.mark.parametrize(
    ("answer", "gold", "expected"), [("42", "42", 1.0), (" 42\n", "42 ", 1.0), ("42.", "42", 0.0), ("A", "a", 0.0)]
)
def test_exact_match(answer: str, gold: str, expected: float) -> None:
    assert equal(answer, gold) == expected


def resource(*, members: bool = True, student: str = "llama", baseline: str = "$base", training: Any = None) -> MoAA:
    judge = {"method": "Single", "aggregator": {"model": "judge"}}
    return MoAA.model_validate(
        {
            "apiVersion": "moaa.dev/v1alpha1",
            "kind": "MoAA",
            "metadata": {"name": "m"},
            "spec": {
                "storage": {"uri": "file:///d"},
                "models": [
                    {"name": n, "source": f"file:///{n}"} for n in ("llama", "wizard", "qwen", "judge", "mixture")
                ],
                "student": student,
                "mixture": {
                    "layers": [{"proposers": [{"model": "wizard"}, {"model": "llama"}, {"model": "mixture"}]}],
                    "aggregator": {"model": "qwen"},
                },
                "judge": judge,
                "data": {"sft": [{"source": "file:///d/s.jsonl"}], "preference": [{"source": "file:///d/p.jsonl"}]},
                "training": training or {"sft": {"precision": "BF16"}, "dpo": {}},
                "evaluation": {
                    "members": members,
                    "selection": [
                        {
                            "name": "w",
                            "type": "Pairwise",
                            "source": "file:///d/e.jsonl",
                            "baseline": baseline,
                            "judge": judge,
                        }
                    ],
                },
            },
        }
    )


def measured(moaa: MoAA, stage: str) -> list[Subject]:
    return subjects(moaa, build(moaa).stages[stage])


def test_iteration_0_measures_everyone_once() -> None:
    assert measured(resource(), "i0-evaluate") == [
        Subject("base", How.ALONE, "llama"),
        Subject("wizard", How.ALONE, "wizard"),
        Subject("model-mixture", How.ALONE, "mixture"),
        Subject("aggregator", How.ALONE, "qwen"),
        Subject("mixture", How.MIXTURE, "qwen"),
    ]


def test_a_baseline_is_measured_where_the_mixture_is_not() -> None:
    found = measured(resource(members=False, baseline="judge"), "i0-evaluate")
    assert found == [Subject("base", How.ALONE, "llama"), Subject("judge", How.ALONE, "judge")]
    assert [s.label for s in measured(resource(baseline="qwen"), "i0-evaluate")].count("aggregator") == 1


@pytest.mark.parametrize(("stage", "label"), [("i1-evaluate-sft", "sft"), ("i1-evaluate-dpo", "dpo")])
def test_later_iterations_measure_their_student(stage: str, label: str) -> None:
    assert measured(resource(), stage) == [Subject(label, How.ALONE, f"@i1-{label}")]


def test_every_subject_is_served() -> None:
    for moaa in (resource(), resource(members=False, baseline="judge"), resource(student="qwen")):
        stage = build(moaa).stages["i0-evaluate"]
        found = subjects(moaa, stage)
        assert {s.model for s in found} <= set(stage.serves)
        assert len({s.label for s in found}) == len(found)
        alone = [s.model for s in found if s.how is How.ALONE]
        assert len(set(alone)) == len(alone)


def test_a_stage_that_measures_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="names no student"):
        measured(resource(), "i1-judge")
