"""docs/capacity.md says what `moaa plan` says: every table in it against the command above it."""

import json
import re
import shlex
from decimal import Decimal
from pathlib import Path

import pytest

from moaa.api import MoAA
from moaa.api.reading.load import load
from moaa.plan.forecast.estimate import estimate, hours_by_model
from moaa.plan.forecast.fits import gib, told, trained
from moaa.plan.forecast.memory import parts, training_memory
from moaa.plan.forecast.replicas import loads
from moaa.plan.forecast.shape import read_shape
from moaa.plan.forecast.show import plan_text, plan_view
from moaa.plan.graph import build

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "capacity.md").read_text()
COMMANDS = re.findall(r"^`moaa plan (.*)`$", DOCUMENT, flags=re.MULTILINE)
FIRST_FIGURE = 2  # after the stage and its status


def cells(line: str, edge: str) -> list[str]:
    return [cell.strip() for cell in line.strip(edge).split(edge)]


def table_after(text: str) -> list[list[str]]:
    """The rows of the first Markdown table after `text`, without its head."""
    lines = DOCUMENT[DOCUMENT.index(text) :].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|---")) + 1
    end = next(i for i, line in enumerate(lines) if i >= start and not line.startswith("|"))
    return [cells(line, "|") for line in lines[start:end]]


def planned(command: str) -> list[list[str]]:
    """Stage and figures as `moaa plan` prints them, for stages that take anything, and the total."""
    file, *options = shlex.split(command)
    counts = dict(rows.split("=") for rows in options if "=" in rows)
    view = plan_view(load(ROOT / file), {}, counts={table: int(rows) for table, rows in counts.items()})
    rows = [cells(line, "│") for line in plan_text(view, width=200).splitlines() if line.startswith("│")]
    figures = [(row[0], row[FIRST_FIGURE:-1]) for row in rows if row[0]]
    return [[stage, *found] for stage, found in figures if any(found)]


def test_the_paper_s_recipes_are_there() -> None:
    files = [command.split()[0] for command in COMMANDS]
    assert files == [f"examples/{name}.yaml" for name in ("paper-llama-8b", "paper-gemma-9b", "small-scale")]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_table_is_what_the_command_prints(command: str) -> None:
    assert table_after(f"`moaa plan {command}`") == planned(command)


def judge_replicas(count: int) -> MoAA:
    owner = load(ROOT / "examples" / "paper-llama-8b.yaml")
    models = [
        model.with_(serving=model.serving.with_(replicas=count)) if model.name == "qwen2-72b" else model
        for model in owner.spec.models
    ]
    return owner.with_(spec=owner.spec.with_(models=models))


def test_the_models_of_each_stage() -> None:
    owner, counts, expected = judge_replicas(1), {"sft-0": 61135}, []
    for stage in build(owner).stages.values():
        asked = list(loads(stage, owner, counts))
        for name, hours in hours_by_model(owner, asked).items():
            model = owner.spec.model(owner.spec.student if name.startswith("@") else name)
            calls = sum(load.calls for load in asked if load.model == name)
            expected.append([stage.id, name, f"{calls:,}", str(model.serving.gpus), f"{hours:.2f}"])
    assert table_after("By stage of the Llama run") == expected


@pytest.mark.parametrize(("replicas", "said"), [(1, "183.8"), (2, "14 GPUs for 9.2 hours: 128.7 GPU-h")])
def test_what_a_second_replica_of_the_slowest_judge_saves(replicas: int, said: str) -> None:
    judge = {part.stage: part for part in estimate(judge_replicas(replicas))}["i1-judge"]
    assert judge.hours is not None
    text = f"{judge.gpu_hours:.1f}"
    if replicas > 1:
        text = f"{judge.gpus} GPUs for {judge.hours:.1f} hours: {text} GPU-h"
    assert said == text
    assert said in DOCUMENT.replace("\n  ", " ")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"comparisons": "Adaptive"}, "350,400 calls for `i1-judge`: 120.0 GPU-h"),
        ({"comparisons": "Adaptive", "criteriaFor": "Prompt"}, "308,400 and 101.6."),
    ],
)
def test_what_fewer_comparisons_save(fields: dict[str, str], said: str) -> None:
    owner = load(ROOT / "examples" / "paper-llama-8b.yaml").model_dump(mode="json", by_alias=True)
    owner["spec"]["judge"] |= fields
    judge = {part.stage: part for part in estimate(MoAA.model_validate(owner))}["i1-judge"]
    assert all(figure in said for figure in (f"{judge.calls:,}", f"{judge.gpu_hours:.1f}"))
    assert said in DOCUMENT.replace("\n  ", " ")


MEMORY = {"Llama-3.1-8B": (4, 8), "Llama-3.1-70B": (8, 16, 32)}


def test_the_memory_of_training() -> None:
    training, expected = load(ROOT / "examples" / "paper-llama-8b.yaml").spec.training, []
    for name, counts in MEMORY.items():
        config = json.loads((ROOT / "tests" / "models" / f"{name.lower()}.json").read_text())
        shape = read_shape(config, name)
        for workers in counts:
            resources = training.resources.with_(workers=workers, gpu_memory_gib=Decimal(80))
            for stage, spec in trained(training):
                needed = training_memory(shape, spec, workers=workers)
                sizes = [gib(size) for size in (*parts(needed).values(), needed.total)]
                verdict = "does not fit" if "does not fit" in told(shape, stage, spec, resources) else "fits"
                expected.append([name, str(workers), stage, *sizes, verdict])
    assert table_after("The paper's training stages by number of workers") == expected
