"""A worker process on a directory store, killed with SIGKILL again and again, then left to finish."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moaa.store.objects.directory import DirectoryStore
from moaa.store.stages.shards import read_shard
from tests.store_worker import SELDOM, SHARD, STAGE, Call, Server, published_rows, recorded, replay, run_shard

NUM_ROWS = 120
NUM_KILLS = 6
ROWS = tuple(f"row{number:03d}" for number in range(NUM_ROWS))


class LoggingServer(Server):
    """Notes each call in a file before it answers, so that a killed process has told what it asked."""

    def __init__(self, log: Path) -> None:
        super().__init__()
        self._log = log
        self._salt = time.monotonic_ns()

    def answer(self, call: Call) -> str:
        with self._log.open("a") as log:
            log.write(" ".join(call) + "\n")
        time.sleep(0.002)
        return f"{super().answer(call)} {self._salt}"


def main(root: str, log: str, journals: str) -> None:
    store, server = DirectoryStore(Path(root)), LoggingServer(Path(log))
    if journals:
        asyncio.run(run_shard(store, server, rows=ROWS, limits=SELDOM, journals=Path(journals)))
    else:
        asyncio.run(run_shard(store, server, rows=ROWS))


def start(root: Path, log: Path, journals: str) -> "subprocess.Popen[bytes]":
    code = f"from tests.integration.test_store_kill import main; main({str(root)!r}, {str(log)!r}, {journals!r})"
    return subprocess.Popen([sys.executable, "-c", code])


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def wait_for_lines(log: Path, count: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while len(lines(log)) < count and process.poll() is None:
        assert time.monotonic() < deadline, "the worker asks nothing"
        time.sleep(0.01)


@pytest.mark.parametrize(("journals", "lost"), [("", 2), ("journals", 1)], ids=["another machine", "this machine"])
def test_a_killed_process_resumes_without_asking_again(tmp_path: Path, journals: str, lost: int) -> None:
    """`lost`: the call that is under way, and where only what was flushed is found, the one before."""
    store, log = DirectoryStore(tmp_path / "store"), tmp_path / "asked.log"
    for kill in range(NUM_KILLS):
        before, durable = len(lines(log)), asyncio.run(recorded(store))
        process = start(tmp_path / "store", log, journals and str(tmp_path / journals))
        wait_for_lines(log, before + 25 + 7 * kill, process)
        process.kill()
        process.wait()
        assert not durable & set(lines(log)[before:])
    main(str(tmp_path / "store"), str(log), journals and str(tmp_path / journals))

    async def check() -> None:
        shard = await read_shard(store, STAGE, SHARD)
        assert shard is not None
        rows = await published_rows(store, shard)
        assert [row["id"] for row in rows] == list(ROWS)
        assert rows == await replay(store, rows=ROWS)

    asyncio.run(check())
    assert len(lines(log)) <= 3 * NUM_ROWS + lost * NUM_KILLS
