"""A model of the Hub comes into a real S3 server once, though resolve is killed; servers, trainings and other runs take
it from there. The Hub is a stand-in that counts."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from moaa.contract.weights import BringWeights
from moaa.store.objects.open import StoreSettings, open_store
from moaa.weights.find import ModelWeights
from moaa.weights.hub import commit_digest, is_brought
from moaa_jobs.stages import resolve
from moaa_jobs.training.shared import weights
from tests.fakes.hub import running_hub
from tests.fakes.hub_state import LARGE, Blob, FakeHub, Repository
from tests.integration.s3_server import S3Server, run_s3_server
from tests.model_folder import write_model
from tests.unit.data_bench import Bench, jsonl

WAIT_S = 240


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with run_s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FakeHub]:
    with running_hub() as hub:
        for name in ("student", "member"):
            folder = write_model(tmp_path / name, config={"rope_theta": len(name)})
            files = {f.name: Blob(f.read_bytes(), f.name.endswith(LARGE)) for f in folder.iterdir()}
            made = Repository(is_private=False)
            made.commit("main", {**files, "pytorch_model.bin": Blob(b"the same again", True)}, "first")
            hub.repositories["models", f"me/{name}"] = made
        yield hub
        hub.go_on.set()


def bench(folder: Path, s3: S3Server, **changes: Any) -> Bench:
    models = [
        {"name": "llama", "source": "hf://me/student"},
        {"name": "volume", "source": "hf://me/member"},
        {"name": "judge", "endpoint": {"url": "http://h/v1", "model": "j"}},
    ]
    storage = {"uri": f"s3://{s3.bucket}/run", "endpoint": s3.endpoint, "region": "us-east-1"}
    return Bench(folder, models=models, storage=storage, **changes)


def environment(folder: Path, s3: S3Server, hub: FakeHub) -> dict[str, str]:
    own = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(folder / "hf")}
    return {**os.environ, **s3.environment, **own}


def start_resolve(folder: Path, owner: Bench, told: dict[str, str]) -> "subprocess.Popen[str]":
    """The job itself, on a machine that has nothing yet."""
    file = folder / "job.json"
    folder.mkdir(exist_ok=True)
    file.write_text(owner.context("i0-resolve").job.model_dump_json(by_alias=True))
    command = [sys.executable, "-m", "moaa_jobs", "--job", str(file)]
    machine = {**told, "MOAA_WORK_DIR": str(folder / "work"), "MOAA_TERMINATION_LOG": str(folder / "answer")}
    return subprocess.Popen(command, env=machine, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def ended(process: "subprocess.Popen[str]") -> str:
    """What a process that succeeded has logged."""
    _, log = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, log
    return log


def digest(hub: FakeHub, name: str) -> str:
    return commit_digest(f"hf://me/{name}", hub.repositories["models", f"me/{name}"].branches["main"])


@pytest.mark.timeout(600)
def test_the_hub_is_read_once_by_two_replicas_a_training_and_a_second_run(
    tmp_path: Path, s3: S3Server, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    owner, told = bench(tmp_path, s3), environment(tmp_path, s3, hub)
    brought = {
        f"{repository}/{file}": blob.content
        for (_, repository), held in hub.repositories.items()
        for file, blob in (held.files() or {}).items()
        if is_brought(file)
    }

    # Killed while it waits for a file of the first model.
    hub.held = "me/student/model.safetensors"
    first = start_resolve(tmp_path / "first", owner, told)
    assert hub.is_held.wait(WAIT_S), first.poll()
    first.kill()
    first.communicate()
    hub.held = ""
    hub.go_on.set()
    before = hub.reads.copy()
    assert "i0-resolve" not in owner.results
    there = stored(s3)
    assert len(there) < len(brought)

    # Gone on with elsewhere: what the store has does not come again, but for what is looked at.
    ended(start_resolve(tmp_path / "second", owner, told))
    assert {file.rpartition("/")[2] for file in stored(s3)} >= {"manifest.json", "model.safetensors"}
    again = hub.reads - before
    assert set(hub.reads) == set(brought)
    assert max(again.values()) == 1
    assert again["me/student/model.safetensors"] == again["me/member/model.safetensors"] == 1

    # From here on nobody asks the Hub for a file.
    hub.reads.clear()
    hub.looks.clear()
    replicas = [start_fetch(tmp_path / f"replica-{i}", hub, owner, told) for i in range(2)]
    for process in replicas:
        ended(process)
    student = {file.removeprefix("me/student/"): body for file, body in brought.items() if "student" in file}
    for i in range(2):
        folder = tmp_path / f"replica-{i}" / "weights"
        assert {name: (folder / name).read_bytes() for name in student} == student
    trained, kept = asyncio.run(bring_and_resolve_anew(owner, hub, tmp_path, s3))
    assert {name: (trained / name).read_bytes() for name in student} == student
    assert kept == stored(s3)
    assert (hub.reads, hub.looks) == ({}, {})


def stored(s3: S3Server) -> list[str]:
    """Copies, by their keys."""
    root = s3.folder / s3.bucket / "run" / "stages" / "weights"
    return [file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file()]


def start_fetch(folder: Path, hub: FakeHub, owner: Bench, told: dict[str, str]) -> "subprocess.Popen[str]":
    folder.mkdir()
    task = BringWeights(
        storage=owner.resource.spec.storage,
        model=owner.resource.spec.model("llama"),
        digest=digest(hub, "student"),
        target=str(folder / "weights"),
        options=str(folder / "vllm.yaml"),
        deadline_s=WAIT_S,
    )
    own = {"MOAA_FETCH": task.model_dump_json(by_alias=True, exclude_defaults=True)}
    command = [sys.executable, "-m", "moaa_jobs.fetch"]
    return subprocess.Popen(command, env={**told, **own}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


async def bring_and_resolve_anew(owner: Bench, hub: FakeHub, folder: Path, s3: S3Server) -> tuple[Path, list[str]]:
    """The student as a training has it, and what is stored; then another run, with other data, resolves its models."""
    storage = owner.resource.spec.storage
    store = open_store(storage, StoreSettings())
    try:
        wanted = ModelWeights(digest=digest(hub, "student"), model=owner.resource.spec.model("llama"))
        trained = await weights.bring(wanted, store, storage, folder / "scratch")
        kept = stored(s3)
        other = jsonl(folder / "data" / "other.jsonl", [{"prompt": "another"}])
        data = owner.resource.spec.data.model_dump(mode="json", by_alias=True, exclude_unset=True)
        context = bench(folder, s3, data={**data, "sft": [{"source": other, "limit": 1}]}).context("i0-resolve")
        await resolve.run(context.job, replace(context, store=store))
        return trained, kept
    finally:
        await store.close()
