"""Folders of attempts on a machine's own disk: only what no living process holds may go."""

import fcntl
import os
from pathlib import Path

import pytest

from moaa_jobs.training.shared.scratch import hold, remove_others


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_what_killed_attempts_left_is_removed(tmp_path: Path) -> None:
    for name in ("moaa-abcd-1-aa", "moaa-abcd-2-bb", "moaa-abce-1-aa", "moaa-ray-abcd-1-aa", "other"):
        (tmp_path / name / "inside").mkdir(parents=True)
    remove_others(tmp_path / "moaa-abcd-2-bb", "abcd-2-bb")
    assert names(tmp_path) == ["moaa-abcd-2-bb", "moaa-abce-1-aa", "moaa-ray-abcd-1-aa", "other"]


def test_what_is_held_stays_until_the_last_one_lets_go(tmp_path: Path) -> None:
    other, own = tmp_path / "moaa-abcd-1-aa", tmp_path / "moaa-abcd-1-bb"
    first, second = hold(other), hold(other)
    (other / "weights").mkdir()
    for held in (first, second):
        remove_others(own, "abcd-1-bb")
        assert (other / "weights").is_dir()
        os.close(held)
    remove_others(own, "abcd-1-bb")
    assert names(tmp_path) == []


def test_a_folder_that_was_removed_before_it_is_held_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the opening and the lock another process takes it for abandoned."""
    folder, flock = tmp_path / "moaa-abcd-1-aa", fcntl.flock
    taken: list[Path] = []

    def late(descriptor: int, kind: int) -> None:
        if not taken:
            folder.rmdir()
            taken.append(folder)
        flock(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", late)
    held = hold(folder)
    assert taken
    assert os.path.samestat(folder.stat(), os.fstat(held))
    os.close(held)
