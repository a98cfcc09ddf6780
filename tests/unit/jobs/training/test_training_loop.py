"""The entry point of a Ray Train worker, without torch and without Ray."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from moaa.errors import Fenced, NotFound
from moaa_jobs.training.shared.messages import LoopConfig
from moaa_jobs.training.worker import loop, place
from moaa_jobs.training.worker.place import Worker


class _Store:
    """Keeps what is left in it from one worker group to the next."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    async def put(self, key: str, body: bytes) -> None:
        self.kept[key] = body

    async def get(self, key: str) -> bytes:
        if key not in self.kept:
            raise NotFound(key)
        return self.kept[key]

    async def close(self) -> None:
        pass


class _Loop:
    """The loop with another session; `left` counts how often the process group was left."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, scratch: Path, run: Callable[[], None]) -> None:
        self.left = 0
        self.store = _Store()

        class Session:
            def __init__(self, _worker: Worker) -> None:
                pass

            def run(self) -> None:
                run()

        def create(config: Any, runner: asyncio.Runner) -> Worker:
            store: Any = self.store
            return Worker(config, store, runner, rank=1, local_rank=0, local_ranks=range(1, 2), scratch=scratch)

        def leave() -> None:
            self.left += 1

        session: Any = ModuleType("session")
        empty: Any = LoopConfig.model_construct  # what the loop reads of it is patched
        session.Session = Session
        monkeypatch.setitem(sys.modules, "moaa_jobs.training.worker.session", session)
        monkeypatch.setattr(LoopConfig, "model_validate_json", staticmethod(lambda _: empty()))
        monkeypatch.setattr(LoopConfig, "on_gpu", False)
        monkeypatch.setattr(place, "refusal_key", lambda _: "refused")
        monkeypatch.setattr(place, "stall_folder", lambda _: "stall")
        monkeypatch.setattr(loop, "out_of_memory", lambda error, _: f"too little memory: {error}")
        monkeypatch.setattr(loop, "join", lambda **_: None)
        monkeypatch.setattr(loop, "leave", leave)
        monkeypatch.setattr(Worker, "create", staticmethod(create))
        monkeypatch.setattr(Worker, "fetch", lambda _: None)
        for name in ("HF_HUB_DISABLE_TELEMETRY", "TOKENIZERS_PARALLELISM", "DS_ACCELERATOR", "TORCHDYNAMO_DISABLE"):
            monkeypatch.setenv(name, "1")


def test_a_worker_leaves_what_is_still_being_uploaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray Train uploads the last checkpoint after the loop has returned."""
    checkpoint = tmp_path / "output" / "checkpoint-5" / "zero_pp_rank_1_mp_rank_00_optim_states.pt"

    def run() -> None:
        checkpoint.parent.mkdir(parents=True)
        checkpoint.write_bytes(b"optimiser")

    world = _Loop(monkeypatch, tmp_path, run)
    assert loop.train_loop({"config": "{}"}) is None
    assert checkpoint.read_bytes() == b"optimiser"
    assert world.left == 1


def test_a_worker_that_fails_does_not_wait_for_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may be in a collective that it will never join; Ray Train ends them once it has the error."""

    def run() -> None:
        raise OSError("no route to host")

    world = _Loop(monkeypatch, tmp_path, run)
    with pytest.raises(OSError, match="no route"):
        loop.train_loop({"config": "{}"})
    assert world.left == 0


@pytest.mark.parametrize("error", [MemoryError("cannot allocate"), RuntimeError("CUDA out of memory. Tried 2 GiB")])
def test_the_worker_group_after_one_without_memory_does_not_try_again(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[int] = []

    def run() -> None:
        runs.append(1)
        raise error

    world = _Loop(monkeypatch, tmp_path, run)
    with pytest.raises(type(error)):
        loop.train_loop({"config": "{}"})
    assert loop.train_loop({"config": "{}"}) == {"refused": f"too little memory: {error}"}
    assert (len(runs), world.left) == (1, 0)


def test_any_other_failure_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> None:
        raise RuntimeError("connection closed by peer")

    world = _Loop(monkeypatch, tmp_path, run)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="closed"):
            loop.train_loop({"config": "{}"})
    assert world.store.kept == {}


def test_a_worker_that_is_fenced_says_so_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> None:
        raise Fenced("attempt 2 has taken over")

    world = _Loop(monkeypatch, tmp_path, run)
    assert loop.train_loop({"config": "{}"}) == {"fenced": "attempt 2 has taken over"}
    assert world.left == 0
