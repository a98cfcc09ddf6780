"""A worker's whole session in this process, from encoded rows to the published model; only Ray Train is not there.

Killed after a checkpoint and resumed by another attempt, it has to end as an undisturbed one: adapters, the best
weights and batches of sequences together.
"""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from moaa.errors import Fenced
from moaa.plan.stage import Kind
from tests.training_steps import one_process
from tests.training_world import World, conversations, pairs, resource

pytestmark = [
    pytest.mark.timeout(900),
    # Libraries' own, at import and first use.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]
SFT = {
    "adapter": {"type": "LoRA", "rank": 8, "dropout": "0.1"}, "learningRate": "2e-2", "zeroStage": 2, "heldOut": "0.2",
    "evalSteps": 2, "keep": "Best", "batchOf": "Sequences", "batchSize": 4, "epochs": "5", "checkpointSteps": 3,
}  # fmt: skip
ROWS = 24


class Killed(BaseException):
    """No handler of the session's takes it for its own."""


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with one_process(tmp_path_factory.mktemp("student")) as folder:
        yield folder


class RayTrain:
    """Ray Train's part of one worker: it stores checkpoints, and is killed after some."""

    def __init__(self, checkpoints: Path, *, dies_at: int | None, reported: Callable[[int], None]) -> None:
        self._checkpoints = checkpoints
        self._dies_at = dies_at
        self._reported = reported

    def report(self, metrics: Any, *, checkpoint: Any, checkpoint_dir_name: str, **_options: Any) -> None:
        from moaa_jobs.training.shared.checkpoints import CheckpointManifest

        shutil.move(checkpoint.path, self._checkpoints / checkpoint_dir_name)
        manifest = CheckpointManifest.model_validate(metrics)
        (self._checkpoints / f"{checkpoint_dir_name}.json").write_text(manifest.model_dump_json())
        self._reported(metrics["step"])
        if metrics["step"] == self._dies_at:
            raise Killed

    def stand_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import ray.train
        import ray.train.torch
        import torch

        context = SimpleNamespace(get_world_rank=lambda: 0, get_local_rank=lambda: 0)
        monkeypatch.setattr(ray.train, "get_context", lambda: context)
        monkeypatch.setattr(ray.train, "get_checkpoint", lambda: None)
        monkeypatch.setattr(ray.train, "report", self.report)
        monkeypatch.setattr(ray.train.torch, "get_device", lambda: torch.device("cpu"))


def attempt(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    *,
    dpo: dict[str, Any] | None = None,
    dies_at: int | None = None,
    fenced_at: int | None = None,
) -> Any:
    """The `LoopResult` of one attempt at SFT, or at DPO with these fields, which is killed or loses its stage to a
    later one after some step."""
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    from moaa.store.fencing import claim
    from moaa_jobs.stages import dpo as dpo_stage
    from moaa_jobs.stages import sft as sft_stage
    from moaa_jobs.training.driver import publish, train
    from moaa_jobs.training.shared.messages import SHARD
    from moaa_jobs.training.worker.place import Worker
    from moaa_jobs.training.worker.session import Session

    spec = resource(world.root / "store", world.student, workers=1, sft=SFT, dpo=dpo or {})
    if dpo is None:
        kind, recipe = Kind.SFT, sft_stage.RECIPE
        made = asyncio.run(world.stage(Kind.GENERATE, "conversations", conversations(ROWS)))
    else:
        kind, recipe = Kind.DPO, dpo_stage.RECIPE
        made = asyncio.run(world.stage(Kind.JUDGE, "pairs", pairs(ROWS)))
    job = world.job(spec, kind, [made])
    context = world.context(spec, job)

    async def configure() -> Any:
        token = await claim(context.store, publish.path_of(job), SHARD)
        rows = await train._encode_rows(job, context, recipe)
        return await train._resuming(await train._configure(job, context, recipe, token, rows), context)

    config = asyncio.run(configure())

    def reported(step: int) -> None:
        if step == fenced_at:
            asyncio.run(claim(context.store, publish.path_of(job), SHARD))

    checkpoints = world.root / "store" / config.checkpoints / config.run_name
    RayTrain(checkpoints, dies_at=dies_at, reported=reported).stand_in(monkeypatch)
    checkpoints.mkdir(parents=True)
    with asyncio.Runner() as runner:
        worker = Worker(
            config, context.store, runner, rank=0, local_rank=0, local_ranks=range(1),
            scratch=world.root / f"scratch-{config.run_name}",
        )  # fmt: skip
        try:
            worker.fetch()
            return Session(worker).run()
        finally:
            unset_hf_deepspeed_config()  # or the next attempt would load its models sharded
            worker.close()


def weights_of(world: World, result: Any) -> dict[str, Any]:
    from safetensors.torch import load_file

    assert result.model.uri is not None
    return load_file(world.root / "store" / result.model.uri / "model.safetensors")


def test_a_killed_session_ends_as_an_undisturbed_one(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    undisturbed, disturbed = World(tmp_path / "a", student), World(tmp_path / "b", student)
    wanted = attempt(undisturbed, monkeypatch)
    with pytest.raises(Killed):
        attempt(disturbed, monkeypatch, dies_at=6)
    found = attempt(disturbed, monkeypatch)
    assert (wanted.resumed_step, found.resumed_step) == (0, 6)
    assert found.curve == wanted.curve, "every figure of every step"
    looks = {row.step: row.eval_loss for row in wanted.curve if row.eval_loss is not None}
    assert found.kept_step == wanted.kept_step == min(looks, key=lambda step: looks[step])
    assert looks[wanted.kept_step] < max(looks.values())
    assert wanted.curve[-1].epoch == pytest.approx(5, abs=0.5), "an epoch counts sequences"
    mine, theirs = weights_of(disturbed, found), weights_of(undisturbed, wanted)
    assert mine.keys() == theirs.keys()
    assert not any("lora" in name for name in mine), "adapters are merged"
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())


def test_a_session_whose_stage_is_anothers_writes_no_checkpoint(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every one written an older one goes, which may be what the other attempt goes on from."""
    world = World(tmp_path, student)
    with pytest.raises(Fenced, match="attempt 2 has taken over from attempt 1"):
        attempt(world, monkeypatch, fenced_at=3)
    assert [folder.name for folder in tmp_path.glob("store/**/checkpoints/*/step-*[0-9]")] == ["step-000003"]


@pytest.mark.parametrize("zero_stage", [2, 3])
def test_a_student_that_is_its_own_ref_model_is_loaded_once_before_training(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zero_stage: int
) -> None:
    """It is tried with rows end to end, scores the pairs and is trained, as one that is loaded anew each time is."""
    from transformers import AutoModelForCausalLM

    from moaa_jobs.training.worker.weights.models import Models

    dpo = {"zeroStage": zero_stage, "epochs": "1", "beta": "0.1", "learningRate": "1e-3", "checkpointSteps": 100}
    load, loaded = AutoModelForCausalLM.from_pretrained, []

    def counted(folder: Path, **options: Any) -> Any:
        loaded.append(Path(folder).resolve())
        return load(folder, **options)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", counted)
    (tmp_path / "once").mkdir()
    (tmp_path / "anew").mkdir()
    found = attempt(World(tmp_path / "once", student), monkeypatch, dpo=dpo)
    assert found.packed
    assert loaded.count(student.resolve()) == 1
    assert len(loaded) == 2, "and what was made of it, to be checked"

    loaded.clear()
    monkeypatch.setattr(Models, "_loaded", lambda models, folder: models._load(folder))
    wanted = attempt(World(tmp_path / "anew", student), monkeypatch, dpo=dpo)
    assert loaded.count(student.resolve()) == 3
    assert found.curve == wanted.curve
    assert found.curve[-1].loss < found.curve[0].loss
