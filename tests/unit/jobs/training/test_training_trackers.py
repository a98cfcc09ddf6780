"""The curve on its way to trackers: names, what a resumed attempt sends, and what one that fails does to training."""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from moaa.api.training import Tracked, Trackers
from moaa.store.objects.directory import DirectoryStore
from moaa_jobs.training.shared.messages import CurveRow
from moaa_jobs.training.trackers import recorder as module
from moaa_jobs.training.trackers.recorder import Recorder
from moaa_jobs.training.trackers.tensorboard import EventFile, events_key


def row(step: int, *, loss: float | None = None) -> CurveRow:
    return CurveRow(
        step=step, epoch=step / 10, loss=1 / step if loss is None else loss, learning_rate=1e-5, grad_norm=2.0,
        tokens=100 * step, reward_accuracy=0.75, reward_margin=0.5, reward_chosen=0.25, reward_rejected=-0.25,
    )  # fmt: skip


class Fake:
    """Has `has` steps when it is opened; fails as often as it is told to."""

    name = "fake"

    def __init__(self, *, has: int = 0, fails: int = 0, words: str = "no route") -> None:
        self.has, self.fails, self.words = has, fails, words
        self.steps: list[int] = []
        self.opened = self.closed = 0
        self.took = threading.Event()

    def open(self) -> int:
        self.opened += 1
        return self.has

    def log(self, rows: Sequence[CurveRow]) -> None:
        if self.fails:
            self.fails -= 1
            raise ConnectionError(self.words)
        self.steps += [row.step for row in rows]
        self.took.set()

    def close(self) -> None:
        self.closed += 1


def test_a_tracker_gets_every_step_once_and_its_run_is_ended() -> None:
    fake = Fake()
    recorder = Recorder([fake], every_s=0.001)
    recorder.start([row(1), row(2)])
    assert fake.took.wait(10)
    for step in range(3, 250):
        recorder.add(row(step))
    recorder.close()
    assert (fake.steps, fake.opened, fake.closed) == (list(range(1, 250)), 1, 1)


def test_a_resumed_attempt_sends_what_the_tracker_does_not_have() -> None:
    """Its checkpoint is older than the last step that the attempt before had sent."""
    fake = Fake(has=7)
    recorder = Recorder([fake], every_s=0.001)
    recorder.start([row(step) for step in range(1, 6)])
    for step in range(6, 10):
        recorder.add(row(step))
    recorder.close()
    assert fake.steps == [8, 9]


def test_a_tracker_that_fails_is_told_once_and_has_all_in_the_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bad, good = Fake(fails=5), Fake()
    recorder = Recorder([bad, good], every_s=0.001, again_s=0.001)
    recorder.start([row(1)])
    assert bad.took.wait(10)
    recorder.add(row(2))
    recorder.close()
    assert bad.steps == good.steps == [1, 2]
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == (
        "tracker_failed tracker=fake error=ConnectionError: no route: training goes on, and the tracker is tried again"
    )
    assert said[1:] == ["tracker_works_again tracker=fake"]


def test_a_tracker_that_never_works_is_told_with_what_it_lacks(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    fake = Fake(fails=10**9)
    recorder = Recorder([fake], every_s=0.001, again_s=0.001)
    recorder.start([row(1), row(2)])
    recorder.close()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert said[1] == "tracker_incomplete tracker=fake steps=2: the stage's table curve has them all"


def test_a_tracker_that_hangs_holds_up_neither_a_step_nor_the_end() -> None:
    class Stuck(Fake):
        def log(self, rows: Sequence[CurveRow]) -> None:  # noqa: ARG002  it takes none
            self.took.set()
            release.wait(60)

    release, stuck, good = threading.Event(), Stuck(), Fake()
    recorder = Recorder([stuck, good], every_s=0.001)
    recorder.start([row(1)])
    assert stuck.took.wait(10)
    recorder.add(row(2))
    recorder.close(within_s=0.05)
    assert good.steps == [1, 2]
    assert stuck.closed == 0
    release.set()


def test_what_a_service_says_tells_no_secret(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "k3y-0f-hers")
    fake = Fake(fails=1, words="401 at https://me:pass@server/api for k3y-0f-hers " + "x" * 400)
    recorder = Recorder([fake], every_s=0.001, again_s=0.001)
    recorder.start([row(1)])
    recorder.close()
    assert "401 at https://server/api for $WANDB_API_KEY" in caplog.text
    assert "hers" not in caplog.text
    assert "pass" not in caplog.text
    assert "x" * module.SHOWN not in caplog.text


async def read_events(store: DirectoryStore, folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The stored event file, by TensorBoard's own reader."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder.mkdir()
    key = events_key("stages/sft/a/b")
    (folder / key.rpartition("/")[2]).write_bytes(await store.get(key))
    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


async def test_tensorboard_reads_the_curve_in_the_store(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    first = Recorder([EventFile(store, "stages/sft/a/b", tmp_path / "one")], every_s=0.001)
    first.start([])
    for step in range(1, 8):
        first.add(row(step))
    first.close()
    # Goes on from step 5; step 6 and 7 are made again.
    again = Recorder([EventFile(store, "stages/sft/a/b", tmp_path / "two")], every_s=0.001)
    again.start([row(step) for step in range(1, 6)])
    for step in range(6, 11):
        again.add(row(step))
    again.close()
    found = await read_events(store, tmp_path / "read")
    assert set(found) == {
        "train/loss", "train/grad_norm", "train/learning_rate", "train/epoch", "train/num_tokens",
        "rewards/accuracies", "rewards/margins", "rewards/chosen", "rewards/rejected",
    }  # fmt: skip
    assert [step for step, _ in found["train/loss"]] == list(range(1, 11))
    assert [value for _, value in found["train/loss"]] == pytest.approx([1 / step for step in range(1, 11)])


def test_a_project_is_a_name_and_no_address() -> None:
    assert Trackers(wandb=Tracked(project="my-runs")).wandb == Tracked(project="my-runs")
    for wrong in ("https://x/y", "", "a b", "x" * 65):
        with pytest.raises(ValueError, match="project"):
            Trackers.model_validate({"wandb": {"project": wrong}})
