"""What an edit of the resource repeats, asked of the jobs themselves: manifests, ledgers and a counting endpoint."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from moaa.api import MoAA
from moaa.plan.fingerprint import identify
from moaa.plan.graph import build
from moaa.plan.history.repeats import repeats, sentences
from moaa.plan.history.survey import survey
from moaa.plan.result import Identity, StageResult
from moaa.store.objects.directory import DirectoryStore
from moaa.store.stages.shards import read_manifest
from tests.endpoint import Endpoint, serve
from tests.unit.jobs.test_jobs_chain import resource, run_stage, scripted

ROWS = 4
OPENING = ["i0-resolve", "i0-stage-data"]


@dataclass
class World:
    """A store in which the mixture of `declared` has answered its prompts."""

    folder: Path
    endpoint: Endpoint
    declared: MoAA
    results: dict[str, StageResult]
    rows: list[dict[str, Any]]

    @property
    def store(self) -> DirectoryStore:
        return DirectoryStore(self.folder / "store")

    def edited(self, *, temperature: str = "0.7", **serving: Any) -> MoAA:
        """The resource with another temperature of the aggregator, or the student served in another way."""
        return declare(self.folder, self.endpoint.url, temperature=temperature, **serving)

    async def surveyed(self, edited: MoAA) -> dict[str, StageResult]:
        """What is done under the edited resource, by the manifests in the store."""

        async def look_up(identity: Identity) -> StageResult | None:
            manifest = await read_manifest(self.store, identity.path)
            return None if manifest is None else manifest.result()

        return (await survey(build(edited), edited, look_up))[1]

    def asked(self) -> Counter[str]:
        """Requests so far, by model."""
        return Counter(body["model"] for body in self.endpoint.requests)


def declare(folder: Path, url: str, *, temperature: str = "0.7", second: str = "right", **serving: Any) -> MoAA:
    declared = resource(
        folder,
        url,
        mixture={
            "layers": [{"proposers": [{"model": "left"}, {"model": second}]}],
            "aggregator": {"model": "agg", "temperature": temperature},
        },
        data={"sft": [{"source": f"file://{folder}/prompts.jsonl", "limit": ROWS}]},
        training={"sft": {}},
        evaluation={},
        judge=None,
    )
    document = declared.model_dump(mode="json", by_alias=True, exclude_unset=True)
    document["spec"]["models"][-1]["serving"] = serving
    return MoAA.model_validate(document)


def told(body: dict[str, Any]) -> str:
    """As `scripted`, but another temperature gives other words."""
    return f"{scripted(body)} at {body['temperature']}"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serve(told) as endpoint:
        declared = declare(tmp_path, endpoint.url)
        results: dict[str, StageResult] = {}
        for stage in [*OPENING, "i1-generate"]:
            tables = await run_stage(declared, tmp_path, stage, results, {})
        yield World(tmp_path, endpoint, declared, results, tables["conversations"])


def fingerprints(declared: MoAA, results: dict[str, StageResult]) -> dict[str, str]:
    found = {name: identify(stage, declared, results) for name, stage in build(declared).stages.items()}
    return {name: identity.fingerprint for name, identity in found.items() if identity}


async def test_how_a_model_is_served_repeats_nothing(world: World) -> None:
    edited = world.edited(replicas=3, gpus=8, maxConcurrency=7, startupMinutes=5)
    assert fingerprints(edited, world.results) == fingerprints(world.declared, world.results)
    assert await world.surveyed(edited) == world.results


async def test_an_aggregators_temperature_repeats_its_stage_and_says_so(world: World) -> None:
    edited = world.edited(temperature="0.2")
    done = await world.surveyed(edited)
    assert list(done) == OPENING
    manifest = await read_manifest(world.store, world.results["i1-generate"].path)
    assert manifest is not None
    documents = {"i1-generate": manifest.document}
    found = repeats(build(edited), edited, done, last=world.results, documents=documents)
    assert sentences(found) == ["i1-generate: mixture.aggregator.temperature 0.7 → 0.2; repeats i1-generate"]


async def test_what_follows_is_repeated_when_the_answers_differ(world: World) -> None:
    edited = world.edited(temperature="0.2")
    results = await world.surveyed(edited)
    await run_stage(edited, world.folder, "i1-generate", results, {})
    before, after = fingerprints(world.declared, world.results), fingerprints(edited, results)
    assert before["i1-generate"] != after["i1-generate"]
    assert before["i1-sft"] != after["i1-sft"]
    assert {name for name in before if before[name] == after[name]} == set(OPENING)


async def test_no_proposer_is_asked_again_for_another_aggregator_temperature(world: World) -> None:
    before = world.asked()
    assert before == {"left": ROWS, "right": ROWS, "agg": ROWS}
    edited = world.edited(temperature="0.2")
    results = await world.surveyed(edited)
    rows = (await run_stage(edited, world.folder, "i1-generate", results, {}))["conversations"]
    assert world.asked() - before == {"agg": ROWS}
    assert [row["id"] for row in rows] == [row["id"] for row in world.rows]
    assert [row["proposals"] for row in rows] == [row["proposals"] for row in world.rows]


async def test_an_edit_taken_back_asks_nobody(world: World) -> None:
    edited = world.edited(temperature="0.2")
    await run_stage(edited, world.folder, "i1-generate", await world.surveyed(edited), {})
    before = world.asked()
    assert await world.surveyed(world.edited()) == world.results
    assert world.asked() == before


@pytest.mark.parametrize(
    "edit", [{"args": ["--chat-template", "right.jinja"]}, {"maxModelLen": 4096}], ids=lambda edit: next(iter(edit))
)
async def test_what_of_serving_bears_on_answers_asks_its_model_again(tmp_path: Path, edit: dict[str, Any]) -> None:
    words = "wrong template"
    async with serve(lambda body: f"{words} {told(body)}") as endpoint:
        urls = {"student": endpoint.url}
        declared = declare(tmp_path, endpoint.url, second="student")
        results: dict[str, StageResult] = {}
        for stage in [*OPENING, "i1-generate"]:
            await run_stage(declared, tmp_path, stage, results, urls)
        world = World(tmp_path, endpoint, declared, results, [])
        before, words = world.asked(), "right template"
        edited = declare(tmp_path, endpoint.url, second="student", **edit)
        done = await world.surveyed(edited)
        assert list(done) == OPENING
        rows = (await run_stage(edited, tmp_path, "i1-generate", done, urls))["conversations"]
        assert world.asked() - before == {"student": ROWS, "agg": ROWS}
        assert all(row["proposals"][1]["text"].startswith("right template student") for row in rows)


async def test_replicas_and_harmless_arguments_ask_nobody_again(tmp_path: Path) -> None:
    async with serve(told) as endpoint:
        urls = {"student": endpoint.url}
        results: dict[str, StageResult] = {}
        for stage in [*OPENING, "i1-generate"]:
            await run_stage(declare(tmp_path, endpoint.url, second="student"), tmp_path, stage, results, urls)
        world = World(tmp_path, endpoint, declare(tmp_path, endpoint.url, second="student"), results, [])
        before = world.asked()
        # Another temperature repeats the stage, so that the student's calls are looked up under the edited serving.
        args = ["--gpu-memory-utilization", "0.8"]
        edited = declare(tmp_path, endpoint.url, second="student", temperature="0.2", replicas=3, args=args)
        await run_stage(edited, tmp_path, "i1-generate", await world.surveyed(edited), urls)
        assert world.asked() - before == {"agg": ROWS}
