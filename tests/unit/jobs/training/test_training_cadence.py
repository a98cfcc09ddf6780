"""All ranks save after the same step, whatever their own clocks and uploads say."""

from pathlib import Path

import pytest

from moaa_jobs.training.worker.cadence import UPLOAD_WAIT_S, Cadence, Turn


class Shared:
    """What ranks have told each other."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    def set(self, key: str, value: str, /) -> None:
        assert key not in self.values, "one rank decides, once a step"
        self.values[key] = value.encode()

    def get(self, key: str, /) -> bytes:
        return self.values[key]


def test_every_rank_follows_the_clock_of_the_first() -> None:
    shared, clocks = Shared(), [0.0, 0.0]
    ranks = [
        Cadence(shared, rank=0, minutes=10, clock=lambda: clocks[0]),
        Cadence(shared, rank=1, minutes=10, clock=lambda: clocks[1]),
    ]
    saved = []
    for step in range(1, 31):
        clocks[0] += 150.0
        clocks[1] += 7.0 * step  # another machine's clock may run as it likes
        due = [rank.is_due(step) for rank in ranks]
        assert due[0] == due[1]
        if due[0]:
            saved.append(step)
            for rank in ranks:
                rank.saved()
    assert saved == [4, 8, 12, 16, 20, 24, 28]


def ranks(folders: list[Path | None], clock: list[float]) -> list[Turn]:
    """Which agree as a collective does: each is asked for what the others have said."""

    def free() -> bool:
        return all(folder is None or not folder.exists() for folder in folders)

    return [Turn(lambda mine: mine and free(), clock=lambda: clock[0]) for _ in folders]


def test_training_goes_on_while_a_checkpoint_is_uploaded_and_owes_the_next(tmp_path: Path) -> None:
    """Due every second step; the upload on one of two machines lasts from step 2 to step 5."""
    folders: list[Path | None] = [tmp_path / "a", None, tmp_path / "b", None]
    clock, saved = [0.0], []
    turns = ranks(folders, clock)
    for step in range(1, 9):
        if step == 5:
            (tmp_path / "b").rmdir()
        come = [turn.comes(due=step % 2 == 0, step=step) for turn in turns]
        assert len(set(come)) == 1
        if come[0]:
            saved.append(step)
            for turn, folder in zip(turns, folders, strict=True):
                turn.begun(folder)
            if step == 2:
                (tmp_path / "b").mkdir()
    assert saved == [2, 5, 6, 8]
    assert [turn.late for turn in turns] == [1] * 4


def test_an_upload_that_never_ends_ends_the_training(tmp_path: Path) -> None:
    clock = [0.0]
    (turn,) = ranks([tmp_path / "a"], clock)
    assert turn.comes(due=True, step=1)
    (tmp_path / "a").mkdir()
    turn.begun(tmp_path / "a")
    clock[0] = UPLOAD_WAIT_S
    assert not turn.comes(due=True, step=2)
    assert not turn.comes(due=False, step=3)
    clock[0] += 1
    with pytest.raises(TimeoutError, match=r"a: its upload takes more than 3600 s; .*checkpointSteps"):
        turn.comes(due=False, step=4)
