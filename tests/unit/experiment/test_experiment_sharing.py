"""What runs share and add, over an empty store and over one in which some are done."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from moaa.experiment.expand import Expanded, Run, expand
from moaa.experiment.sharing import Share, shares
from moaa.experiment.show import plan_view
from moaa.plan.forecast.estimate import estimate
from moaa.plan.ids import RESOLVE, STAGE_DATA
from moaa.plan.show import plan_text
from moaa.plan.stage import Kind
from moaa.store.stages.manifest import StageManifest
from tests.plan_helpers import run_all, tree
from tests.unit.experiment.test_experiment_expand import write

WHOLE = ["evaluate", "generate", "sft", "evaluate-sft", "sample", "judge", "dpo", "evaluate-dpo", "promote"]
START = datetime(2026, 3, 2, tzinfo=UTC)


def experiment(folder: Path, arms: dict[str, Any], **fields: Any) -> Expanded:
    return expand(write(folder, arms=arms, **fields))


def filled(*runs: Run, until: str = "") -> dict[str, StageManifest]:
    """What the store holds when these runs are done, by folder."""
    found: dict[str, StageManifest] = {}
    for run in runs:
        results, identities = run_all(run.resource)
        for name, identity in identities.items():
            found[identity.path] = StageManifest(
                stage=name, kind=identity.stage.kind, iteration=identity.stage.iteration, run=run.name,
                inputs=identity.inputs, fingerprint=identity.fingerprint, attempt=1, document=dict(identity.document),
                outputs=results[name].outputs, models=results[name].models, started=START, finished=START, seconds=1.0,
                metrics={"sft-0.turns": 21} if identity.stage.kind is Kind.STAGE_DATA else {},
            )  # fmt: skip
            if name == until:
                break
    return found


async def plan(
    found: Expanded, store: dict[str, StageManifest] | None = None, counts: dict[str, int] | None = None
) -> dict[str, Share]:
    async def look_up(path: str) -> StageManifest | None:
        return (store or {}).get(path)

    return {share.run.label: share for share in await shares(found.runs, look_up, counts or {})}


def adds(share: Share) -> list[str]:
    return [name.split("-", 1)[1] for name in share.adds]


async def test_a_judge_s_arms_share_all_up_to_the_samples(tmp_path: Path) -> None:
    single = {"spec": {"judge": {"method": "Single", "judges": None}}}
    found = await plan(experiment(tmp_path, {"mixture": {}, "single": single}))
    first, second = found.values()
    assert adds(first) == ["resolve", "stage-data", *WHOLE]
    assert adds(second) == ["judge", "dpo", "evaluate-dpo", "promote"]
    assert {run.label for run in second.shared.values()} == {"mixture, seed 0"}
    assert len(second.shared) == len(first.adds) - 4
    judging = {part.stage: part.calls or 0 for part in first.parts}["i1-judge"]
    assert judging > ({part.stage: part.calls or 0 for part in second.parts}["i1-judge"]) > 0


async def test_a_mixture_s_arms_share_the_data_alone(tmp_path: Path) -> None:
    other = {"spec": {"mixture": {"aggregator": {"model": "a"}}}}
    _, second = (await plan(experiment(tmp_path, {"agg": {}, "other": other}))).values()
    assert list(second.shared) == [RESOLVE, STAGE_DATA]
    assert adds(second) == WHOLE


async def test_seeds_share_what_is_resolved(tmp_path: Path) -> None:
    _, second = (await plan(experiment(tmp_path, {"one": {}}, seeds=[0, 1]))).values()
    assert list(second.shared) == [RESOLVE]


async def test_a_model_more_changes_no_digest_of_the_others(tmp_path: Path) -> None:
    """Another list of models is another resolve, and what rests on the other models is the same all the same."""
    models = [*tree()["spec"]["models"], {"name": "new", "source": "hf://org/new-7b"}]
    judge = {"judges": [{"model": "new"}]}
    _, second = (
        await plan(experiment(tmp_path, {"one": {}, "more": {"spec": {"models": models, "judge": judge}}}))
    ).values()
    assert adds(second) == ["resolve", "judge", "dpo", "evaluate-dpo", "promote"]
    assert "i1-sft" in second.shared


async def test_another_source_of_preferences_leaves_sft_as_it_is(tmp_path: Path) -> None:
    data = {"preference": [{"source": "file:///other.jsonl", "limit": 4}]}
    _, second = (await plan(experiment(tmp_path, {"one": {}, "other": {"spec": {"data": data}}}))).values()
    assert adds(second) == ["resolve", "stage-data", "sample", "judge", "dpo", "evaluate-dpo", "promote"]


async def test_another_benchmark_changes_the_rows_of_training_as_far_as_is_known(tmp_path: Path) -> None:
    held = tree()["spec"]["evaluation"]["selection"]
    more = [*held, {"name": "more", "type": "ExactMatch", "source": "file:///more.jsonl"}]
    _, second = (
        await plan(experiment(tmp_path, {"one": {}, "two": {"spec": {"evaluation": {"selection": more}}}}))
    ).values()
    assert second.shared == {}


async def test_what_is_done_is_neither_shared_nor_added(tmp_path: Path) -> None:
    found = experiment(tmp_path, {"mixture": {}, "single": {"spec": {"judge": {"method": "Single", "judges": None}}}})
    first, second = (await plan(found, filled(found.runs[0], until="i1-sample"))).values()
    assert [name for name in first.done if name.startswith("i1")] == [
        "i1-generate",
        "i1-sft",
        "i1-evaluate-sft",
        "i1-sample",
    ]
    assert first.done == second.done
    assert adds(first) == adds(second) == ["judge", "dpo", "evaluate-dpo", "promote"]
    assert not first.shared
    assert not second.shared
    first, second = (await plan(found, filled(*found.runs))).values()
    assert (first.adds, second.adds) == ((), ())
    assert second.estimate.calls == 0


async def test_real_digests_of_one_arm_serve_another_that_is_not_resolved(tmp_path: Path) -> None:
    """The first arm has other models and has not begun; the second one is done up to its data."""
    models = [*tree()["spec"]["models"], {"name": "new", "source": "hf://org/new-7b"}]
    judge = {"judges": [{"model": "new"}]}
    found = experiment(tmp_path, {"more": {"spec": {"models": models, "judge": judge}}, "one": {}})
    first, second = (await plan(found, filled(found.runs[1], until=STAGE_DATA))).values()
    assert second.done == (RESOLVE, STAGE_DATA)
    assert "i1-generate" in second.shared
    assert "i1-generate" in first.adds
    first, second = (await plan(found, filled(found.runs[1]))).values()
    assert adds(first) == ["resolve", "judge", "dpo", "evaluate-dpo", "promote"]
    assert {STAGE_DATA, "i1-generate", "i1-sft"} < set(first.done)


async def test_rows_make_the_figures(tmp_path: Path) -> None:
    base = tree(spec__data__sft=[{"source": "file:///sft.jsonl"}])
    found = experiment(tmp_path, {"one": {}}, base=base)
    (unknown,) = (await plan(found)).values()
    assert unknown.estimate.calls is None
    (told,) = (await plan(found, counts={"sft-0": 100})).values()
    assert {part.stage: part.calls for part in told.parts}["i1-generate"] == 300
    (counted,) = (await plan(found, filled(found.runs[0], until=STAGE_DATA), {"sft-0": 100})).values()
    assert {part.stage: part.calls for part in counted.parts}["i1-generate"] == 63  # 7 rows with 3 turns each


async def test_the_plan_says_who_shares_what_and_sums_up(tmp_path: Path) -> None:
    found = experiment(tmp_path, {"mixture": {}, "single": {"spec": {"judge": {"method": "Single", "judges": None}}}})
    listed = list((await plan(found)).values())
    text = plan_text(plan_view(found, listed), width=200)
    assert "differs from mixture: spec.judge.method Mixture → Single" in text
    assert "shared with mixture, seed 0: i0-resolve, i0-stage-data, i0-evaluate" in text
    assert "adds: i1-judge, i1-dpo, i1-evaluate-dpo, i1-promote" in text
    cells = [line.replace("│", " ").split() for line in text.splitlines() if line.startswith("│ ")]
    assert [row[:6] for row in cells[:2]] == [
        ["mixture", "0", "11", "0", "0", "11"],
        ["single", "0", "11", "0", "7", "4"],
    ]
    assert cells[2][:5] == ["all", "22", "0", "7", "15"]
    assert "USD ?: give spec.cost.gpuHourUsd" in text


@pytest.mark.parametrize(
    ("mixture", "found"),
    [
        ({"aggregator": {"model": "a"}}, 20),  # both proposals of ten rows
        ({"layers": [{"proposers": [{"model": "a"}]}]}, 10),
        ({"layers": [{"proposers": [{"model": "b"}, {"model": "a"}]}]}, 0),  # places are part of a call
        ({"layers": [{"proposers": [{"model": "a", "samples": 3}, {"model": "b", "temperature": "1"}]}]}, 10),
        ({"layers": [{"proposers": [{"model": "a"}, {"model": "b"}, {"model": "agg"}]}]}, 20),
    ],
    ids=["aggregator", "fewer", "other order", "more samples", "one more"],
)
async def test_proposals_that_an_earlier_arm_asks_for_are_not_counted(
    tmp_path: Path, mixture: dict[str, Any], found: int
) -> None:
    arms = experiment(tmp_path, {"one": {}, "two": {"spec": {"mixture": mixture}}})
    first, second = (await plan(arms)).values()
    assert (first.found_calls, second.found_calls) == (0, found)
    alone = {part.stage: part for part in estimate(arms.runs[1].resource)}
    part = {part.stage: part for part in second.parts}["i1-generate"]
    assert part.calls == (alone["i1-generate"].calls or 0) - found
    assert (part.gpu_hours or 0) <= (alone["i1-generate"].gpu_hours or 0)  # the slowest model decides
    stored = (await plan(arms, filled(arms.runs[0])))["two, seed 0"]
    assert stored.found_calls == found


async def test_seeds_share_no_proposals(tmp_path: Path) -> None:
    _, second = (await plan(experiment(tmp_path, {"one": {}}, seeds=[0, 1]))).values()
    assert second.found_calls == 0
