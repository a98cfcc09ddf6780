"""A real S3 server for tests: versitygw over a directory, on a free loopback port, with made-up keys.

The process is stopped by its id when the block ends, and dies with the one that started it.
"""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.tools import ToolUnavailable, tool
from tests.with_parent import with_parent

START_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class S3Server:
    """A running server with one empty bucket."""

    endpoint: str
    bucket: str
    access_key_id: str
    secret_access_key: str
    folder: Path
    """Where the server keeps objects, as plain files below the bucket's name."""
    pid: int

    @property
    def environment(self) -> dict[str, str]:
        """What `moaa`, boto3 and Ray read."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
        }


@contextmanager
def run_s3_server(folder: Path, *, bucket: str = "moaa-test") -> Iterator[S3Server]:
    """Run the server over `folder` (made when missing) until the block ends.

    Raises:
        ToolUnavailable: it did not start; the text ends with its log.
    """
    root, log_file = folder / "data", folder / "server.log"
    (root / bucket).mkdir(parents=True)
    port = _free_port()
    keys = {"ROOT_ACCESS_KEY": "test-access-key", "ROOT_SECRET_KEY": "test-secret-key"}
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            with_parent([tool("versitygw"), "--port", f"127.0.0.1:{port}", "posix", root]),
            env={**os.environ, **keys},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_open(port, process, log_file)
        yield S3Server(
            endpoint=f"http://127.0.0.1:{port}",
            bucket=bucket,
            access_key_id=keys["ROOT_ACCESS_KEY"],
            secret_access_key=keys["ROOT_SECRET_KEY"],
            folder=root,
            pid=process.pid,
        )
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_open(port: int, process: "subprocess.Popen[bytes]", log_file: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise ToolUnavailable(f"the S3 server did not open port {port}: {log_file.read_text()[-2000:]}")
