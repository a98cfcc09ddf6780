"""A training outlives an outage of the store: figures are let go, the fencing token is asked for again."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from moaa.errors import Fenced, StoreError
from moaa.store.fencing import Token, claim
from moaa.store.objects.directory import DirectoryStore
from moaa_jobs.training.driver import watch
from moaa_jobs.training.shared.messages import LoopConfig, LoopProgress, progress_key
from moaa_jobs.training.shared.progress import ProgressReader, ProgressWriter
from moaa_jobs.training.worker.place import Worker


class _Store:
    """A directory store whose verbs can be made to fail."""

    def __init__(self, folder: Path) -> None:
        self.inner = DirectoryStore(folder)
        self.inner.prepare()
        self.is_out = False
        self.puts: list[str] = []
        self.before_put: Callable[[], Awaitable[None]] | None = None

    def _check(self) -> None:
        if self.is_out:
            raise StoreError("s3://bucket/key: HTTP 503")

    async def get(self, key: str) -> bytes:
        self._check()
        return await self.inner.get(key)

    async def put(self, key: str, body: bytes) -> None:
        if self.before_put is not None:
            await self.before_put()
        self.puts.append(key)
        self._check()
        await self.inner.put(key, body)

    async def exists(self, key: str) -> bool:
        self._check()
        return await self.inner.exists(key)

    async def close(self) -> None:
        pass


@pytest.fixture
def flaky(tmp_path: Path) -> Any:
    return _Store(tmp_path / "store")


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def at(step: int) -> LoopProgress:
    return LoopProgress(phase="training", step=step, steps=9)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage().split(" error=")[0] for record in caplog.records]


def worker(store: Any, runner: asyncio.Runner, folder: Path) -> Worker:
    only: Any = {"stage_path": "stages/sft/a/b", "run_name": "b-1"}
    config = LoopConfig.model_construct(**only)
    return Worker(config, store, runner, rank=0, local_rank=0, local_ranks=range(1), scratch=folder)


def test_a_worker_trains_on_without_the_store(flaky: _Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    flaky.is_out = True
    with asyncio.Runner() as runner:
        rank0 = worker(flaky, runner, tmp_path)
        rank0.report(at(1))
        rank0.close()
    assert lines(caplog) == ["store_unreachable what=progress"]


def test_a_step_does_not_wait_for_a_put_and_the_newest_figures_win(flaky: _Store, tmp_path: Path) -> None:
    under_way, go = threading.Event(), threading.Event()

    async def stall() -> None:
        under_way.set()
        await asyncio.to_thread(go.wait)

    flaky.before_put = stall
    with asyncio.Runner() as runner:
        rank0 = worker(flaky, runner, tmp_path)
        rank0.report(at(1))
        assert under_way.wait(10)
        for step in range(2, 9):
            rank0.report(at(step))
        go.set()
        rank0.close()
        body = runner.run(flaky.inner.get(progress_key(rank0.config)))
    assert len(flaky.puts) == 2
    assert LoopProgress.model_validate_json(body).step == 8


def test_an_outage_is_one_line_however_long(flaky: _Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def read(reader: ProgressReader) -> list[LoopProgress | None]:
        seen = [await reader.read()]
        for is_out in (True, True, True, False):
            flaky.is_out = is_out
            seen.append(await reader.read())
        return seen

    writer = ProgressWriter(flaky, "progress.json")  # type: ignore[arg-type]  # the verbs that are used
    writer.write(at(3))
    writer.close()
    seen = asyncio.run(read(ProgressReader(flaky, "progress.json")))  # type: ignore[arg-type]
    assert seen == [at(3), None, None, None, at(3)]
    assert lines(caplog) == ["store_unreachable what=progress", "store_reachable_again what=progress"]


async def test_figures_before_any_worker_has_come_are_no_outage(
    flaky: _Store, caplog: pytest.LogCaptureFixture
) -> None:
    assert await ProgressReader(flaky, "progress.json").read() is None  # type: ignore[arg-type]
    assert lines(caplog) == []


async def owned(store: Any, clock: _Clock) -> watch.Ownership:
    claimed = await claim(store.inner, "stages/sft/a/b", "train")
    return watch.Ownership(Token(store, claimed.stage_path, claimed.shard, claimed.attempt), clock=clock)


async def test_a_token_that_cannot_be_asked_for_is_borne_for_a_while(
    flaky: _Store, caplog: pytest.LogCaptureFixture
) -> None:
    clock = _Clock()
    ownership = await owned(flaky, clock)
    flaky.is_out = True
    for _ in range(int(watch.UNTOLD_S / watch.FENCE_EVERY_S) - 1):
        clock.now += watch.FENCE_EVERY_S
        await ownership.look()
    assert lines(caplog) == ["store_unreachable what=fencing-token"]
    clock.now += watch.FENCE_EVERY_S
    with pytest.raises(StoreError, match="503"):
        await ownership.look()


async def test_an_answer_starts_the_time_anew(flaky: _Store) -> None:
    clock = _Clock()
    ownership = await owned(flaky, clock)
    for is_out in (True, False, True):
        flaky.is_out = is_out
        clock.now += watch.UNTOLD_S - 1
        await ownership.look()


async def test_a_later_attempt_that_was_seen_ends_the_training_at_once(flaky: _Store) -> None:
    clock = _Clock()
    ownership = await owned(flaky, clock)
    await claim(flaky.inner, "stages/sft/a/b", "train")
    clock.now += watch.FENCE_EVERY_S
    with pytest.raises(Fenced, match="attempt 2 has taken over"):
        await ownership.look()
