"""What the user sees of a plan."""

from decimal import Decimal

import pytest

from moaa.plan.forecast.estimate import Estimate, estimate
from moaa.plan.graph import build
from moaa.plan.history.repeats import Change, Repeat
from moaa.plan.show import plan_text, plan_view, validate_text
from tests.bad_resources import SCORED, SEEDED
from tests.plan_helpers import resource, run_all


def row(text: str, stage: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"│ {stage} "))
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_validate_says_what_it_is_and_advises() -> None:
    text = validate_text(resource(spec__mixture__addStudent=True))
    assert text.splitlines()[0] == "small is valid: 5 models, student base, 1 iteration, 11 stages"
    assert "warning: spec.mixture.addStudent: " in text


def test_a_new_plan_shows_figures_and_what_is_ready() -> None:
    text = plan_text(plan_view(resource(spec__cost={"gpuHourUsd": "2"}), {}), width=160)
    assert row(text, "i0-resolve")[:2] == ["i0-resolve", "ready"]
    assert row(text, "i1-generate")[:4] == ["i1-generate", "waiting: needs i0-stage-data", "10", "30"]
    assert row(text, "i1-judge")[-1] == "agg, a, b"
    assert "USD ?" not in text


def test_done_stages_and_counted_rows_show() -> None:
    owner = resource(spec__data__sft__0__limit=None)
    results = run_all(owner)[0]
    done = {name: results[name] for name in ("i0-resolve", "i0-stage-data", "i0-evaluate")}
    text = plan_text(plan_view(owner, done, running=["i1-generate"]), width=160)
    assert row(text, "i0-evaluate")[1] == "done"
    # Seven rows are what stage-data counted.
    assert row(text, "i1-generate")[1:4] == ["running", "7", "21"]
    assert "will stop" not in text


def test_done_stages_show_what_they_took_and_no_estimate() -> None:
    owner = resource(spec__cost={"gpuHourUsd": "2"})
    results = run_all(owner)[0]
    done = {name: results[name] for name in ("i0-resolve", "i0-stage-data", "i1-generate")}
    took = Estimate(
        "i1-generate", rows=9, calls=27, prompt_tokens=1234, completion_tokens=99, gpus=6, hours=2.0, gpu_hours=12.0,
        usd=Decimal(24),
    )  # fmt: skip
    text = plan_text(plan_view(owner, done, measured={"i1-generate": took}), width=160)
    assert row(text, "i1-generate")[1:10] == ["done", "9", "27", "1,234", "99", "6", "2.0", "12.0", "24.00"]
    assert row(text, "i0-stage-data")[1:4] == ["done", "?", "?"], "an estimate would pass for what was measured"
    assert row(text, "i1-sample")[3] == "20"


def test_a_stage_that_will_stop_for_want_of_rows_is_told() -> None:
    text = plan_text(plan_view(resource(), {}, counts={"sft-0": 7}), width=200)
    assert "will stop with an error: spec.data.sft[0].limit: 10 rows from row 0 on are needed, and there are 7" in text
    assert "will stop" not in plan_text(plan_view(resource(), run_all(resource())[0]), width=200)


@pytest.mark.parametrize(
    ("limit", "counts", "questions"),
    [
        (5, {}, 5),
        (19, {}, 19),
        (20, {}, None),
        (None, {}, None),
        (None, {"eval-held": 7}, 7),
        (500, {"eval-held": 0}, 0),
    ],
)
def test_a_benchmark_on_which_nobody_can_be_promoted_is_told(
    limit: int | None, counts: dict[str, int], questions: int | None
) -> None:
    owner = resource(spec__evaluation__selection__0__limit=limit)
    text = plan_text(plan_view(owner, {}, counts=counts), width=300)
    said = f"warning: spec.evaluation.selection[0]: {questions} questions; no student is promoted on fewer than 20"
    assert (said in text) == (questions is not None)
    assert ("no student is promoted" in text) == (questions is not None)


@pytest.mark.parametrize(
    ("questions", "samples", "told"),
    [
        pytest.param(None, 1, None, id="unknown"),
        pytest.param(19, 1, None, id="too few for any gain"),
        pytest.param(
            500, 1,
            "held: 500 questions an iteration, the same in all (there are fewer than 2 × 1,000): a gain of 7.1 points "
            "shows in 80 % of cases, with an assumed spread; 3 points take 2,757 questions an iteration, or several "
            "samples of each",
            id="the same for all",
        ),
        pytest.param(
            4000, 4,
            "held: 2,000 questions an iteration of its own: a gain of 2.0 points shows in 80 % of cases, with an "
            "assumed spread",
            id="of its own",
        ),
    ],
)  # fmt: skip
def test_what_the_gate_will_see_is_told(questions: int | None, samples: int, told: str | None) -> None:
    changes = {"spec__evaluation__selection__0__limit": questions, "spec__evaluation__selection__0__samples": samples}
    text = plan_text(plan_view(resource(spec__iterations=2, **changes), {}), width=1000)
    lines = [line.strip() for line in text.splitlines() if line.startswith("gate: ")]
    assert lines[0] == (
        "gate: 4 comparisons (2 candidates × 2 iterations) at a lower bound of 99.38 % each: at most 2.5 % of such "
        "runs promote a student that is no better"
    )
    assert lines[1:] == ([f"gate: {told}"] if told else [])


def test_a_gate_without_evidence_is_told_by_advice_alone() -> None:
    text = plan_text(plan_view(resource(spec__evaluation__gate={"rule": "Mean"}), {}), width=1000)
    assert "gate: " not in text
    assert "warning: spec.evaluation.gate.rule: Mean promotes a student that is no better in nine runs of ten" in text


