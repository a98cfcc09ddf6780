"""A folder that is being filled, beside its target under a name of its own. None is left behind for good.

The process that fills one holds a lock on it. A kill frees the lock, so the next process can tell an abandoned folder
from one in use, across containers too.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

_SUFFIX = ".partial"
_TRIES = 5
_LOOK_S = 1.0
"""Between two looks at a folder that another process fills."""


@contextlib.asynccontextmanager
async def partial_folder(target: Path) -> AsyncIterator[Path]:
    """An empty folder beside `target`, to be filled and renamed to it; what was not renamed is removed at the end.

    Abandoned ones beside it are removed first.

    Raises:
        OSError: the folder cannot be made.
    """
    await asyncio.to_thread(_remove_abandoned, target.parent)
    partial, lock = await asyncio.to_thread(_create, target)
    try:
        yield partial
    finally:
        try:
            await asyncio.to_thread(_remove, partial)
        finally:
            if lock is not None:
                os.close(lock)


@contextlib.asynccontextmanager
async def kept_folder(target: Path) -> AsyncIterator[None]:
    """`target` itself, to be filled by this process alone; another waits until this one has ended. What an earlier
    process has put there stays, but for the files that it had not finished (`.….partial`).

    Raises:
        OSError: the folder cannot be made.
    """
    await asyncio.to_thread(target.mkdir, parents=True, exist_ok=True)
    lock = await _wait_for_lock(target)
    try:
        if lock is not None:
            for half in target.rglob(f".*{_SUFFIX}"):
                half.unlink(missing_ok=True)
        yield
    finally:
        if lock is not None:
            os.close(lock)


async def _wait_for_lock(folder: Path) -> int | None:
    """None where the file system has no such locks: then two processes may fetch the same file, each whole."""
    while True:
        try:
            return _lock(folder)
        except BlockingIOError:
            await asyncio.sleep(_LOOK_S)
        except OSError:
            return None


def _create(target: Path) -> tuple[Path, int | None]:
    """A new folder and its lock; None where the file system has no such locks, so that nothing there ever counts as
    abandoned."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(_TRIES):
        partial = target.with_name(f".{target.name}.{uuid4().hex[:8]}{_SUFFIX}")
        partial.mkdir()
        try:
            return partial, _lock(partial)
        except (BlockingIOError, FileNotFoundError):
            continue  # taken for abandoned before it was locked, and removed by another process
        except OSError:
            return partial, None
    raise BlockingIOError(errno.EAGAIN, f"other processes removed a new folder {_TRIES} times in a row", str(target))


def _remove(partial: Path) -> None:
    """Also while the thread of a download that was cancelled puts one more file there: then it takes another try, after
    which that thread finds no folder to write to. What is left in spite of it, the next download removes."""
    for _ in range(_TRIES):
        shutil.rmtree(partial, ignore_errors=True)
        if not partial.exists():
            return


def _remove_abandoned(parent: Path) -> None:
    for partial in parent.glob(f".*{_SUFFIX}"):
        with contextlib.suppress(OSError):  # in use, gone already, or on a file system without locks
            lock = _lock(partial)
            shutil.rmtree(partial, ignore_errors=True)
            os.close(lock)


def _lock(folder: Path) -> int:
    """An open descriptor, which no child inherits, that holds the folder's lock.

    Raises:
        BlockingIOError: another process holds it.
        FileNotFoundError: the folder is gone.
        OSError: it is none, or the file system has no such locks.
    """
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder.stat()
    except OSError:
        os.close(lock)
        raise
    return lock
