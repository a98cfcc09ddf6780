"""A report from a real store: manifests and tables as the jobs write them, read back from a folder."""

import asyncio
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from moaa.cli.outcome import outcome_text
from moaa.data.schemas import ANSWERS
from moaa.errors import StoreError
from moaa.local.executor import Finished, Settings
from moaa.plan.fingerprint import identify
from moaa.plan.history.repeats import IterationRecord
from moaa.report.html import render
from moaa.report.page import why
from moaa.report.schema import Summary
from moaa.report.summary import summarise
from moaa.report.write import write_report
from moaa.rows import ScoreRow
from moaa.run.collect import collect
from moaa.run.view import RunView, Unchanged
from moaa.store.fencing import claim
from moaa.store.objects.directory import DirectoryStore
from moaa.store.stages.manifest import StageManifest
from moaa.store.stages.shards import read_manifest, read_table
from tests.unit.report_store import Filled, copied, fill, put
from tests.unit.report_world import RESOURCE, RUN, finished_run, resource

WORLD = finished_run()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    """A store with everything, to be read only."""
    return asyncio.run(fill(tmp_path_factory.mktemp("whole"), WORLD))


@pytest.fixture(scope="module")
def found(whole: Filled) -> RunView:
    return asyncio.run(collect(WORLD.resource, whole.store, RUN))


def test_what_is_read_is_what_was_written(found: RunView) -> None:
    assert found.unreadable == ()
    assert {s.status for s in found.stages} == {"done"}
    assert found.scores == WORLD.scores
    assert found.curves["i1-dpo"][-1]["reward_margin"] == WORLD.curves["i1-dpo"][-1]["reward_margin"]
    assert found.tallies["i1-judge"].verdicts == WORLD.tallies["i1-judge"].verdicts
    for name, kept in found.pairs.items():
        tally = WORLD.tallies[name]
        assert tally.clearest is not None
        assert tally.closest is not None
        assert set(kept) == {tally.clearest["id"], tally.closest["id"]}, "of pairs, only the rows that are shown"
        assert all(kept[i] == WORLD.pairs[name][i] for i in kept)
    expected, summary = summarise(WORLD), summarise(found)
    for part in ("headline", "scores", "pairs", "judges", "training", "promotions", "models", "lineage", "failures"):
        assert getattr(summary, part) == getattr(expected, part), part


def test_what_judges_said_is_counted_and_drawn_as_from_one_table(found: RunView) -> None:
    assert found.trails.keys() == WORLD.trails.keys()
    for name, trail in found.trails.items():
        assert trail == WORLD.trails[name], name
    assert found.compared["i1-judge"] == WORLD.compared["i1-judge"]


def test_a_drawn_comparison_of_an_evaluation_has_both_answers_its_score_and_criteria(found: RunView) -> None:
    scores = {r["id"]: r["score"] for r in WORLD.scores["i2-evaluate-dpo"] if r["benchmark"] == "arena"}
    kept = 0
    for name, compared in found.compared.items():
        for one in compared if "evaluate" in name else ():
            assert one.drawn.place.benchmark == "arena"
            if int(one.drawn.place.id[1:]) >= 40:
                assert one.answers == (None, None), "its answer is not in the table"
                continue
            kept += 1
            assert one.answers == (f"{one.drawn.place.model} says", "base says")
            assert (one.criteria, one.is_chosen) == (("Accuracy", "Clarity", "Depth"), True)
            assert name != "i2-evaluate-dpo" or one.score == scores[one.drawn.place.id]
    assert kept > 1


async def test_a_stage_without_judgements_is_named_and_the_rest_is_told(tmp_path: Path, whole: Filled) -> None:
    filled = copied(whole, tmp_path, until="i1-judge")
    damaged = filled.results["i1-judge"].path + "/out/1/00001-judgements.parquet"
    await filled.store.put(damaged, b"not what it was")
    summary = await write_report(WORLD.resource, filled.store, RUN, tmp_path / "out")
    assert [j.role for j in summary.judges if j.stage == "i1-judge"] == ["method"], "from the rankings"
    assert summary.pairs
    assert any(m.startswith("i1-judge is done, but could not be read") for m in summary.missing)


