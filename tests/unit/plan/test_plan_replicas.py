"""How many servers each model of a stage gets: within the limit, where the work is, and no more than that takes."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moaa.api import MoAA
from moaa.api.reading.load import load
from moaa.api.resource import Replicas
from moaa.errors import ResourceError
from moaa.plan.forecast.estimate import estimate, total
from moaa.plan.forecast.replicas import (
    START_HOURS,
    AtWork,
    Work,
    check_limit,
    for_stage,
    gpus_held,
    planned,
    planned_alone,
    spread,
)
from moaa.plan.graph import build
from moaa.plan.ids import STAGE_DATA
from moaa.plan.result import Output, StageResult
from moaa.plan.show import plan_text, plan_view, validate_text
from moaa.plan.stage import Kind
from tests.plan_helpers import resource

PAPER = load(Path(__file__).parents[3] / "examples" / "paper-llama-8b.yaml")
COUNTS = {"sft-0": 61135}

WORK = st.builds(Work, hours=st.floats(0, 40), gpus=st.sampled_from([1, 2, 4, 8]), least=st.integers(1, 2))
MODELS = st.lists(WORK, min_size=1, max_size=3).map(lambda parts: dict(zip("abc", parts, strict=False)))


def with_limit(owner: MoAA, max_gpus: int | None, **serving: Any) -> MoAA:
    """With Auto, or as declared where there is no limit."""
    replicas = Replicas.DECLARED if max_gpus is None else Replicas.AUTO
    policy = owner.spec.serving.with_(replicas=replicas, max_gpus=max_gpus, **serving)
    return owner.with_(spec=owner.spec.with_(serving=policy))


def held(work: dict[str, Work], counts: dict[str, int]) -> int:
    return sum(work[name].gpus * count for name, count in counts.items())


def hours(work: dict[str, Work], counts: dict[str, int]) -> float:
    return max(work[name].hours / count for name, count in counts.items())


@given(work=MODELS, max_gpus=st.integers(1, 24))
def test_no_other_numbers_within_the_limit_are_quicker(work: dict[str, Work], max_gpus: int) -> None:
    counts = spread(work, max_gpus=max_gpus)
    least = {name: one.least for name, one in work.items()}
    assert all(counts[name] >= least[name] for name in work)
    assert held(work, counts) <= max(max_gpus, held(work, least))
    every = (
        dict(zip(work, numbers, strict=True))
        for numbers in product(*(range(one.least, max(max_gpus // one.gpus, one.least) + 1) for one in work.values()))
    )
    best = min(hours(work, other) for other in every if held(work, other) <= max(max_gpus, held(work, least)))
    assert hours(work, counts) <= max(best, START_HOURS) + 1e-9


@given(work=MODELS, max_gpus=st.integers(1, 24))
def test_no_server_is_there_for_nothing(work: dict[str, Work], max_gpus: int) -> None:
    """One server less of any model that has more than its least makes the stage longer."""
    counts = spread(work, max_gpus=max_gpus)
    for name, count in counts.items():
        if count > work[name].least:
            assert hours(work, {**counts, name: count - 1}) > max(hours(work, counts), START_HOURS) - 1e-9


def test_the_paper_s_recipe_within_forty_gpus() -> None:
    before, after = (total(estimate(with_limit(PAPER, limit), COUNTS)) for limit in (None, 40))
    assert before.hours is not None
    assert after.hours is not None
    assert (round(before.hours, 1), round(before.gpu_hours or 0, 1)) == (24.7, 300.8)
    assert (round(after.hours, 1), round(after.gpu_hours or 0, 1)) == (7.0, 203.2)
    assert after.gpus == 40


def test_the_plan_says_how_many_and_what_they_bring() -> None:
    text = plan_text(plan_view(with_limit(PAPER, 40), {}, counts=COUNTS), width=250)
    assert "qwen2-72b ×6, gemma2-27b ×2, llama31-70b ×3" in text
    assert "maxGpus: 40} takes 7.0 hours and 203.2 GPU-h; replicas as declared would take 24.7 and 300.8." in text
    declared = plan_text(plan_view(with_limit(PAPER, None), {}, counts=COUNTS), width=250)
    assert "maxGpus: 31} would take 10.5 hours and 245.7 GPU-h; replicas as declared take 24.7 and 300.8." in declared
    assert "Auto" not in plan_text(plan_view(resource(), {})), "a few minutes of work gain nothing"


def test_declared_replicas_are_the_least() -> None:
    models = [m.with_(serving=m.serving.with_(replicas=3)) if m.name == "gemma2-27b" else m for m in PAPER.spec.models]
    owner = with_limit(PAPER.with_(spec=PAPER.spec.with_(models=models)), 40)
    judge = next(stage for stage in build(owner).stages.values() if stage.kind is Kind.JUDGE)
    counts = {model.name: model.serving.replicas for model in for_stage(owner, judge, {}).spec.models}
    assert (counts["gemma2-27b"], counts["qwen2-72b"], counts["wizardlm"]) == (3, 6, 1)


def test_in_turn_every_model_has_all_gpus_in_its_turn() -> None:
    judge = build(PAPER).stages["i1-judge"]
    owner = with_limit(PAPER, 16, schedule="InTurn")
    served = for_stage(owner, judge, {})
    counts = {name: served.spec.model(name).serving.replicas for name in judge.serves}
    assert counts == {"qwen2-72b": 4, "gemma2-27b": 8, "llama31-70b": 4}
    assert gpus_held(served.spec, judge) == 16


def test_rows_that_are_counted_bring_more_servers() -> None:
    owner = with_limit(PAPER, 64)
    generate = build(owner).stages["i1-generate"]
    unknown = for_stage(owner, generate, {})
    rows = {"sft-0": Output(digest="d" * 64, rows=61135), "sft-1": Output(digest="e" * 64, rows=5000)}
    counted = StageResult(stage=STAGE_DATA, kind=Kind.STAGE_DATA, inputs="1" * 64, fingerprint="2" * 64, outputs=rows)
    known = for_stage(owner, generate, {STAGE_DATA: counted})
    assert unknown.spec.model("qwen15-110b").serving.replicas == 2
    assert known.spec.model("qwen15-110b").serving.replicas == 3


def test_what_is_there_may_be_less_than_the_limit() -> None:
    judge = build(PAPER).stages["i1-judge"]
    served = for_stage(with_limit(PAPER, 40), judge, {}, max_gpus=16)
    assert gpus_held(served.spec, judge) == 14


def test_a_stage_keeps_its_servers_when_another_begins() -> None:
    owner = with_limit(PAPER, 24)
    first = AtWork(("qwen2-72b", "gemma2-27b", "llama31-70b"), {"qwen2-72b": 9, "gemma2-27b": 2, "llama31-70b": 2})
    second = AtWork(("gemma2-27b", "llama31-8b"), {"gemma2-27b": 90, "llama31-8b": 0.1})
    alone, both = planned(owner, [first]), planned(owner, [first, second])
    assert alone == {"qwen2-72b": 4, "gemma2-27b": 1, "llama31-70b": 1}
    assert both == {**alone, "llama31-8b": 1}
    assert planned(owner, [second]) == {"gemma2-27b": 11, "llama31-8b": 1}


def test_students_of_one_model_count_for_each() -> None:
    owner = with_limit(PAPER, 7)
    assert planned(owner, [AtWork(("@i1-sft", "@i1-dpo"), {"@i1-sft": 9, "@i1-dpo": 1})]) == {"llama31-8b": 3}


def test_endpoints_and_models_on_the_cpu_are_left_as_they_are() -> None:
    models = [
        {"name": "a", "endpoint": {"url": "https://x/v1", "model": "m"}},
        {"name": "b", "source": "hf://o/b", "serving": {"gpus": 0, "replicas": 3}},
        {"name": "agg", "source": "hf://o/agg-70b", "serving": {"gpus": 4}},
        {"name": "base", "source": "hf://o/base"},
        {"name": "eva", "source": "hf://o/eva"},
    ]
    owner = with_limit(resource(spec__models=models, spec__data__sft__0__limit=10**6), 8)
    generate = build(owner).stages["i1-generate"]
    assert planned_alone(owner, generate, {"agg": 7.0}) == {"agg": 2}
    assert for_stage(owner, generate, {}).spec.model("b").serving.replicas == 3


def test_a_stage_that_cannot_fit_is_refused_before_anything_is_paid() -> None:
    owner = with_limit(PAPER, 30)
    with pytest.raises(ResourceError, match=r"spec\.serving\.maxGpus: .*31 GPUs of the models that i0-evaluate serves"):
        check_limit(owner)
    with pytest.raises(ResourceError, match="maxGpus"):
        validate_text(owner)
    with pytest.raises(ResourceError, match="maxGpus"):
        plan_view(owner, {}, counts=COUNTS)
    check_limit(with_limit(PAPER, 31))
    check_limit(with_limit(PAPER, 8, schedule="InTurn"))
    assert PAPER.spec.training.resources.workers == 8
