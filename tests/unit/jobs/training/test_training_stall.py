"""A training that stands still is asked, judged and ended; one that is slow or excused is not."""

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from moaa.errors import StageError, StoreError
from moaa.store.objects.directory import DirectoryStore
from moaa_jobs.training.driver.stall import ANSWERED_WITHIN_S, StallWatch, lagging, verdict
from moaa_jobs.training.shared.stall import LOOK_S, SILENT_S, Answer, Pulse

LIMIT_S = 600.0


class _World:
    """Two or more ranks over one store, and their driver; time passes when it is told to."""

    def __init__(self, folder: Path, *, workers: int = 2, machines: int = 1) -> None:
        self.now = 0.0
        self.store = DirectoryStore(folder / "store")
        self.store.prepare()
        self.workers = workers
        size = workers // machines
        self.pulses = []
        for rank in range(workers):
            first = rank - rank % size
            local = folder / f"machine-{first}"
            local.mkdir(exist_ok=True)
            ranks = range(first, first + size)
            self.pulses.append(Pulse(self.store, "stall", local, rank=rank, local_ranks=ranks, clock=self.clock))
        self.watch = StallWatch(self.store, "stall", workers=workers, minutes=10, clock=self.clock)
        self.stopped: set[int] = set()

    def clock(self) -> float:
        return self.now

    async def live(self, seconds: float, each: Callable[[], None] = lambda: None, *, shown: int = 1) -> None:
        """Every ten seconds: what the ranks do, their looks, the driver's look."""
        until = self.now + seconds
        while self.now < until:
            self.now += LOOK_S
            each()
            for rank, pulse in enumerate(self.pulses):
                if rank not in self.stopped:
                    await pulse.look()
            await self.watch.look(shown)

    def train(self, step: int, ranks: set[int] | None = None) -> None:
        for rank, pulse in enumerate(self.pulses):
            if ranks is None or rank in ranks:
                pulse.progress(step)


