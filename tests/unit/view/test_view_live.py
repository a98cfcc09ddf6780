"""`moaa view` of a run that goes on: what finished shards say, and what is read again."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from moaa.data.schemas import JUDGEMENTS, PAIRS, RANKINGS
from moaa.plan.fingerprint import identify
from moaa.plan.result import Identity
from moaa.run.records import Attempt, iteration_record, write_attempt, write_iteration, write_resource
from moaa.run.view import RunView
from moaa.store.fencing import claim
from moaa.store.objects.directory import DirectoryStore
from moaa.store.stages.manifest import StageManifest
from moaa.store.stages.shards import publish_shard
from moaa.store.stages.tables import TableRows
from moaa.view.progress import Progress
from moaa.view.site import Absent, Found, Site
from tests.unit.report_store import Filled, copied, fill
from tests.unit.report_world import RUN, finished_run, judgements, pair_of, rankings

WORLD = finished_run()
PROMPTS, SHARD = 130, 64
START = datetime(2026, 11, 30, 8, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    """A store whose run is about to judge 130 prompts, to be copied."""
    filled = asyncio.run(fill(tmp_path_factory.mktemp("sampled"), WORLD, until="i1-sample"))
    file = filled.folder / filled.results["i1-sample"].path / "manifest.json"
    manifest = StageManifest.model_validate_json(file.read_text())
    outputs = {name: output.with_(rows=PROMPTS) for name, output in manifest.outputs.items()}
    file.write_text(manifest.with_(outputs=outputs).model_dump_json(by_alias=True))
    filled.results["i1-sample"] = manifest.with_(outputs=outputs).result()
    asyncio.run(write_resource(filled.store, RUN, WORLD.resource))
    return filled


@pytest.fixture
def filled(sampled: Filled, tmp_path: Path) -> Filled:
    return copied(sampled, tmp_path)


def judging(filled: Filled, view: RunView = WORLD) -> Identity:
    stage = next(s.stage for s in view.stages if s.stage.id == "i1-judge")
    identity = identify(stage, view.resource, filled.results)
    assert identity is not None
    return identity


async def publish(filled: Filled, number: int, *, failed: int = 0) -> None:
    """One shard of i1-judge, as its job does it: an hour for each."""
    path, begun = judging(filled).path, START + timedelta(hours=number)
    rows = rankings(1)[: SHARD - failed]
    kept = {row["id"] for row in rows}
    said = [one for one in judgements(WORLD.resource, judging(filled).stage) if one["id"] in kept]
    written = {
        "rankings": TableRows(rows, RANKINGS),
        "pairs": TableRows([pair_of(row) for row in rows if row["outcome"] == "pair"], PAIRS),
        "judgements": TableRows(said, JUDGEMENTS),
    }
    token = await claim(filled.store, path, f"{number:05d}")
    await publish_shard(
        filled.store, path, token, written, main_table="rankings", rows_in=SHARD, started=begun, seconds=3600.0,
        failures={"time-out": failed} if failed else {},
    )  # fmt: skip


def stage_of(found: Found) -> Progress:
    assert found.stage("i1-judge").status == "started"
    return found.progress["i1-judge"]


async def test_finished_shards_say_how_far_a_stage_is_and_can_be_browsed(filled: Filled) -> None:
    site = Site(filled.store)
    assert (await site.found(RUN)).stage("i1-judge").status == "waiting"
    await publish(filled, 1, failed=2)
    found = await site.found(RUN)
    assert found.is_live
    assert stage_of(found) == Progress(1, 3, SHARD, PROMPTS, {"time-out": 2}, 7200.0)
    stage = found.stage("i1-judge")
    assert found.tables(stage)["rankings"] == SHARD - 2
    assert list(found.parts(stage, "rankings")) == [1], "a part has its shard's number, so its address stays"
    await publish(filled, 0)
    again = await site.found(RUN)
    assert (stage_of(again).rows_done, stage_of(again).eta_s) == (2 * SHARD, 3600.0)
    assert list(again.parts(again.stage("i1-judge"), "rankings")) == [0, 1]
    with pytest.raises(Absent, match="no table 'samples'"):
        again.parts(again.stage("i1-judge"), "samples")


async def test_what_is_done_is_not_read_again(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    await publish(filled, 0)
    site, read = Site(filled.store), list[str]()
    await site.measured(RUN)
    fetch = DirectoryStore.get

    async def counted(self: DirectoryStore, key: str) -> bytes:
        read.append(key)
        return await fetch(self, key)

    monkeypatch.setattr(DirectoryStore, "get", counted)
    await publish(filled, 1)
    read.clear()
    found = (await site.measured(RUN)).found
    assert stage_of(found).shards_done == 2
    manifests = [key for key in read if "/manifest.json" in key]
    assert manifests == [f"{judging(filled).path}/manifest.json"], "of stages that are not done"
    assert [key for key in read if "/shards/" in key] == [f"{judging(filled).path}/shards/00001.json"]


async def test_a_stage_that_failed_shows_what_was_said(filled: Filled) -> None:
    identity = judging(filled)
    await write_attempt(
        filled.store,
        RUN,
        Attempt(
            stage="i1-judge", kind=identity.stage.kind, fingerprint=identity.fingerprint, started=START, seconds=5.0,
            job_seconds=4.0, outcome="Permanent", exit_code=3, error="no judge answers",
        ),
    )  # fmt: skip
    site = Site(filled.store)
    stage = (await site.measured(RUN)).found.stage("i1-judge")
    assert (stage.status, stage.problem) == ("failed", "no judge answers")
    [line] = [line for line in await site.runs() if line.run == RUN]
    assert (line.last_stage, line.last_begun, line.attempts) == ("i1-judge", START, 1)


async def test_a_run_of_a_cluster_is_known_by_its_closed_iteration_or_its_file(filled: Filled) -> None:
    """Only `moaa run` writes the resource down."""
    run = "research-llama-8b-0d0c"
    empty = iteration_record(1, {}, {})
    await write_iteration(filled.store, run, empty)
    with pytest.raises(Absent, match="with --uid"):
        await Site(filled.store).found(run)
    assert (await Site(filled.store, {run: WORLD.resource}).found(run)).view.run == run
    told = await Site(filled.store).runs()
    assert {line.run: line.has_resource for line in told} == {run: False, RUN: True}


async def test_the_newest_run_is_read_ahead_and_a_broken_one_is_left_to_its_page(filled: Filled) -> None:
    await Site(filled.store).read_ahead()
    (filled.folder / f"runs/{RUN}/resource.json").write_text("{")
    await Site(filled.store).read_ahead()