async def test_a_student_that_answers_as_the_one_before_is_named(tmp_path: Path, whole: Filled) -> None:
    """Here DPO of iteration 1 has the answers of SFT, and SFT those of the start but for one word."""
    filled = copied(whole, tmp_path, until="i1-evaluate-dpo")
    base = await _answers(filled, "i0-evaluate", "base")
    one_off = [{**row, "text": row["text"] + ("!" if row["id"] == "q0007" else "")} for row in base]
    await _replace_answers(filled, "i1-evaluate-sft", [{**row, "model": "sft"} for row in one_off])
    await _replace_answers(filled, "i1-evaluate-dpo", [{**row, "model": "dpo"} for row in one_off])
    view = await collect(WORLD.resource, filled.store, RUN)
    assert view.unreadable == ()
    assert view.unchanged == (Unchanged("i1-evaluate-dpo", "@i1-dpo", "@i1-sft", len(base)),)
    await _replace_answers(filled, "i1-evaluate-sft", [{**row, "model": "sft"} for row in base])
    view = await collect(WORLD.resource, filled.store, RUN)
    assert view.unchanged == (Unchanged("i1-evaluate-sft", "@i1-sft", "llama", len(base)),)
    assert "The iteration 1 SFT student answers to the letter as the start (llama) one does" in render(
        view, summarise(view)
    )


async def _manifest(filled: Filled, stage: str) -> StageManifest:
    found = await read_manifest(filled.store, filled.results[stage].path)
    assert found is not None
    return found


async def _answers(filled: Filled, stage: str, model: str) -> list[dict[str, Any]]:
    rows = await read_table(filled.store, await _manifest(filled, stage), "answers")
    return [dict(row) for row in rows if row["model"] == model]


async def _replace_answers(filled: Filled, stage: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """In a store of one's own, which holds no two manifests of one stage."""
    path = filled.results[stage].path
    ref = await put(filled.store, f"{path}/out/2/answers.parquet", rows, ANSWERS)
    manifest = await _manifest(filled, stage)
    changed = manifest.with_(tables={**manifest.tables, "answers": [ref]})
    await filled.store.put(f"{path}/manifest.json", changed.model_dump_json(by_alias=True).encode())


def test_contrasts_are_the_largest_changes(found: RunView) -> None:
    assert found.contrasts, "shown where both answers were kept"
    for contrast in found.contrasts:
        assert contrast.before["model"] == "base"
        assert contrast.after["model"] == "dpo"
        assert contrast.before["id"] == contrast.after["id"]
        assert contrast.before["benchmark"] == "arena", "what no decision reads comes first"


async def test_both_files_are_written_and_agree(tmp_path: Path, whole: Filled) -> None:
    (tmp_path / "report.html").write_text("an older report")
    summary = await write_report(WORLD.resource, whole.store, RUN, tmp_path)
    assert Summary.model_validate_json((tmp_path / "summary.json").read_text()) == summary
    assert summary.headline.verdict in (tmp_path / "report.html").read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "summary.json"]


async def test_the_end_of_a_run_says_what_decided_its_promotions(tmp_path: Path, whole: Filled) -> None:
    settings = Settings(folder=tmp_path, cache=tmp_path, capacity=lambda: pytest.fail("nothing is run"))
    console = Console(width=250, record=True, file=StringIO())
    finished = Finished(whole.results, made=("i2-promote",))
    console.print(await outcome_text(WORLD.resource, whole.store, finished, settings))
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert [line for line in lines if "promote: " in line] == [
        f"i{i}-promote: iteration {i}: this decided" for i in (1, 2)
    ]


async def test_a_run_in_progress(tmp_path: Path, whole: Filled) -> None:
    filled = copied(whole, tmp_path, until="i1-sft")
    found = await collect(WORLD.resource, filled.store, RUN)
    status = {s.stage.id: s.status for s in found.stages}
    assert (status["i1-sft"], status["i1-sample"], status["i1-judge"]) == ("done", "waiting", "waiting")
    identity = identify(found.stages[5].stage, WORLD.resource, filled.results)
    assert identity is not None
    assert identity.stage.id == "i1-evaluate-sft"
    await claim(filled.store, identity.path, "00000")
    await claim(filled.store, identity.path, "00000")
    started = (await collect(WORLD.resource, filled.store, RUN)).stages[5]
    assert (started.status, started.attempts) == ("started", 2)


