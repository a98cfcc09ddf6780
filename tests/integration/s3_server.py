"""A real S3 server for tests: versitygw over a directory, on a free loopback port, with made-up keys.

The binary is looked for in PATH, $MOAA_TOOLS and ~/.cache/moaa/bin; else Go builds it into the latter (about a minute,
once). The process is stopped by its id when the block ends.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

VERSION = "v1.8.0"
MODULE = f"github.com/versity/versitygw/cmd/versitygw@{VERSION}"
CACHE = Path.home() / ".cache" / "moaa" / "bin"
BUILD_TIMEOUT_S = 900
START_TIMEOUT_S = 30.0


class ServerUnavailable(RuntimeError):
    """The server cannot be built or started; says what to install."""


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


def find_binary() -> Path:
    """The server's binary, built when it is nowhere.

    Raises:
        ServerUnavailable: it is nowhere and there is no Go, or the build fails.
    """
    name = "versitygw"
    found = shutil.which(name)
    places = [Path(found)] if found else []
    if os.environ.get("MOAA_TOOLS"):
        places.append(Path(os.environ["MOAA_TOOLS"]) / name)
    places.append(CACHE / name)
    for place in places:
        if place.is_file():
            return place
    go = shutil.which("go")
    if go is None:
        raise ServerUnavailable(
            f"{name} is in none of PATH, $MOAA_TOOLS and {CACHE}, and there is no Go to build it; install Go 1.24 or "
            f"later, or put the binary there"
        )
    CACHE.mkdir(parents=True, exist_ok=True)
    built = subprocess.run(
        [go, "install", MODULE],
        env={**os.environ, "GOBIN": str(CACHE)},
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
    )
    if built.returncode:
        raise ServerUnavailable(f"go install {MODULE} failed: {built.stderr[-2000:]}")
    return CACHE / name


@contextmanager
def run_s3_server(folder: Path, *, bucket: str = "moaa-test") -> Iterator[S3Server]:
    """Run the server over `folder` (made when missing) until the block ends.

    Raises:
        ServerUnavailable: it did not start; the text ends with its log.
    """
    root, log_file = folder / "data", folder / "server.log"
    (root / bucket).mkdir(parents=True)
    port = _free_port()
    keys = {"ROOT_ACCESS_KEY": "test-access-key", "ROOT_SECRET_KEY": "test-secret-key"}
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [find_binary(), "--port", f"127.0.0.1:{port}", "posix", root],
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
    raise ServerUnavailable(f"the S3 server did not open port {port}: {log_file.read_text()[-2000:]}")
