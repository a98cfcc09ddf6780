"""Folders of one attempt on a machine's own disk, and which of them may go.

Two runs may train the same stage on one machine at the same time, each for a store of its own: what they need there has
names of its own (`messages.run_name`). Every process that uses such a folder holds it, by a lock that the kernel frees
when the process ends, however that happens. A folder that nobody holds was left by a killed attempt.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path


def scratch_folder(run_name: str) -> Path:
    """Where the workers of a machine keep local files; the same on every machine."""
    return Path(tempfile.gettempdir()) / f"moaa-{run_name}"


def hold(folder: Path) -> int:
    """Make the folder, if it is not there, and keep it: `remove_others` of another process leaves it alone until this
    one ends, or closes the descriptor that is returned. Several processes may hold one; no child inherits it.

    Raises:
        OSError: it cannot be made, or its file system has no locks.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue  # removed as abandoned before it was opened
        fcntl.flock(held, fcntl.LOCK_SH)
        if _is_at(folder, held):
            return held
        os.close(held)


def remove_others(folder: Path, run_name: str) -> None:
    """Remove what killed attempts of the same stage left beside `folder`, whose name ends with `run_name`."""
    prefix = folder.name.removesuffix(run_name) + run_name.partition("-")[0]
    for other in folder.parent.glob(f"{prefix}-*"):
        if other.name != folder.name:
            _remove_abandoned(other)


def _remove_abandoned(folder: Path) -> None:
    with contextlib.suppress(OSError):  # held, gone already, or another user's
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)


def _is_at(folder: Path, held: int) -> bool:
    """Whether the folder at this path is the one that is held: it may have been removed before the lock was had."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(folder.stat(), os.fstat(held))
    return False