def test_a_finished_plan_has_nothing_left() -> None:
    text = plan_text(plan_view(resource(), run_all(resource())[0]), width=160)
    assert {row(text, stage)[1] for stage in run_all(resource())[0]} == {"done"}
    assert row(text, "left to do")[2:10] == [""] * 8


def test_unknown_rows_are_said_to_be_unknown_until_someone_knows() -> None:
    owner = resource(spec__data__sft__0__limit=None)
    text = plan_text(plan_view(owner, {}), width=160)
    assert row(text, "i1-generate")[2:4] == ["?", "?"]
    assert "the rows of sft-0 are unknown until stage-data has counted them" in text
    assert row(plan_text(plan_view(owner, {}, counts={"sft-0": 20}), width=160), "i1-generate")[2:4] == ["20", "60"]


def test_what_rules_of_pairs_will_drop_is_said_to_be_unknown_until_pairs_are_judged() -> None:
    owner, words = resource(spec__training__dpo={"pairs": {"consistent": True}}), "training.dpo.pairs drops any"
    results = run_all(owner)[0]
    open_dpo = {name: result for name, result in results.items() if name in ("i0-resolve", "i1-judge")}
    assert words in plan_text(plan_view(owner, open_dpo), width=1000)
    assert words not in plan_text(plan_view(owner, results), width=1000), "nothing is left to train"
    assert words not in plan_text(plan_view(resource(), {}), width=1000)
    drawn = resource(spec__training__dpo={"pairs": {"rejected": "Random"}})
    assert words not in plan_text(plan_view(drawn, {}), width=1000), "it drops none"


def test_judging_that_skips_comparisons_is_counted_with_a_range() -> None:
    owner = resource(spec__judge__comparisons="Adaptive", spec__training__dpo={"samples": 5})
    words = "comparisons Adaptive is counted with 46 calls a prompt, as usual; it takes 20 at least, and up to 70 where"
    results = run_all(owner)[0]
    assert words in plan_text(plan_view(owner, {}), width=1000)
    assert "Adaptive is counted" not in plan_text(plan_view(owner, results), width=1000), "nothing is left to judge"
    assert "Adaptive is counted" not in plan_text(plan_view(resource(), {}), width=1000)


def test_judging_that_a_reward_model_orders_is_counted_exactly() -> None:
    owner = resource(**SEEDED, spec__training__dpo={"samples": 5})
    [judging] = [part for part in estimate(owner, {}) if part.stage == "i1-judge"]
    assert judging.calls == 4 * (5 + 3 * (1 + 2 * 2)), "a score each, three pairs by one judge and a meta-judge"
    assert build(owner).stages["i1-judge"].serves == ("b", "agg", "a")
    alone = resource(**SCORED, spec__training__dpo={"samples": 5})
    [judging] = [part for part in estimate(alone, {}) if part.stage == "i1-judge"]
    assert (judging.calls, judging.completion_tokens) == (4 * 5, 0)
    assert build(alone).stages["i1-judge"].serves == ("b",)


def test_far_iterations_are_one_line() -> None:
    text = plan_text(plan_view(resource(spec__iterations=900), {}), width=200)
    assert len(text.splitlines()) < 40
    assert row(text, "i2-generate …")[-1] == "7192 more stages up to i900-promote"


def test_the_open_iteration_is_always_shown() -> None:
    owner = resource(spec__iterations=5)
    results = run_all(owner)[0]
    done = {name: result for name, result in results.items() if not name.startswith(("i3", "i4", "i5"))}
    text = plan_text(plan_view(owner, done), width=160)
    assert row(text, "i3-generate")[1] == "ready"
    assert row(text, "i4-generate …")[1] == "waiting"


def test_an_edit_is_explained() -> None:
    repeated = [Repeat("i1-dpo", (Change("training.beta", "0.01", "0.5"),), ())]
    text = plan_text(plan_view(resource(), {}, repeated=repeated), width=160)
    assert "edit: i1-dpo: training.beta 0.01 → 0.5; repeats i1-dpo" in text


@pytest.mark.parametrize(("width", "left_out"), [(140, ""), (80, "models"), (60, "USD")])
def test_a_narrow_window_shows_fewer_columns_and_cuts_no_number(width: int, left_out: str) -> None:
    view = plan_view(resource(spec__cost={"gpuHourUsd": "2"}), {}, counts={"sft-0": 61_135})
    text = plan_text(view, width=width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    assert {"i1-evaluate-sft", "GPU-h", "status"} <= set(text.replace("│", " ").replace("┃", " ").split())
    told = [line for line in text.splitlines() if line.startswith("left out, since the window is narrow: ")]
    assert left_out in "".join(told) if left_out else not told


def test_limits_of_endpoints_are_told_in_hours_where_they_cost_any() -> None:
    endpoint = {"url": "https://x/v1", "model": "m"}

    def told(**more: int) -> list[str]:
        a = {"name": "a", "endpoint": {**endpoint, **more}}
        owner = resource(spec__models__0=a, spec__data__sft__0__limit=60_000, spec__training__dpo=None)
        lines = plan_text(plan_view(owner, {}), width=200).splitlines()
        return [line for line in lines if line.startswith("limit: ")]

    assert told() == []
    (slow,) = told(maxConcurrency=8)
    assert slow.startswith("limit: endpoint a: 15.0 hours at maxConcurrency 8 (60,")
    (limited,) = told(requestsPerMinute=100)
    assert limited.startswith("limit: endpoint a: 10.0 hours at requestsPerMinute 100, 0.1 without (60,")
    (tokens,) = told(requestsPerMinute=10**6, tokensPerMinute=100_000)
    assert " hours at tokensPerMinute 100,000, 0.1 without " in tokens
