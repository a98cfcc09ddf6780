"""One runner a folder. The next waits until everything that an earlier one started is gone."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

from moaa.errors import UsageError
from moaa.local.processes import guard
from moaa.local.show.events import Notify, ignore

POLL_S = 0.1
LEFTOVERS_S = 120.0
"""Guards give a job 30 s to flush, and sweep for 30 s at most."""


@asynccontextmanager
async def exclusive(folder: Path, notify: Notify = ignore) -> AsyncIterator[int]:
    """Hold the folder's lock; yields its descriptor, which every guard inherits.

    The kernel frees the lock when the runner and all its guards have ended, however that happens. A runner that starts
    after a killed one waits for that, since what is left still holds memory, GPUs and shards. Fencing keeps apart
    runners in other folders or on other machines, shard by shard.

    Raises:
        UsageError: another runner holds it, or what a killed one left does not go away.
    """
    with (folder / "lock").open("a+") as lock:
        await _acquire(lock, folder, notify)
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield lock.fileno()


async def _acquire(lock: IO[str], folder: Path, notify: Notify) -> None:
    loop = asyncio.get_running_loop()
    deadline, has_told = loop.time() + LEFTOVERS_S, False
    while not _try(lock):
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        if not holder.isdecimal() or _is_alive(int(holder)):
            raise UsageError(
                f"{folder}: another runner (process {holder}) uses this folder; wait for it, end it, or give --workdir"
            )
        if loop.time() > deadline:
            raise UsageError(
                f"{folder}: processes of an earlier runner (process {holder}) are still there after {LEFTOVERS_S:.0f} "
                f"s; `fuser {folder}/lock` lists their guards, end them or give --workdir"
            )
        if not has_told:
            notify("run_waiting", earlier=int(holder))
            has_told = True
        await asyncio.sleep(POLL_S)


def _try(lock: IO[str]) -> bool:
    with contextlib.suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _is_alive(pid: int) -> bool:
    _, state = guard.process_table().get(pid, (0, "X"))
    return state not in "ZX"
