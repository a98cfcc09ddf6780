"""One runner a folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moaa.errors import UsageError


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. The kernel lets go of it however the process ends.

    Runners in other folders or on other machines are kept apart by fencing, shard by shard; this only says so earlier.

    Raises:
        UsageError: another runner holds it.
    """
    with (folder / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise UsageError(
                f"{folder}: another runner (process {holder}) uses this folder; wait for it, end it, or give --workdir"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield
