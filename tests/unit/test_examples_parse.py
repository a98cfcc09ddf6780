"""Every example parses, plans and asks for nothing the documentation would not."""

from pathlib import Path

import pytest

from moaa.api.reading.check import warnings
from moaa.api.reading.load import load
from moaa.plan.forecast.replicas import gpus_held
from moaa.plan.graph import build
from moaa.plan.show import plan_text, plan_view
from moaa.plan.stage import Kind
from tests.plan_helpers import run_all

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))


def kinds(name: str) -> list[Kind]:
    path = next(path for path in EXAMPLES if path.stem == name)
    return [stage.kind for stage in build(load(path)).stages.values() if stage.iteration == 1]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_valid_and_can_be_planned_to_its_end(path: Path) -> None:
    owner = load(path)
    assert [text for text in warnings(owner) if "answers of their own kind" not in text] == []
    assert set(run_all(owner)[0]) == set(build(owner).stages)
    assert all(model.source is None or model.source.startswith("hf://") for model in owner.spec.models)


def test_the_examples_are_there() -> None:
    assert {p.stem for p in EXAMPLES} >= {
        "paper-gemma-9b",
        "paper-llama-8b",
        "self-moa",
        "single-teacher",
        "small-scale",
        "two-machines",
    }


def test_a_model_over_two_machines_counts_with_all_of_its_gpus() -> None:
    owner = load(next(path for path in EXAMPLES if path.stem == "two-machines"))
    (generate,) = [stage for stage in build(owner).stages.values() if stage.kind is Kind.GENERATE]
    assert gpus_held(owner.spec, generate) == 16 + 4 + 4
    assert "llama31-405b on 2 machines" in plan_text(plan_view(owner, {}), width=300)


def test_the_examples_cover_the_shapes_of_the_loop() -> None:
    whole = [Kind.GENERATE, Kind.SFT, Kind.EVALUATE, Kind.SAMPLE, Kind.JUDGE, Kind.DPO, Kind.EVALUATE, Kind.PROMOTE]
    assert kinds("paper-llama-8b") == whole
    assert kinds("self-moa") == [kind for kind in whole if kind is not Kind.EVALUATE]
    assert kinds("single-teacher") == [Kind.GENERATE, Kind.SFT, Kind.EVALUATE, Kind.PROMOTE]


def test_one_storage_lets_both_students_share_the_mixture_s_answers() -> None:
    llama, gemma = (load(path) for path in EXAMPLES if path.stem.startswith("paper-"))
    assert llama.spec.mixture == gemma.spec.mixture
    assert llama.spec.judge == gemma.spec.judge
    assert llama.spec.data == gemma.spec.data
