"""Folders that are being filled: whole or absent, and nothing left of those who died or failed."""

import errno
import fcntl
import shutil
from pathlib import Path

import pytest

from moaa.errors import StoreError
from moaa.store.objects.directory import DirectoryStore
from moaa.store.stages.folders import fetch_objects
from moaa.store.stages.partial import partial_folder

KEYS = ("config.json", "sub/model.safetensors")


class FullDisk(DirectoryStore):
    """Gives the first object and then has no room."""

    async def download(self, key: str, file: Path) -> None:
        if key != KEYS[0]:
            file.write_bytes(b"half")
            raise StoreError(f"{file}: no space left")
        await super().download(key, file)


def bucket(folder: Path, kind: type[DirectoryStore] = DirectoryStore) -> DirectoryStore:
    for key in KEYS:
        (folder / "bucket" / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / "bucket" / key).write_text(key)
    return kind(folder / "bucket")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_a_model_whose_download_fails_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "cache" / "digest"
    for _ in range(2):
        with pytest.raises(StoreError, match="no space left"):
            await fetch_objects(bucket(tmp_path, FullDisk), KEYS, target)
        assert names(tmp_path / "cache") == []
    await fetch_objects(bucket(tmp_path), KEYS, target)
    assert names(tmp_path / "cache") == ["digest"]
    assert [(target / key).read_text() for key in KEYS] == list(KEYS)


async def test_what_a_killed_process_left_goes_and_what_is_being_filled_stays(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (cache / ".digest.0badc0de.partial" / "sub").mkdir(parents=True)
    (cache / ".other.0badc0de.partial").mkdir()
    async with partial_folder(cache / "another") as busy:
        await fetch_objects(bucket(tmp_path), KEYS, cache / "digest")
        assert names(cache) == sorted([busy.name, "digest"])
    assert names(cache) == ["digest"]


async def test_a_file_that_comes_while_the_folder_is_being_removed_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove, late = shutil.rmtree, [True]

    def overtaken(folder: Path, *, ignore_errors: bool) -> None:
        """As if a cancelled download's thread had put a file there between the last look and the removal."""
        if not late:
            remove(folder, ignore_errors=ignore_errors)
        late.clear()

    monkeypatch.setattr(shutil, "rmtree", overtaken)
    async with partial_folder(tmp_path / "cache" / "digest") as partial:
        (partial / "model.safetensors").write_text("half")
    assert names(tmp_path / "cache") == []


async def test_whoever_is_second_keeps_the_first_ones_folder(tmp_path: Path) -> None:
    target = tmp_path / "cache" / "digest"
    await fetch_objects(bucket(tmp_path), KEYS, target)
    inode = target.stat().st_ino
    await fetch_objects(bucket(tmp_path), KEYS, target)
    assert target.stat().st_ino == inode
    assert names(tmp_path / "cache") == ["digest"]


async def test_a_disk_that_takes_no_folder_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(StoreError, match="File exists, while downloading"):
        await fetch_objects(bucket(tmp_path), KEYS, tmp_path / "cache" / "digest")


async def test_without_locks_nothing_counts_as_abandoned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    (tmp_path / "cache" / ".digest.0badc0de.partial").mkdir(parents=True)
    await fetch_objects(bucket(tmp_path), KEYS, tmp_path / "cache" / "digest")
    assert names(tmp_path / "cache") == [".digest.0badc0de.partial", "digest"]