def test_a_stopped_rank_ends_the_attempt_with_its_own_last_stack(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = _World(tmp_path)

    async def run() -> None:
        world.train(7)
        await world.live(30)
        world.stopped.add(1)
        await world.live(LIMIT_S + 60)

    with caplog.at_level(logging.ERROR), pytest.raises(StageError) as ended:
        asyncio.run(run())
    said = str(ended.value)
    assert "rank 1 is silent for" in said
    assert "step 7" in said
    assert "rank 0 waits in" in said
    assert "stallMinutes: 10" in said
    assert world.now <= LIMIT_S + 60
    told = [record.getMessage() for record in caplog.records]
    assert [text.split(" step")[0] for text in told] == ["rank_stalled rank=0", "rank_stalled rank=1"]
    assert all("test_training_stall.py" in text for text in told)
    assert not isinstance(ended.value, StoreError)


def test_a_rank_that_hangs_alone_is_the_one_that_lags(tmp_path: Path) -> None:
    world = _World(tmp_path, workers=4, machines=2)

    async def run() -> None:
        world.train(7, {0, 1, 2})
        world.train(6, {3})
        await world.live(LIMIT_S + 60)

    with pytest.raises(StageError, match=r"rank 3 is behind: step 6, .*3 of 3 other ranks wait in"):
        asyncio.run(run())


def test_a_machine_that_is_gone_is_named_by_what_it_does_not_say(tmp_path: Path) -> None:
    world = _World(tmp_path, workers=4, machines=2)

    async def run() -> None:
        world.train(7)
        world.stopped |= {2, 3}
        await world.live(LIMIT_S + 2 * ANSWERED_WITHIN_S)

    with pytest.raises(StageError, match=r"rank 2 gave no answer .* rank 3 gave no answer"):
        asyncio.run(run())


@pytest.mark.parametrize("what", ["micro-steps", "excused", "shown"])
def test_what_is_slow_goes_on(tmp_path: Path, what: str) -> None:
    """Rank 0 waits twice as long as it may: for a rank that still makes micro-steps, or does what shows no progress."""
    world = _World(tmp_path)
    steps = iter(range(8, 100_000))

    async def run() -> None:
        world.train(7)
        match what:
            case "micro-steps":
                await world.live(1300, lambda: world.train(next(steps), {1}))
            case "excused":
                with world.pulses[1].excused("writing a checkpoint"):
                    await world.live(1300)
            case _:
                for step in range(4):
                    await world.live(LIMIT_S - LOOK_S, shown=step)

    asyncio.run(run())


def test_it_ends_once_the_excuse_is_over(tmp_path: Path) -> None:
    world = _World(tmp_path)

    async def run() -> None:
        world.train(7)
        with world.pulses[1].excused("writing a checkpoint"):
            await world.live(1500)
        await world.live(LIMIT_S + 120)

    with pytest.raises(StageError, match="no progress in 6"):
        asyncio.run(run())
    assert world.now > 1500 + LIMIT_S


def test_a_rank_that_is_stopped_in_an_excuse_is_not_excused(tmp_path: Path) -> None:
    world = _World(tmp_path)

    async def run() -> None:
        world.train(7)
        world.pulses[1].excuse("writing a checkpoint")
        await world.live(10)
        world.stopped.add(1)
        await world.live(LIMIT_S + 2 * SILENT_S)

    with pytest.raises(StageError, match="rank 1 is silent"):
        asyncio.run(run())


def test_without_answers_nothing_is_concluded(tmp_path: Path) -> None:
    """The workers wait for machines."""
    world = _World(tmp_path)
    world.stopped |= {0, 1}
    asyncio.run(world.live(2400))


def test_a_store_that_is_out_ends_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = _World(tmp_path)

    async def out(*_: object) -> None:
        raise StoreError("s3://bucket/key: HTTP 503")

    async def run() -> None:
        world.stopped |= {0, 1}
        world.train(7)
        monkeypatch.setattr(DirectoryStore, "put", out)
        monkeypatch.setattr(DirectoryStore, "get", out)
        await world.live(1300)

    asyncio.run(run())


def answer(rank: int, step: int, place: str) -> Answer:
    return Answer(question=1, rank=rank, step=step, seconds=700.0, excuse=None, stack=["a.py:1 f", place], looked=0.0)


def test_who_lags() -> None:
    same = {rank: answer(rank, 7, "c10d.py:9 all_reduce") for rank in range(3)}
    assert lagging(same, workers=3) == []
    assert lagging(same, workers=5) == [3, 4]
    assert lagging(same | {1: answer(1, 7, "data.py:3 read")}, workers=3) == [1]
    assert lagging(same | {2: answer(2, 5, "c10d.py:9 all_reduce")}, workers=3) == [2]


def test_a_thousand_ranks_do_not_fill_the_message() -> None:
    text = verdict({0: answer(0, 7, "c10d.py:9 all_reduce")}, workers=1000, minutes=10)
    assert "991 more ranks are behind" in text
    assert len(text) < 2000


def test_a_stack_is_bounded_and_holds_no_values(tmp_path: Path) -> None:
    """Files, lines and functions only: what a frame's variables hold may be secret."""
    world = _World(tmp_path, workers=1)
    asked, done = threading.Event(), threading.Event()

    def deep(left: int, token: str) -> None:
        if left:
            deep(left - 1, token)
        else:
            asked.set()
            done.wait(10)

    def rank() -> None:
        world.pulses = [Pulse(world.store, "stall", tmp_path / "machine-0", rank=0, local_ranks=[0], clock=world.clock)]
        deep(100, "hf_verysecret")

    thread = threading.Thread(target=rank)
    thread.start()
    asked.wait(10)
    asyncio.run(world.pulses[0].look())
    done.set()
    thread.join()
    body = (tmp_path / "machine-0" / "0.json").read_text()
    assert len(json.loads(body)["stack"]) == 40
    assert "verysecret" not in body
