"""The directory store: names, atomicity, full disks."""

import asyncio
import errno
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moaa.errors import AlreadyExists, NotFound, StoreError
from moaa.store.objects.directory import DirectoryStore
from moaa.store.objects.keys import HIDDEN, check_key
from moaa.store.objects.preflight import preflight


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    store = DirectoryStore(tmp_path / "store")
    store.prepare()
    return store


async def keys(store: DirectoryStore, prefix: str = "") -> list[str]:
    return [found.key async for found in store.list(prefix)]


def files_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_objects_round_trip(store: DirectoryStore, tmp_path: Path) -> None:
    await store.put("a/b", b"one")
    await store.put("a/b", b"two")
    assert await store.get("a/b") == b"two"
    assert await store.exists("a/b")
    assert not await store.exists("a")
    assert await store.get_range("a/b", 1, 2) == b"wo"
    with pytest.raises(StoreError, match="a/b: 2 bytes came for 3 bytes from byte 1"):
        await store.get_range("a/b", 1, 3)
    local = store.local_path("a/b")
    assert local is not None
    assert local.read_bytes() == b"two"
    (tmp_path / "file").write_bytes(b"x" * 3_000_000)
    await store.upload("big", tmp_path / "file")
    await store.download("big", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"x" * 3_000_000
    await store.delete("a/b")
    await store.delete("a/b")
    with pytest.raises(NotFound, match="a/b: no such object"):
        await store.get("a/b")
    with pytest.raises(NotFound):
        await store.get("a")
    with pytest.raises(NotFound):
        await store.download("none", tmp_path / "copy")
    assert files_in(tmp_path / "store" / HIDDEN) == []
    assert sorted(files_in(tmp_path)) == ["copy", "file", "store"]


async def test_one_of_many_creators_wins(store: DirectoryStore) -> None:
    async def create(number: int) -> int | None:
        try:
            await store.put_if_absent("a/k", str(number).encode())
        except AlreadyExists:
            return None
        return number

    won = [number for number in await asyncio.gather(*map(create, range(40))) if number is not None]
    assert [await store.get("a/k")] == [str(number).encode() for number in won]


async def test_listing_is_in_key_order_by_prefix(store: DirectoryStore) -> None:
    names = ["a-b/x", "a/b", "a/b.c", "a/b/c", "a0", "b", "é"]
    for name in reversed(names):
        if name != "a/b":
            await store.put(name, b"12")
    expected = sorted(set(names) - {"a/b"})
    assert await keys(store) == expected
    assert await keys(store, "a/") == ["a/b.c", "a/b/c"]
    assert await keys(store, "a/b") == ["a/b.c", "a/b/c"]
    assert await keys(store, "a") == [name for name in expected if name.startswith("a")]
    assert await keys(store, "nothing/here") == []
    assert [found.size_bytes async for found in store.list("b")] == [2]


@settings(deadline=None)
@given(st.text(alphabet="a./\\\n-\0é", max_size=12))
def test_a_key_never_leaves_the_root(key: str) -> None:
    try:
        check_key(key)
    except StoreError:
        return
    path = os.path.normpath(f"/base/{key}")
    assert path == f"/base/{key}"
    assert path.startswith("/base/")


@pytest.mark.parametrize(
    "key", ["", "/a", "a//b", "../a", "a/../b", "a/.", "a\\b", "a\nb", HIDDEN, "x" * 256, "a/" * 460]
)
async def test_bad_keys_are_refused(store: DirectoryStore, key: str) -> None:
    for use in (store.get(key), store.put(key, b""), store.put_if_absent(key, b""), store.delete(key)):
        with pytest.raises(StoreError, match="key "):
            await use


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
async def test_a_full_disk_leaves_nothing_behind(
    store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    await store.put("k", b"old")
    (tmp_path / "file").write_bytes(b"new")

    def full(fd: int, body: bytes) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "write", full)
    monkeypatch.setattr(os, "fsync", lambda fd: full(fd, b""))
    for write in (store.put("k", b"new"), store.put_if_absent("n", b"new"), store.upload("k", tmp_path / "file")):
        with pytest.raises(StoreError, match=r"no space left .* Free space, start again"):
            await write
    monkeypatch.undo()
    assert await store.get("k") == b"old"
    assert await keys(store) == ["k"]
    assert files_in(tmp_path / "store" / HIDDEN) == []


async def test_a_kill_before_the_name_leaves_no_object(
    store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Kill(BaseException):
        pass

    def kill(*args: object) -> None:
        raise Kill

    hidden = tmp_path / "store" / HIDDEN
    monkeypatch.setattr(os, "link", kill)
    monkeypatch.setattr(Path, "unlink", kill)  # nor does a killed process clean up
    with pytest.raises(Kill):
        await store.put_if_absent("k", b"body")
    monkeypatch.undo()
    assert not await store.exists("k")
    assert await keys(store) == []
    (left,) = hidden.iterdir()
    store.prepare()
    assert left.exists()
    os.utime(left, (time.time() - 2 * 86400,) * 2)
    store.prepare()
    assert not left.exists()


async def test_a_file_system_without_hard_links_is_refused(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*args: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(StoreError, match=r"no hard links .* point spec.storage.uri at a local disk, NFS or S3"):
        await store.put_if_absent("k", b"")


async def test_deleting_what_is_no_object_does_nothing_and_a_refusal_is_told(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*args: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    await store.put("a", b"")
    await store.put("c/d", b"")
    for nothing in ("a/b", "c", "e"):
        await store.delete(nothing)
    assert await keys(store) == ["a", "c/d"]
    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(StoreError, match="let the user that runs MoAA write"):
        await store.delete("a")


async def test_an_object_cannot_lie_below_an_object(store: DirectoryStore) -> None:
    await store.put("a", b"")
    with pytest.raises(StoreError, match="a is a file, so no object can lie below it") as caught:
        await store.put_if_absent("a/b", b"")
    assert not isinstance(caught.value, AlreadyExists)
    with pytest.raises(NotFound):
        await store.get("a/b")
    assert not await store.exists("a/b")


async def test_preflight_accepts_a_directory_and_leaves_nothing(store: DirectoryStore) -> None:
    await preflight(store)
    assert await keys(store) == []


async def test_a_look_that_fails_is_an_error_of_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A share that has gone away is neither "there is no such object" nor an error that nobody expects."""

    def gone(path: Path) -> bool:
        raise OSError(errno.ESTALE, "Stale file handle", str(path))

    monkeypatch.setattr(Path, "is_file", gone)
    with pytest.raises(StoreError, match="Stale file handle"):
        await DirectoryStore(tmp_path).exists("a/b")
