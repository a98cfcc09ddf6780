"""The figures of the recipe (§1.7) from the paper's resource, and arithmetic by hand on the small one."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from moaa.api.mixture import Judge
from moaa.api.models import Model
from moaa.api.reading.load import load
from moaa.api.resource import ServingPolicy
from moaa.asking.load import ANSWER_TOKENS, PROMPT_TOKENS
from moaa.judge.methods import method_of
from moaa.plan.forecast.estimate import Estimate, estimate, hours_by_model, too_few, total
from moaa.plan.forecast.replicas import loads
from moaa.plan.forecast.throughput import billions
from moaa.plan.graph import build
from tests.plan_helpers import resource

EXAMPLES = Path(__file__).parents[3] / "examples"
COUNTS = {"sft-0": 61135}


def by_stage(**changes: Any) -> dict[str, Estimate]:
    return {part.stage: part for part in estimate(resource(**changes))}


@pytest.mark.parametrize("name", ["paper-llama-8b", "paper-gemma-9b"])
def test_the_paper_s_run_has_the_derived_figures(name: str) -> None:
    parts = {part.stage: part for part in estimate(load(EXAMPLES / f"{name}.yaml"), COUNTS)}
    generate, judge = parts["i1-generate"], parts["i1-judge"]
    assert generate.calls == (61135 + 5000) * 5
    assert 61135 * 5 == 305_675  # recipe §1.7
    assert parts["i1-sample"].calls == 30_000
    assert judge.calls == 540_000
    tokens = (generate.prompt_tokens or 0) + (generate.completion_tokens or 0)
    assert tokens * 61135 / 66135 == pytest.approx(266e6, rel=0.1)  # Table 10's prices divided by its rates
    assert judge.gpu_hours is not None
    assert generate.gpu_hours is not None
    assert judge.gpu_hours > generate.gpu_hours  # judging is the larger part


def test_rows_and_calls_of_the_small_run() -> None:
    parts = by_stage()
    assert (parts["i1-generate"].rows, parts["i1-generate"].calls) == (10, 30)
    assert (parts["i1-sample"].rows, parts["i1-sample"].calls) == (4, 20)
    # 4 prompts, 10 pairs: one call for criteria, two judges and one verdict in both orders.
    assert (parts["i1-judge"].rows, parts["i1-judge"].calls) == (4, 4 * 10 * (1 + 2 * 2 + 2))
    assert parts["i1-dpo"].rows == 3
    # 5 prompts; base, a, b, agg alone and the mixture (3 calls); all but base against base, 3 calls a pair.
    assert parts["i0-evaluate"].calls == 5 * (4 + 3) + 5 * 4 * 3
    assert parts["i1-evaluate-sft"].calls == 5 + 5 * 3


def test_a_baseline_that_is_no_member_answers_and_is_compared_with() -> None:
    # 5 prompts; base, a, b, agg and eva alone and the mixture (3 calls); all but eva against eva, 3 calls a pair.
    pairwise = by_stage(spec__evaluation__selection__0__baseline="eva")
    assert pairwise["i0-evaluate"].calls == 5 * (5 + 3) + 5 * 5 * 3
    assert pairwise["i1-evaluate-sft"].calls == 5 + 5 * 3
    member = by_stage(spec__evaluation__selection__0__baseline="agg")
    assert member["i0-evaluate"].calls == 5 * (4 + 3) + 5 * 4 * 3
    alone = by_stage(spec__evaluation__selection__0__baseline="eva", spec__evaluation__members=False)
    assert alone["i0-evaluate"].calls == 5 * 2 + 5 * 3


def test_answers_that_the_data_gives_cost_verdicts_only() -> None:
    # 5 prompts; base, a, b and agg alone and the mixture (3 calls); all of them, base included, against the data's.
    given = by_stage(spec__evaluation__selection__0__baseline="$given")
    assert given["i0-evaluate"].calls == 5 * (4 + 3) + 5 * 5 * 3


def test_tokens_of_training_are_rows_times_epochs() -> None:
    parts = by_stage(spec__training__sft={"epochs": "2"}, spec__training__dpo={"epochs": "3"})
    assert parts["i1-sft"].trained_tokens == 10 * 2 * (PROMPT_TOKENS + ANSWER_TOKENS)
    assert parts["i1-dpo"].trained_tokens == 3 * 3 * 2 * (PROMPT_TOKENS + ANSWER_TOKENS)


def test_no_answer_is_longer_than_max_tokens_lets_it_be() -> None:
    proposers = [{"model": "a", "maxTokens": 16, "samples": 2}, {"model": "b"}]
    parts = by_stage(
        spec__mixture={"layers": [{"proposers": proposers}], "aggregator": {"model": "agg", "maxTokens": 8}},
        spec__judge={
            "judges": [{"model": "a", "maxTokens": 64}, {"model": "b", "maxTokens": 1}],
            "aggregator": {"model": "agg", "maxTokens": 5},
        },
        spec__training__dpo={"maxTokens": 32, "samples": 2},
        spec__evaluation__selection__0__sampling={"maxTokens": 4},
        spec__evaluation__selection__0__judge={"method": "Panel", "judges": [{"model": "eva", "maxTokens": 2}]},
        spec__evaluation__members=False,
    )
    generate = parts["i1-generate"]
    assert generate.completion_tokens == 10 * (2 * 16 + 360 + 8)
    # The aggregator reads what was proposed: 200 of the prompt, 280 of instructions, 20 of markers a proposal.
    assert generate.prompt_tokens == 10 * (3 * 200 + 200 + 280 + 2 * (16 + 20) + 360 + 20)
    assert parts["i1-sft"].trained_tokens == 6 * 10 * (200 + 8)
    assert parts["i1-sample"].completion_tokens == 4 * 2 * 32
    judge, compared = parts["i1-judge"], 200 + 2 * 32
    assert judge.completion_tokens == 4 * (5 + 2 * (64 + 1 + 5))
    assert judge.prompt_tokens == 4 * (compared + 550 + 2 * (3 * (compared + 330) + 64 + 20 + 1 + 20))
    assert parts["i1-dpo"].trained_tokens == 5 * 3 * 2 * (200 + 32)
    evaluate = parts["i1-evaluate-sft"]
    assert evaluate.completion_tokens == 5 * (4 + 2 * 2)
    assert evaluate.prompt_tokens == 5 * (200 + 2 * (200 + 2 * 4 + 330))


def test_every_user_turn_is_answered_and_trained() -> None:
    owner = resource(spec__evaluation__members=False)
    counts = {"sft-0": 100, "sft-0.turns": 250, "preference-0": 9, "preference-0.turns": 90}
    counts |= {"eval-held": 4, "eval-held.turns": 6}
    one, parts = ({part.stage: part for part in estimate(owner, known)} for known in ({"eval-held": 4}, counts))
    assert parts["i1-generate"].calls == 10 * 5 // 2 * 3  # ten conversations of two and a half turns, three calls each
    assert parts["i1-sft"].trained_tokens == 6 * 25 * (PROMPT_TOKENS + ANSWER_TOKENS)
    # One answer to the last turn is sampled and judged, whatever came before it.
    for stage in ("i1-sample", "i1-judge", "i1-dpo"):
        assert parts[stage] == one[stage]
    assert parts["i1-evaluate-sft"].calls == 6 + 4 * 3  # a verdict is on the whole conversation
    assert one["i1-evaluate-sft"].calls == 4 + 4 * 3


def test_an_empty_table_has_no_turns() -> None:
    counts = {"sft-0": 0, "sft-0.turns": 0}
    found = {part.stage: part for part in estimate(resource(spec__data__sft__0__limit=None), counts)}
    assert found["i1-generate"].calls == 0


def test_given_answers_cost_no_call() -> None:
    part = by_stage(spec__data__sft__0__answers="Given")["i1-generate"]
    assert (part.rows, part.calls, part.gpu_hours) == (10, 0, 0.0)


def test_unknown_rows_are_unknown_all_the_way() -> None:
    parts = by_stage(spec__data__sft__0__limit=None)
    assert parts["i1-generate"] == Estimate("i1-generate")
    assert parts["i1-sft"] == Estimate("i1-sft")
    assert total(parts.values()) == Estimate("total")
    assert parts["i1-judge"].calls == 280


def test_a_table_that_is_read_again_gives_every_iteration_its_rows() -> None:
    owner = resource(spec__iterations=3, spec__data__allowReuse=True)
    counted = {part.stage: part for part in estimate(owner, {"sft-0": 13})}
    assert [counted[f"i{i}-generate"].rows for i in (1, 2, 3)] == [10, 10, 10]
    assert [counted[f"i{i}-generate"].calls for i in (1, 2, 3)] == [30, 30, 30]
    assert too_few(build(owner).stages.values(), owner, {"sft-0": 13}) == []
    assert len(too_few(build(owner).stages.values(), owner, {"sft-0": 0})) == 1


def test_rows_that_are_not_there_cost_what_they_are_and_are_told() -> None:
    owner = resource(spec__iterations=3)
    counted = {part.stage: part for part in estimate(owner, {"sft-0": 13})}
    assert [counted[f"i{i}-generate"].rows for i in (1, 2, 3)] == [10, 10, 10]
    (error,) = too_few(build(owner).stages.values(), owner, {"sft-0": 13, "preference-0": 12})
    assert error.startswith("spec.data.sft[0].limit: 10 rows from row 10 on are needed, and there are 13")


def test_a_benchmark_s_limit_is_a_cap() -> None:
    counted = {part.stage: part for part in estimate(resource(), {"eval-held": 3})}
    assert counted["i1-evaluate-sft"].rows == 3


def test_gpus_are_paid_for_until_the_slowest_model_is_through() -> None:
    # Per row one call each of a and b (1 GPU), and of agg, which reads both proposals and has 4 GPUs.
    models: list[dict[str, object]] = []
    models += [{"name": name, "source": f"hf://o/{name}-8b"} for name in ("a", "b", "base", "eva")]
    models += [{"name": "agg", "source": "hf://o/agg-72b", "serving": {"gpus": 4}}]
    owner = resource(spec__models=models, spec__data__sft__0__limit=1_000_000)
    stage = build(owner).stages["i1-generate"]
    proposer = 1e6 * (200 / (4e14 / 16e9) + 360 / 5000) / 3600
    aggregator = 1e6 * ((200 + 280 + 2 * 380) / (4e14 / 144e9) + 360 / 1500) / 3600 / 4
    taken = hours_by_model(owner, loads(stage, owner, {}))
    assert taken == pytest.approx({"a": proposer, "b": proposer, "agg": aggregator})
    together = by_stage(spec__models=models, spec__data__sft__0__limit=1_000_000)["i1-generate"]
    assert together.gpus == 6
    assert together.hours == pytest.approx(aggregator)
    assert together.gpu_hours == pytest.approx(6 * aggregator)
    in_turn = by_stage(spec__models=models, spec__data__sft__0__limit=1_000_000, spec__serving={"schedule": "InTurn"})[
        "i1-generate"
    ]
    assert in_turn.gpus == 4
    assert in_turn.hours == pytest.approx(2 * proposer + aggregator)


def test_replicas_shorten_a_stage() -> None:
    paper = load(EXAMPLES / "paper-llama-8b.yaml")
    one = paper.with_(spec=paper.spec.with_(serving=ServingPolicy()))
    judge = next(model for model in one.spec.models if model.name == "qwen2-72b")
    models = [m if m is not judge else m.with_(serving=m.serving.with_(replicas=3)) for m in one.spec.models]
    three = one.with_(spec=one.spec.with_(models=models))
    before, after = ({part.stage: part for part in estimate(owner)}["i1-judge"] for owner in (one, three))
    assert (before.gpus, after.gpus) == (10, 18)
    assert before.hours is not None
    assert after.hours == pytest.approx(before.hours / 3, rel=0.01)


def test_money_needs_a_price() -> None:
    assert by_stage()["i1-generate"].usd is None
    assert total(by_stage().values()).usd is None
    priced = by_stage(spec__cost={"gpuHourUsd": "2"})["i1-generate"]
    assert priced.gpu_hours is not None
    assert float(priced.usd or 0) == pytest.approx(2 * priced.gpu_hours, abs=1e-3)


def test_an_endpoint_costs_tokens_and_no_gpu() -> None:
    endpoint: dict[str, Any] = {"url": "https://x/v1", "model": "m"}
    priced = {**endpoint, "price": {"inputUsdPerMillion": "1", "outputUsdPerMillion": "10"}}
    models = [{"name": name, "endpoint": priced} for name in ("a", "b", "agg")]
    models += [{"name": name, "source": f"hf://o/{name}-8b"} for name in ("base", "eva")]
    part = by_stage(spec__models=models)["i1-generate"]
    assert part.gpu_hours == 0
    read, written = part.prompt_tokens or 0, part.completion_tokens or 0
    assert part.usd == (read * Decimal(1) + written * Decimal(10)) / 1_000_000
    models[0] = {"name": "a", "endpoint": endpoint}
    assert by_stage(spec__models=models)["i1-generate"].usd is None


def test_cpu_models_and_workers_take_no_gpu() -> None:
    models = [{"name": n, "source": f"hf://o/{n}", "serving": {"gpus": 0}} for n in ("a", "b", "agg", "base", "eva")]
    training = {"resources": {"gpusPerWorker": 0}, "sft": {"precision": "FP32"}, "dpo": {"precision": "FP32"}}
    summed = total(by_stage(spec__models=models, spec__training=training).values())
    assert summed.gpu_hours == 0
    assert summed.usd == 0


@pytest.mark.parametrize(
    ("judge", "calls"),
    [
        ({"judges": [{"model": "a"}] * 3, "aggregator": {"model": "b"}}, 90),
        ({"judges": [{"model": "a"}] * 3, "aggregator": {"model": "b"}, "criteria": 0}, 80),
        ({"method": "Single", "aggregator": {"model": "b"}}, 30),
        ({"method": "Panel", "judges": [{"model": "a"}] * 3}, 60),
    ],
)
def test_calls_of_ten_pairs(judge: dict[str, Any], calls: int) -> None:
    assert sum(load.calls for load in method_of(Judge.model_validate(judge)).duel_loads(10, answer_tokens=360)) == calls


@pytest.mark.parametrize(
    ("source", "size"),
    [
        ("hf://Qwen/Qwen2-72B-Instruct", 72.0),
        ("hf://alpindale/WizardLM-2-8x22B", 140.8),
        ("hf://HuggingFaceTB/SmolLM2-135M-Instruct", 0.135),
        ("hf://meta-llama/Llama-3.1-8B-Instruct", 8.0),
        ("hf://google/gemma-2-27b-it", 27.0),
        ("hf://Qwen/Qwen2.5-0.5B", 0.5),
        ("file:///models/teacher", 8.0),
    ],
)
def test_sizes_are_read_off_names(source: str, size: float) -> None:
    assert billions(Model.model_validate({"name": "x", "source": source})) == pytest.approx(size)


def test_a_name_of_any_size_has_an_estimate() -> None:
    for size in ("0b", "99999999b"):
        models = [{"name": name, "source": f"hf://o/{name}-{size}"} for name in ("a", "b", "agg", "base", "eva")]
        assert total(estimate(resource(spec__models=models))).hours is not None


def test_every_stage_has_an_estimate() -> None:
    owner = resource(spec__iterations=3, spec__mixture__addStudent=True)
    assert [part.stage for part in estimate(owner)] == list(build(owner).stages)