@pytest.mark.parametrize(
    ("outcomes", "reached", "status"),
    [
        (["Permanent"], 0, "failed"),
        (["Crashed"] * 4, 0, "failed"),
        (["Crashed"] * 3, 0, "started"),
        (["Crashed"] * 9, 5, "started"),
        (["Waiting", "Stopped"], 0, "started"),
    ],
)
async def test_the_executors_record_tells_failures(
    tmp_path: Path, whole: Filled, outcomes: list[str], reached: int, status: str
) -> None:
    """`reached` is what each attempt left in the store beyond the one before it, in percent."""
    filled = copied(whole, tmp_path, until="i1-generate")
    stage = next(s.stage for s in WORLD.stages if s.stage.id == "i1-sft")
    identity = identify(stage, WORLD.resource, filled.results)
    assert identity is not None
    for i, outcome in enumerate(outcomes):
        body = {"stage": "i1-sft", "kind": "sft", "fingerprint": identity.fingerprint,
                "started": "2026-01-01T00:00:00Z",
                "seconds": 30.0, "jobSeconds": 20.0, "outcome": outcome, "error": f"error {i}",
                "reached": reached * i, "anything": "else"}  # fmt: skip
        await filled.store.put(f"runs/{RUN}/attempts/{i}.json", json.dumps(body).encode())
    await filled.store.put(f"runs/{RUN}/attempts/9.json", b"{torn")
    found = await collect(WORLD.resource, filled.store, RUN)
    sft = found.of("i1-sft")
    assert sft is not None
    assert (sft.status, sft.problem, sft.wall_seconds) == (status, f"error {len(outcomes) - 1}", 30.0 * len(outcomes))
    assert found.unreadable == (f"runs/{RUN}/attempts/9.json is not a readable record of an attempt.",)


async def test_a_damaged_table_is_named_and_the_rest_is_told(tmp_path: Path, whole: Filled) -> None:
    filled = copied(whole, tmp_path, until="i1-judge")
    damaged = filled.results["i1-judge"].path + "/out/1/00001-rankings.parquet"
    await filled.store.put(damaged, b"not what it was")
    summary = await write_report(WORLD.resource, filled.store, RUN, tmp_path / "out")
    assert summary.pairs == []
    assert summary.training
    assert any(m.startswith("i1-judge is done, but could not be read") for m in summary.missing)
    assert "could not be read" in (tmp_path / "out" / "report.html").read_text()


async def test_closed_iterations_stay_as_recorded_after_an_edit(tmp_path: Path, whole: Filled) -> None:
    filled = copied(whole, tmp_path, until="i1-promote")
    stages = {name: result for name, result in filled.results.items() if name.startswith("i1-")}
    record = IterationRecord(iteration=1, stages=stages, resource=WORLD.resource.model_dump(mode="json", by_alias=True))
    await filled.store.put(f"runs/{RUN}/iterations/1.json", record.model_dump_json(by_alias=True).encode())
    edited = resource(training={"sft": {"epochs": "5"}, "dpo": {"epochs": "2"}, "resources": {"workers": 8}})
    found = await collect(edited, filled.store, RUN)
    status = {s.stage.id: s.status for s in found.stages}
    assert (status["i1-sft"], status["i1-promote"], status["i2-generate"]) == ("done", "done", "waiting")


async def close(filled: Filled, view: RunView, *, iterations: int = 2) -> None:
    """Write the records of closed iterations as a run does."""
    for i in range(1, iterations + 1):
        document = IterationRecord(
            iteration=i,
            stages={name: found for name, found in filled.results.items() if name.startswith(f"i{i}-")},
            resource=view.resource.model_dump(mode="json", by_alias=True),
            start={name: found for name, found in filled.results.items() if name.startswith("i0-")},
        ).model_dump_json(by_alias=True)
        await filled.store.put(f"runs/{RUN}/iterations/{i}.json", document.encode())


EDITS: dict[str, dict[str, Any]] = {
    "the start is measured otherwise": {
        "evaluation": {
            "bootstrap": 200,
            "selection": [{"name": "math", "type": "ExactMatch", "source": "s3://lab-data/other.jsonl"}],
        }
    },
    "no benchmark": {"evaluation": {"bootstrap": 200}},
    "no dpo": {"training": {"sft": {}, "resources": {"workers": 2}}},
    "other weights": {"models": [
        {**m, "revision": "0" * 40} if m["name"] == "llama" else m for m in RESOURCE["spec"]["models"]
    ]},
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
async def test_a_finished_run_keeps_its_result_after_an_edit(
    tmp_path: Path, whole: Filled, edit: dict[str, Any]
) -> None:
    filled = copied(whole, tmp_path)
    await close(filled, WORLD)
    before = summarise(await collect(WORLD.resource, filled.store, RUN))
    view = await collect(resource(**edit), filled.store, RUN)
    after = summarise(view)
    assert before.headline.conclusion == "Better"
    assert after.headline == before.headline
    assert after.promotions == before.promotions
    assert after.scores == before.scores
    assert after.pairs == before.pairs
    assert [s.gpu_hours for s in after.stages] == [s.gpu_hours for s in before.stages]
    assert view.contrasts
    assert not view.unreadable
    assert why(after.promotions[-1]) in html.unescape(render(view, after))


async def test_a_start_that_an_edit_asks_for_anew_is_told_as_closed_iterations_have_it(
    tmp_path: Path, whole: Filled
) -> None:
    filled = copied(whole, tmp_path)
    await close(filled, WORLD, iterations=1)
    found = summarise(await collect(resource(**EDITS["the start is measured otherwise"]), filled.store, RUN))
    assert (
        "i0-evaluate is shown as closed iterations have it; the resource as it is now would not make it." in found.notes
    )
    status = {s.id: s.status for s in found.stages}
    assert (status["i0-evaluate"], status["i1-promote"], status["i2-promote"]) == ("done", "done", "waiting")


async def test_a_start_that_was_measured_anew_does_not_change_what_was_closed(tmp_path: Path, whole: Filled) -> None:
    filled = copied(whole, tmp_path)
    await close(filled, WORLD)
    before = summarise(await collect(WORLD.resource, filled.store, RUN))
    edited = resource(**EDITS["the start is measured otherwise"])
    perfect = tuple(replace_score(row, 1.0) for row in WORLD.scores["i0-evaluate"] if row["benchmark"] == "math")
    again = replace(finished_run(edited), scores={**WORLD.scores, "i0-evaluate": perfect})
    await fill(tmp_path, again, until="i0-evaluate")
    after = summarise(await collect(edited, filled.store, RUN))
    assert after.headline == before.headline
    assert after.promotions == before.promotions
    assert {s.value for s in after.scores if s.iteration == 0} == {1.0}


def replace_score(row: ScoreRow, score: float) -> ScoreRow:
    return {**row, "score": score}


async def test_a_resource_of_another_version_in_a_record_is_named(tmp_path: Path, whole: Filled) -> None:
    filled = copied(whole, tmp_path)
    record = IterationRecord(iteration=1, stages={n: r for n, r in filled.results.items() if n.startswith("i1-")})
    strange = record.with_(resource={"kind": "MoAA", "spec": {"rope": 1}})
    await filled.store.put(f"runs/{RUN}/iterations/1.json", strange.model_dump_json(by_alias=True).encode())
    found = await collect(WORLD.resource, filled.store, RUN)
    assert found.unreadable == (
        f"runs/{RUN}/iterations/1.json holds a resource of another version; "
        "iteration 1 is shown by the resource as it is now.",
    )
    assert summarise(found).headline.conclusion == "Better"


async def test_a_start_whose_resource_is_not_known_any_more_is_told_without_what_was_compared(
    tmp_path: Path, whole: Filled
) -> None:
    filled = copied(whole, tmp_path)
    await close(filled, WORLD, iterations=1)
    key = f"runs/{RUN}/iterations/1.json"
    record = IterationRecord.model_validate_json(await filled.store.get(key)).with_(resource={})
    await filled.store.put(key, record.model_dump_json(by_alias=True).encode())
    found = await collect(resource(**EDITS["the start is measured otherwise"]), filled.store, RUN)
    assert found.trails["i0-evaluate"].comparisons["arena"] == 1200
    assert "i0-evaluate" not in found.compared
    assert "of 1,200" in render(found, summarise(found))


async def test_an_unreadable_record_of_an_iteration_stops_the_report(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    await store.put(f"runs/{RUN}/iterations/1.json", b"{}")
    with pytest.raises(StoreError, match=r"iterations/1\.json: not a record of an iteration; restore or delete it"):
        await collect(WORLD.resource, store, RUN)
