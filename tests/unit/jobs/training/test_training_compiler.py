"""A machine with GPUs needs a C compiler, and says so before a model is loaded."""

from pathlib import Path

import pytest

from moaa.plan.stage import Kind
from moaa_jobs.runner.context import Permanent
from moaa_jobs.stages import sft
from moaa_jobs.training.driver import compiler
from tests.training_world import World, conversations, resource


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose PATH is one empty folder."""
    monkeypatch.delenv("CC", raising=False)
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(folder: Path, name: str, script: str) -> Path:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


async def test_training_on_gpus_without_a_compiler_ends_before_anything_is_read(bare: Path, tmp_path: Path) -> None:
    assert not list(bare.iterdir())
    world = World(tmp_path, tmp_path / "no-student")
    spec = resource(tmp_path / "store", world.student, sft={"packing": False}, dpo={})
    training = spec.spec.training.with_(resources=spec.spec.training.resources.with_(gpus_per_worker=1))
    spec = spec.with_(spec=spec.spec.with_(training=training))
    job = world.job(spec, Kind.SFT, [await world.stage(Kind.GENERATE, "conversations", conversations(2))])
    with pytest.raises(Permanent, match=r"gpusPerWorker: there is no C compiler.*Install gcc, libc6-dev"):
        await sft.run(job, world.context(spec, job))


def test_a_compiler_without_headers_is_no_compiler(bare: Path) -> None:
    program(bare, "gcc", "echo 'probe.c:1:10: fatal error: Python.h: No such file or directory' >&2; exit 1")
    with pytest.raises(Permanent, match=r"bin/gcc does not work \(probe.c:1:10: fatal error: Python.h.*python3-dev"):
        compiler.require()


def test_a_compiler_that_is_not_there_is_named(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(bare, "gcc", "exit 0")
    monkeypatch.setenv("CC", "/nowhere/cc")
    with pytest.raises(Permanent, match=r"/nowhere/cc does not work"):
        compiler.require()


@pytest.mark.parametrize("name", ["gcc", "clang"])
def test_either_compiler_will_do(bare: Path, name: str) -> None:
    program(bare, name, "exit 0")
    compiler.require()
