"""Every experiment that ships can be planned to its end over an empty store, and shares what it says it shares."""

import re
from pathlib import Path

import pytest

from moaa.experiment.expand import expand
from moaa.experiment.sharing import Share, shares
from moaa.experiment.show import plan_view
from moaa.plan.graph import build
from moaa.plan.show import plan_text
from moaa.store.stages.manifest import StageManifest

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "examples" / "experiments"
FILES = sorted(FOLDER.glob("*.yaml"))
JUDGED = {"i0-anchors", "i1-judge", "i1-dpo", "i1-evaluate-dpo", "i1-promote"}
COUNTS = {
    "sft-0": 61135, "sft-1": 207865, "preference-0": 61135, "eval-held-out": 2000, "eval-alpaca-eval": 805,
    "eval-arena-hard": 500, "eval-mt-bench": 80,
}  # fmt: skip


async def planned(file: Path) -> list[Share]:
    async def nothing(_path: str) -> StageManifest | None:
        return None

    return await shares(expand(file).runs, nothing, COUNTS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
async def test_an_example_is_planned_to_its_end(file: Path) -> None:
    found = expand(file)
    listed = await planned(file)
    assert len(found.arms) >= 2
    for share in listed:
        assert {*share.shared, *share.adds} == set(build(share.run.resource).stages)
        assert share.estimate.gpu_hours is not None
        assert share.estimate.gpu_hours > 0
        assert share.estimate.usd is not None
    assert all(share.shared for share in listed[1:])
    assert plan_text(plan_view(found, listed)).startswith(found.name)


@pytest.mark.parametrize("name", ["table-6-judges", "table-7-criteria"])
async def test_arms_that_differ_in_their_judge_share_the_samples(name: str) -> None:
    _, *others = await planned(FOLDER / f"{name}.yaml")
    assert all(set(share.adds) == JUDGED for share in others)


async def test_naive_mixtures_pay_for_the_fifth_model_and_the_judge_alone() -> None:
    mixture, combined, drawn, best = await planned(FOLDER / "table-3-naive-mixtures.yaml")
    rows = 61135 + 5000
    assert [share.found_calls for share in (mixture, combined, drawn, best)] == [0, 4 * rows, rows, 5 * rows]


async def test_a_grid_of_dpo_shares_all_but_dpo_within_a_seed() -> None:
    listed = await planned(FOLDER / "dpo-strength.yaml")
    alone = {"i1-dpo", "i1-evaluate-dpo", "i1-promote"}
    assert [set(share.adds) == alone for share in listed] == [False, False, *[True] * 6]
    assert list(listed[1].shared) == ["i0-resolve"]


async def test_the_tiny_experiment_has_four_arms_of_one_iteration() -> None:
    found = expand(ROOT / "examples" / "tiny" / "experiment.yaml")
    assert found.arms == ("mixture", "one-proposer", "self-mixture", "single-judge")
    assert {run.resource.spec.iterations for run in found.runs} == {1}
    *_, single = await planned(ROOT / "examples" / "tiny" / "experiment.yaml")
    assert set(single.adds) == JUDGED


def test_the_list_names_every_file() -> None:
    named = re.findall(r"^\| \[`([a-z0-9-]+\.yaml)`\]", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert sorted(named) == [file.name for file in FILES]
