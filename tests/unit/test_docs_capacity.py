"""docs/capacity.md says what `moaa plan` says: every table in it against the command above it."""

import json
import re
import shlex
from decimal import Decimal
from pathlib import Path

import pytest

from moaa.api import MoAA
from moaa.api.reading.load import load
from moaa.api.resource import Replicas
from moaa.plan.forecast.estimate import estimate, hours_by_model, total
from moaa.plan.forecast.fits import gib, told, trained
from moaa.plan.forecast.memory import parts, training_memory
from moaa.plan.forecast.replicas import loads
from moaa.plan.forecast.shape import read_shape
from moaa.plan.graph import build
from moaa.plan.show import plan_text, plan_view

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


def within(limit: int | None) -> MoAA:
    """The paper's run with `maxGpus`, or with one server a model."""
    owner = load(ROOT / "examples" / "paper-llama-8b.yaml")
    replicas = Replicas.DECLARED if limit is None else Replicas.AUTO
    serving = owner.spec.serving.with_(replicas=replicas, max_gpus=limit)
    return owner.with_(spec=owner.spec.with_(serving=serving))


def test_the_models_of_each_stage() -> None:
    owner, counts, expected = within(None), {"sft-0": 61135}, []
    for stage in build(owner).stages.values():
        asked = list(loads(stage, owner, counts))
        for name, hours in hours_by_model(owner, asked).items():
            model = owner.spec.model(owner.spec.student if name.startswith("@") else name)
            calls = sum(load.calls for load in asked if load.model == name)
            expected.append([stage.id, name, f"{calls:,}", str(model.serving.gpus), f"{hours:.2f}"])
    assert table_after("By stage, with one server a model") == expected


def test_what_a_limit_of_gpus_brings() -> None:
    expected = []
    for limit in (None, 31, 40, 56, 96):
        parts = estimate(within(limit), {"sft-0": 61135})
        whole, by_stage = total(parts), {part.stage: part for part in parts}
        stages = [by_stage["i1-generate"], by_stage["i1-judge"]]
        cells = [cell for part in stages for cell in (str(part.gpus), f"{part.hours:.1f}")]
        starts = sum(part.gpus or 0 for part in parts if part.calls)
        name = "`Declared`" if limit is None else str(limit)
        expected.append([name, *cells, f"{whole.hours:.1f}", f"{whole.gpu_hours:.1f}", str(starts)])
    assert table_after("The Llama run by what its servers may hold") == expected


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"comparisons": "Adaptive"}, "350,400 calls for `i1-judge`: 77.4 GPU-h"),
        ({"comparisons": "Adaptive", "criteriaFor": "Prompt"}, "308,400 and 76.5."),
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
                needed = training_memory(shape, spec, workers=workers, on_gpu=True)
                sizes = [gib(size) for size in (*parts(needed).values(), needed.total)]
                verdict = "does not fit" if "does not fit" in told(shape, stage, spec, resources) else "fits"
                expected.append([name, str(workers), stage, *sizes, verdict])
    assert table_after("The paper's training stages by number of workers") == expected
