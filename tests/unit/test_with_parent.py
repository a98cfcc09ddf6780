"""A server of a test ends with the test's process."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNNER = """
import subprocess, sys
from tests.with_parent import with_parent
server = subprocess.Popen(with_parent(["sleep", "600"]))
print(server.pid, flush=True)
sys.stdin.read()
"""


def is_alive(pid: int) -> bool:
    """Not gone, and no zombie whose parent is slow."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_dies_with_who_started_it(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUNNER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as runner:
        assert runner.stdout is not None
        pid = int(runner.stdout.readline())
        deadline = time.monotonic() + 30
        while Path(f"/proc/{pid}/comm").read_text() != "sleep\n":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        runner.send_signal(number)
        runner.wait(30)
        while is_alive(pid):
            assert time.monotonic() < deadline
            time.sleep(0.01)
