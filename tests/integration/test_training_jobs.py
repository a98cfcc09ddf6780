"""Whole training jobs on a real Ray, stopped where it hurts: a worker killed, the job killed, the job told to stop.

One module-wide story keeps the number of Ray starts low: two SFT runs of the same rows, one under ZeRO-2 that loses a
worker, one under ZeRO-3 whose job is killed and started again, must end alike; DPO then starts from the first.
"""

import asyncio
import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from moaa.api import MoAA
from moaa.contract.job import StageJob
from moaa.local.processes.process import become_subreaper
from moaa.plan.stage import Kind
from moaa.store.stages.manifest import StageManifest
from moaa.store.stages.shards import read_manifest, read_table
from tests.training_world import World, build_student, conversations, pairs, resource

pytestmark = pytest.mark.timeout(900)

SFT = {"epochs": "4", "learningRate": "4e-3", "checkpointSteps": 5, "checkpointMinutes": 60, "packing": True}
DPO = {
    "epochs": "3",
    "learningRate": "1e-3",
    "checkpointSteps": 5,
    "beta": "0.1",
    "zeroStage": 2,
    "heldOut": "0.1",
    "evalSteps": 4,
}
ROWS, STEPS = 80, 40
JOB_S = 300.0


@dataclass
class Running:
    """A job process and where its checkpoints lie."""

    process: subprocess.Popen[bytes]
    log: Path
    stage: Path
    earlier: frozenset[Path]
    """Checkpoints of attempts before this one, some written by workers that outlived their job for a moment."""

    def wait_for(self, found: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + JOB_S
        while not found():
            assert self.process.poll() is None, f"the job ended before {what}:\n{self.log.read_text()[-3000:]}"
            assert time.monotonic() < deadline, f"no {what} in {JOB_S:.0f} s:\n{self.log.read_text()[-3000:]}"
            time.sleep(0.1)

    def wait_for_checkpoint(self) -> None:
        self.wait_for(lambda: bool(checkpoints(self.stage) - self.earlier), "a checkpoint")

    def end(self) -> None:
        code = self.process.wait(JOB_S)
        assert code == 0, f"exit code {code}:\n{self.log.read_text()[-3000:]}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def descendants(self) -> dict[int, str]:
        return descendants(self.process.pid)


def descendants(root: int) -> dict[int, str]:
    """Command lines of all live processes below `root`, by process id."""
    parents: dict[int, int] = {}
    commands: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                commands[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (OSError, IndexError):
                continue
    below = {root}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    return {pid: commands[pid] for pid in below - {root} if pid in commands}


def alive(processes: Collection[int]) -> list[str]:
    """Command lines of those that still run. One that has ended and is not yet reaped has none."""
    found = []
    for pid in processes:
        with contextlib.suppress(OSError):
            if command := Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode():
                found.append(command)
    return found


def wait_until_gone(processes: Collection[int]) -> None:
    """Ray's agents notice last, after their own time-outs."""
    deadline = time.monotonic() + 90
    while left := alive(processes):
        assert time.monotonic() < deadline, f"Ray outlived its driver: {left}"
        time.sleep(0.5)


def checkpoints(stage: Path) -> frozenset[Path]:
    return frozenset(stage.glob("checkpoints/*/step-*.json"))


def start(world: World, spec: MoAA, job: StageJob) -> Running:
    """`python -m moaa_jobs`, as an executor starts it."""
    folder = world.root / "jobs" / f"{job.stage}-{time.monotonic_ns()}"
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(job.model_dump_json(by_alias=True))
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "MOAA_WORK_DIR": str(world.root / "work"),
        "MOAA_PROGRESS_FILE": str(world.root / f"{job.stage}-progress.json"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    log, stage = folder / "log", world.root / "store" / path_of(job)
    earlier = checkpoints(stage)
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "moaa_jobs", "--job", str(folder / "job.json")],
            stdout=out, stderr=out, env=environment, cwd=folder,
        )  # fmt: skip
    return Running(process, log, stage, earlier)


def path_of(job: StageJob) -> str:
    return f"stages/{job.kind}/{job.inputs[:32]}/{job.fingerprint[:32]}"


def finished(world: World, job: StageJob) -> tuple[StageManifest, list[dict[str, Any]]]:
    """Manifest and curve of a finished training."""

    async def read() -> tuple[StageManifest, list[dict[str, Any]]]:
        manifest = await read_manifest(world.store, path_of(job))
        assert manifest is not None
        return manifest, await read_table(world.store, manifest, "curve")

    return asyncio.run(read())


def weights(world: World, manifest: StageManifest) -> dict[str, Any]:
    """Of the exported model, loaded as anybody would."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    uri = manifest.outputs["model"].uri
    assert uri is not None
    folder = world.root / "store" / uri
    assert AutoTokenizer.from_pretrained(folder).chat_template
    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    return dict(model.state_dict())


def plain_weights(folder: Path) -> dict[str, Any]:
    from transformers import AutoModelForCausalLM

    return dict(AutoModelForCausalLM.from_pretrained(folder).state_dict())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Below a subreaper, as `moaa run` is one: what outlives its job does not fall to process 1."""
    root = tmp_path_factory.mktemp("train")
    become_subreaper()
    before = descendants(os.getpid())
    yield World(root, build_student(root / "student"))
    wait_until_gone(descendants(os.getpid()).keys() - before.keys())


def sft_job(
    world: World, zero_stage: int, *, stall_minutes: int = 10, epochs: str = str(SFT["epochs"])
) -> tuple[MoAA, StageJob]:
    sft = {**SFT, "zeroStage": zero_stage, "epochs": epochs}
    spec = resource(world.root / "store", world.student, sft=sft, dpo=DPO, stall_minutes=stall_minutes)
    made = asyncio.run(world.stage(Kind.GENERATE, "conversations", conversations(ROWS)))
    return spec, world.job(spec, Kind.SFT, [made])


@pytest.fixture(scope="module")
def lost_worker(world: World) -> tuple[StageJob, StageManifest, list[dict[str, Any]]]:
    """SFT under ZeRO-2 that loses a worker to kill -9 after its first checkpoint."""
    spec, job = sft_job(world, 2)
    running = start(world, spec, job)
    running.wait_for_checkpoint()
    workers = [pid for pid, command in running.descendants().items() if "RayTrainWorker" in command]
    os.kill(workers[0], signal.SIGKILL)
    running.end()
    return job, *finished(world, job)


def test_a_lost_worker_is_repaired_from_the_last_checkpoint(
    lost_worker: tuple[StageJob, StageManifest, list[dict[str, Any]]], world: World
) -> None:
    job, manifest, curve = lost_worker
    assert manifest.metrics["resumed_step"] >= 5
    assert [row["step"] for row in curve] == list(range(1, STEPS + 1))
    assert curve[-1]["loss"] < 0.5 * curve[0]["loss"]
    assert manifest.attempt == 1
    assert manifest.licenses == {"student": "apache-2.0"}
    assert manifest.metrics["packing"] == 1.0
    assert not (world.root / "store" / path_of(job) / "checkpoints").exists() or not any(
        file.is_file() for file in (world.root / "store" / path_of(job) / "checkpoints").rglob("*")
    )
    progress = json.loads((world.root / "i1-sft-progress.json").read_text())
    assert progress["steps"] == STEPS
    events = EventAccumulator(str(world.root / "store" / path_of(job) / "tensorboard"))
    events.Reload()
    losses = [(one.step, one.value) for one in events.Scalars("train/loss")]
    assert losses == [(row["step"], pytest.approx(row["loss"])) for row in curve], "no step twice, none missing"


def test_a_killed_job_goes_on_where_its_newest_checkpoint_is(
    lost_worker: tuple[StageJob, StageManifest, list[dict[str, Any]]], world: World
) -> None:
    spec, job = sft_job(world, 3)
    first = start(world, spec, job)
    first.wait_for_checkpoint()
    below = first.descendants()
    assert any("RayTrainWorker" in command for command in below.values())
    first.kill()
    second = start(world, spec, job)
    second.end()
    wait_until_gone(below)
    manifest, curve = finished(world, job)
    assert manifest.attempt == 2
    assert manifest.metrics["resumed_step"] >= 5
    assert "training_resumes" in second.log.read_text()

    # The same rows, seed and world: neither the kills nor the ZeRO stage may show.
    _, other, other_curve = lost_worker
    assert [row["loss"] for row in curve] == pytest.approx([row["loss"] for row in other_curve], rel=1e-3)
    assert [row["tokens"] for row in curve] == [row["tokens"] for row in other_curve]
    mine, theirs = weights(world, manifest), weights(world, other)
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        assert (value - theirs[name]).abs().max() < 1e-3, name


def test_a_stopped_worker_ends_the_attempt_and_the_next_one_goes_on(world: World) -> None:
    """The other one waits in a collective, which would give up after two hours. The training is so long that it is
    still under way when its first checkpoint has been seen."""
    spec, job = sft_job(world, 1, stall_minutes=1, epochs="12")
    first = start(world, spec, job)
    first.wait_for_checkpoint()
    below = first.descendants()
    workers = [pid for pid, command in below.items() if "RayTrainWorker" in command]
    os.kill(workers[0], signal.SIGSTOP)
    stopped = time.monotonic()
    assert first.process.wait(JOB_S) == 1
    said = first.log.read_text()
    assert time.monotonic() - stopped < 120, said[-3000:]
    assert "training stands still" in said
    assert "(stopped, or without a processor): step" in said
    for rank in (0, 1):
        told = said.partition(f"rank_stalled rank={rank} ")[2].partition("rank_stalled")[0]
        assert "training/worker/session.py" in told, f"no stack of rank {rank}:\n{said[-3000:]}"
    wait_until_gone(below)

    second = start(world, spec, job)
    second.end()
    manifest, curve = finished(world, job)
    assert manifest.attempt == 2
    assert manifest.metrics["resumed_step"] >= 5
    assert [row["step"] for row in curve] == list(range(1, 3 * STEPS + 1))
    assert curve[-1]["loss"] < 0.5 * curve[0]["loss"]


def test_dpo_raises_margins_and_survives_a_stop_and_a_change_of_workers(
    lost_worker: tuple[StageJob, StageManifest, list[dict[str, Any]]], world: World
) -> None:
    _, student, _ = lost_worker
    made = asyncio.run(world.stage(Kind.JUDGE, "pairs", pairs(ROWS)))
    jobs = {}
    for workers in (2, 1):
        spec = resource(world.root / "store", world.student, workers=workers, sft=SFT, dpo=DPO)
        jobs[workers] = (spec, world.job(spec, Kind.DPO, [made, student.result()], student="@i1-sft"))
    assert jobs[1][1].fingerprint == jobs[2][1].fingerprint
    first = start(world, *jobs[2])
    first.wait_for_checkpoint()
    first.process.terminate()
    assert first.process.wait(JOB_S) == 143
    assert not first.descendants()
    scored = sorted(first.stage.parent.glob("ref-logps/*/**/*.*"))
    assert [file.suffix for file in scored] == [".json", ".arrow", ".arrow"], "of each worker a part"
    second = start(world, *jobs[1])
    second.end()
    assert sorted(first.stage.parent.glob("ref-logps/*/**/*.*")) == scored, "the pairs were scored again"
    manifest, curve = finished(world, jobs[1][1])
    assert "resume_weights_only" in second.log.read_text()
    assert manifest.metrics["resumed_step"] >= 5
    assert manifest.metrics["held_out_rows"] in (6, 7, 8), "two prompts of 26"
    last = math.ceil((ROWS - manifest.metrics["held_out_rows"]) * 3 / 8)
    assert [row["step"] for row in curve] == list(range(1, last + 1))
    looks = [row for row in curve if row["eval_loss"] is not None]
    assert [row["step"] for row in looks] == sorted({*range(4, last + 1, 4), last}), "by two workers, then by one"
    # Two prompts of letters that no pair taught: what they show has been computed, which way it goes is chance.
    assert all(0 < row["eval_loss"] < 2 and 0 <= row["eval_reward_accuracy"] <= 1 for row in looks)
    assert len({row["eval_reward_margin"] for row in looks}) == len(looks), "every look is a new one"
    assert curve[0]["loss"] == pytest.approx(0.693147, abs=1e-5)
    assert curve[0]["reward_margin"] == pytest.approx(0.0, abs=1e-4)
    assert curve[-1]["reward_margin"] > 0.05
    assert curve[-1]["reward_accuracy"] > 0.8
    assert set(manifest.models) == {"@i1-sft"}
    weights(world, manifest)


def test_adapters_and_the_best_weights_survive_a_kill_and_a_change_of_workers(world: World) -> None:
    """The model is a plain one, of the best look; the second attempt has both from the first one's checkpoint."""
    lora = {"adapter": {"type": "LoRA", "rank": 8}, "learningRate": "2e-2", "zeroStage": 3}
    best = {"heldOut": "0.1", "evalSteps": 3, "keep": "Best", "patience": 100}
    made = asyncio.run(world.stage(Kind.GENERATE, "conversations", conversations(ROWS)))
    jobs = {}
    for workers in (2, 1):
        spec = resource(world.root / "store", world.student, workers=workers, sft=SFT | lora | best, dpo=DPO)
        jobs[workers] = (spec, world.job(spec, Kind.SFT, [made]))
    first = start(world, *jobs[2])
    first.wait_for_checkpoint()
    first.kill()
    written = json.loads(max(checkpoints(first.stage)).read_text())["files"]
    assert {"adapter_model.safetensors", "best/adapter_model.safetensors", "best/probe.pt"} <= set(written)
    assert not any("model.safetensors" in name and "adapter" not in name for name in written), "adapters only"
    second = start(world, *jobs[1])
    second.end()
    manifest, curve = finished(world, jobs[1][1])
    assert "resume_weights_only" in second.log.read_text()
    assert manifest.metrics["resumed_step"] >= 5
    looks = {row["step"]: row["eval_loss"] for row in curve if row["eval_loss"] is not None}
    assert manifest.metrics["kept_step"] == min(looks, key=lambda step: looks[step])
    assert min(looks.values()) < looks[max(looks)], "at this rate the last weights are not the best"
    trained, before = weights(world, manifest), plain_weights(world.student)
    assert trained.keys() == before.keys(), "adapters are merged"
    changed = {name.split(".")[-2] for name, value in trained.items() if (value - before[name]).abs().max() > 0}
    assert changed == {f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down")}
