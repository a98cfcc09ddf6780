"""The store in a folder, on a local disk or NFS. Needs hard links, rename and fsync to mean what POSIX says.

Every write goes to a file of its own in `.moaa-tmp`, is flushed to the disk, and gets its name in one step: `rename`
replaces, `link` creates and fails when the name is taken, also against another machine on NFS. Then the folder is
flushed, so that after a power cut the object is there whole or not at all. What a kill leaves in `.moaa-tmp` is never
read; the next store opened there removes it after a day.
"""

import asyncio
import contextlib
import errno
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from moaa.errors import NO_SPACE, AlreadyExists, NotFound, StoreError
from moaa.store.objects.base import ObjectInfo, whole_range
from moaa.store.objects.keys import HIDDEN, check_key, check_prefix

_STALE_S = 24 * 3600.0
"""No single write takes a day, so an older unfinished file has no writer."""
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


class DirectoryStore:
    """Objects as files below `root`; key `a/b` is the file `root/a/b`. Blocking calls run in threads."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._unfinished = root / HIDDEN

    @property
    def uri(self) -> str:
        return self._root.as_uri()

    async def get(self, key: str) -> bytes:
        return await asyncio.to_thread(self._read, key)

    async def get_range(self, key: str, start: int, size_bytes: int) -> bytes:
        return await asyncio.to_thread(self._read, key, start, size_bytes)

    async def put(self, key: str, body: bytes) -> None:
        await asyncio.to_thread(self._write, key, lambda fd: _write_all(fd, body), os.replace)

    async def put_if_absent(self, key: str, body: bytes) -> None:
        await asyncio.to_thread(self._write, key, lambda fd: _write_all(fd, body), self._link)

    async def exists(self, key: str) -> bool:
        return await asyncio.to_thread(self._exists, key)

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        for found in await asyncio.to_thread(self._list, check_prefix(prefix)):
            yield found

    async def delete(self, key: str) -> None:
        await asyncio.to_thread(self._delete, key)

    async def upload(self, key: str, file: Path) -> None:
        await asyncio.to_thread(self._write, key, lambda fd: _copy(file, fd), os.replace)

    async def download(self, key: str, file: Path) -> None:
        await asyncio.to_thread(self._download, key, file)

    def local_path(self, key: str) -> Path | None:
        return self._path(key)

    async def close(self) -> None:
        """Nothing is held open."""

    def prepare(self) -> None:
        """Remove what kills left unfinished more than a day ago, where there is any and it may be removed.

        Makes nothing, so a reader leaves no trace. The first write makes the folder.
        """
        with contextlib.suppress(OSError):
            for path in self._unfinished.iterdir():
                if time.time() - path.stat().st_mtime > _STALE_S:
                    path.unlink()

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _read(self, key: str, start: int = 0, size_bytes: int | None = None) -> bytes:
        """The object, or a range of it."""
        try:
            with self._path(key).open("rb") as file:
                file.seek(start)
                body = file.read() if size_bytes is None else file.read(size_bytes)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise NotFound(f"{self.uri}/{key}: no such object") from error
        except OSError as error:
            raise self._failed(key, error) from error
        return body if size_bytes is None else whole_range(f"{self.uri}/{key}", body, start, size_bytes)

    def _exists(self, key: str) -> bool:
        try:
            return self._path(key).is_file()
        except OSError as error:
            raise self._failed(key, error) from error

    def _write(self, key: str, fill: Callable[[int], None], name: Callable[[Path, Path], None]) -> None:
        target = self._path(key)
        unfinished = self._unfinished / uuid4().hex
        try:
            self._unfinished.mkdir(parents=True, exist_ok=True)
            fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            try:
                fill(fd)
                os.fsync(fd)
            finally:
                os.close(fd)
            _make_folders(target.parent)
            name(unfinished, target)
            _sync_folder(target.parent)
        except FileExistsError as error:
            raise AlreadyExists(f"{self.uri}/{key}: exists") from error
        except OSError as error:
            raise self._failed(key, error) from error
        finally:
            with contextlib.suppress(OSError):
                unfinished.unlink()

    def _link(self, unfinished: Path, target: Path) -> None:
        try:
            os.link(unfinished, target)
        except FileExistsError:
            # Another writer's object must be as durable as our own before it is relied on.
            _sync_folder(target.parent)
            raise
        except OSError as error:
            if error.errno in _NO_LINKS:
                raise StoreError(
                    f"{self.uri}: the file system has no hard links ({error.strerror}), so objects cannot be created "
                    "safely; point spec.storage.uri at a local disk, NFS or S3"
                ) from error
            raise

    def _list(self, prefix: str) -> Sequence[ObjectInfo]:
        start = self._root / prefix.rpartition("/")[0]
        try:
            return [found for found in self._walk(start) if found.key.startswith(prefix)]
        except OSError as error:
            raise self._failed(prefix, error) from error

    def _walk(self, folder: Path) -> Iterator[ObjectInfo]:
        """All files below in ascending key order: a folder sorts as its name with `/`, as keys in S3 do."""
        try:
            with os.scandir(folder) as found:
                entries = [(e.name + "/" if e.is_dir() else e.name, e) for e in found if e.name != HIDDEN]
        except (FileNotFoundError, NotADirectoryError):
            return
        for name, entry in sorted(entries, key=lambda pair: pair[0]):
            path = folder / entry.name
            if name.endswith("/"):
                yield from self._walk(path)
            else:
                with contextlib.suppress(FileNotFoundError):  # deleted since
                    about = entry.stat()
                    written = datetime.fromtimestamp(about.st_mtime, UTC)
                    yield ObjectInfo(path.relative_to(self._root).as_posix(), about.st_size, written)

    def _delete(self, key: str) -> None:
        try:
            self._path(key).unlink()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            pass  # there is no such object
        except OSError as error:
            raise self._failed(key, error) from error

    def _download(self, key: str, file: Path) -> None:
        partial = file.with_name(f".{file.name}.{uuid4().hex[:8]}.partial")
        try:
            shutil.copyfile(self._path(key), partial)
            os.replace(partial, file)
        except (FileNotFoundError, IsADirectoryError) as error:
            if self._path(key).is_file():
                raise StoreError(f"{file.parent}: no such folder to download {key} to; make it first") from error
            raise NotFound(f"{self.uri}/{key}: no such object") from error
        except OSError as error:
            raise StoreError(
                f"{file}: {error.strerror}, while downloading {key}; free space, then start again"
            ) from error
        finally:
            partial.unlink(missing_ok=True)

    def _failed(self, key: str, error: OSError) -> StoreError:
        where = f"{self.uri}/{key}"
        if error.errno in NO_SPACE:
            return StoreError(
                f"{where}: no space left ({error.strerror}); nothing was written. Free space, start again"
            )
        if isinstance(error, PermissionError):
            return StoreError(f"{where}: {error.strerror}; let the user that runs MoAA write below spec.storage.uri")
        return StoreError(
            f"{where}: {error.strerror or error}; check the disk below spec.storage.uri, then start again"
        )


def _write_all(fd: int, body: bytes) -> None:
    view = memoryview(body)
    while view:
        view = view[os.write(fd, view) :]


def _copy(source: Path, fd: int) -> None:
    with source.open("rb") as reader, os.fdopen(os.dup(fd), "wb") as writer:
        shutil.copyfileobj(reader, writer, 1024 * 1024)


def _make_folders(folder: Path) -> None:
    """Like `mkdir -p`, flushing each parent that got a new entry."""
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{folder} is a file, so no object can lie below it") from None
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
