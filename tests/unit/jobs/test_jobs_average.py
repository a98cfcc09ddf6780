"""The stage average through its real job: the declared student and what DPO made of it, their mean into the store."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from moaa.api.models import Endpoint
from moaa.contract.job import stage_job
from moaa.data.origin.local import LocalOrigin
from moaa.errors import DataError
from moaa.plan.fingerprint import identify
from moaa.plan.graph import build
from moaa.plan.result import StageResult
from moaa.store.fencing import claim
from moaa.store.objects.directory import DirectoryStore
from moaa.store.stages.folders import publish_folder
from moaa.store.stages.manifest import StageManifest
from moaa.store.stages.shards import read_manifest, write_manifest
from moaa.weights.find import find
from moaa_jobs.runner.context import Context
from moaa_jobs.runner.manifest import build_manifest
from moaa_jobs.runner.settings import JobSettings
from moaa_jobs.stages import average
from moaa_jobs.tell.progress import Progress
from tests.plan_helpers import finish, resource
from tests.unit.test_weights_average import Given, read, write

BEFORE: Given = {"w": ("F32", [0.0, 4.0])}
AFTER: Given = {"w": ("F32", [4.0, 0.0])}


class World:
    """A store in which everything up to DPO is done; `after` is what DPO wrote."""

    def __init__(self, folder: Path, after: Given = AFTER) -> None:
        self.folder, self.after = folder, after
        self.base = write(folder / "base", BEFORE)
        self.owner = resource(
            spec__storage__uri=f"file://{folder}/store",
            spec__models__3__source=f"file://{self.base}",
            spec__training__average="0.25",
        )
        self.store = DirectoryStore(folder / "store")
        self.results: dict[str, StageResult] = {}

    async def run(self) -> StageManifest:
        """The manifest of `i1-average`, whose job has run."""
        for stage in build(self.owner).stages.values():
            identity = identify(stage, self.owner, self.results)
            assert identity is not None
            if stage.id == "i1-average":
                break
            result = finish(identity, self.owner)
            if stage.id == "i0-resolve":
                digest = (await LocalOrigin(f"file://{self.base}", self.base).pin(list)).digest
                result = result.with_(models={**result.models, "base": digest})
            if stage.id == "i1-dpo":
                token = await claim(self.store, identity.path, "train")
                trained = write(self.folder / "trained", self.after)
                output, files = await publish_folder(self.store, identity.path, token, trained, "model")
                manifest = build_manifest(
                    stage_job(identity, self.owner, self.results, run="r"),
                    self.owner,
                    attempt=1,
                    outputs={"model": output},
                    files={"model": files},
                    started=datetime(2026, 1, 1, tzinfo=UTC),
                    seconds=1.0,
                )
                await write_manifest(self.store, identity.path, manifest)
                result = result.with_(outputs={**result.outputs, "model": output})
            self.results[stage.id] = result
        work = self.folder / "work"
        work.mkdir(exist_ok=True)
        assert identity is not None
        job = stage_job(identity, self.owner, self.results, run="r")
        settings = JobSettings(job=self.folder / "job.json", work_dir=work)
        await average.run(job, Context(job, self.owner, self.store, work, Progress(job.stage, None), settings))
        assert list(work.iterdir()) == []
        made = await read_manifest(self.store, identity.path)
        assert made is not None
        return made


async def test_the_mean_is_a_student_like_any_other(tmp_path: Path) -> None:
    world = World(tmp_path)
    manifest = await world.run()
    weights = find("@i1-average", world.owner, {**world.results, "i1-average": manifest.result()})
    assert not isinstance(weights, Endpoint)
    assert weights.digest == manifest.outputs["model"].digest
    folder = tmp_path / "store" / str(weights.folder)
    assert read(folder, "w").tolist() == [1.0, 3.0]
    assert (folder / "tokenizer.json").read_text() == "of trained"
    assert manifest.metrics == {"tensors": 1.0, "distance": pytest.approx(2**0.5), "share": 0.25}
    assert set(manifest.models) == {"base", "@i1-dpo"}


async def test_a_second_attempt_finds_the_first_one_s_work(tmp_path: Path) -> None:
    world = World(tmp_path)
    first = await world.run()
    world.results.clear()
    (tmp_path / "base" / "config.json").write_text("{}")
    for name in ("base", "trained"):
        for file in (tmp_path / name).iterdir():
            file.unlink()
        (tmp_path / name).rmdir()
    write(world.base, BEFORE)
    assert await world.run() == first


async def test_models_without_a_mean_end_the_stage_for_good(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="only one has the tensor v"):
        await World(tmp_path, {**AFTER, "v": ("F32", [1.0])}).run()
