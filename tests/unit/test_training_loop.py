"""The entry point of a Ray Train worker, without torch and without Ray."""

import asyncio
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from moaa_jobs.training import loop
from moaa_jobs.training.config import LoopConfig


class _Store:
    async def close(self) -> None:
        pass


def test_a_worker_leaves_what_is_still_being_uploaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray Train uploads the last checkpoint after the loop has returned."""
    checkpoint = tmp_path / "output" / "checkpoint-5" / "zero_pp_rank_1_mp_rank_00_optim_states.pt"

    class Session:
        def __init__(self, _worker: loop.Worker) -> None:
            pass

        def run(self) -> None:
            checkpoint.parent.mkdir(parents=True)
            checkpoint.write_bytes(b"optimiser")

    def create(config: Any, runner: asyncio.Runner) -> loop.Worker:
        store: Any = _Store()
        return loop.Worker(config, store, runner, rank=1, local_rank=0, local_ranks=range(1, 2), scratch=tmp_path)

    session: Any = ModuleType("session")
    session.Session = Session
    monkeypatch.setitem(sys.modules, "moaa_jobs.training.session", session)
    monkeypatch.setattr(LoopConfig, "model_validate_json", staticmethod(lambda _: LoopConfig.model_construct()))
    monkeypatch.setattr(LoopConfig, "on_gpu", False)
    monkeypatch.setattr(loop, "join", lambda **_: None)
    monkeypatch.setattr(loop, "leave", lambda: None)
    monkeypatch.setattr(loop.Worker, "create", staticmethod(create))
    monkeypatch.setattr(loop.Worker, "fetch", lambda _: None)
    for name in ("HF_HUB_DISABLE_TELEMETRY", "TOKENIZERS_PARALLELISM", "DS_ACCELERATOR", "TORCHDYNAMO_DISABLE"):
        monkeypatch.setenv(name, "1")
    assert loop.train_loop({"config": "{}"}) is None
    assert checkpoint.read_bytes() == b"optimiser"
