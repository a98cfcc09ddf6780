"""Keys from EKS Pod Identity are found and used by both clients of the store, boto3 and Arrow's C++ one.

The agent of a node is the test's own: it gives out the keys of a real S3 server to whoever shows the token. That
association, role and agent work together on EKS, nobody has tried.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.integration.s3_server import S3Server, run_s3_server

TOKEN = "a token as the API server projects it into a pod"
STATIC = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")
BOTO3 = """
import asyncio
from moaa.api.resource import Storage
from moaa.store.objects.open import open_store
from moaa.store.objects.preflight import preflight
asyncio.run(preflight(open_store(Storage(uri="s3://moaa-test/run"))))
"""
ARROW = """
from moaa.api.resource import Storage
from moaa_jobs.training.shared.storage import file_system
files, root = file_system(Storage(uri="s3://moaa-test/run"))
with files.open_output_stream(f"{root}/checkpoint") as out:
    out.write(b"rank 0")
assert files.get_file_info(f"{root}/checkpoint").size == 6
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with run_s3_server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@contextmanager
def agent(server: S3Server) -> Iterator[str]:
    """The address of an agent that knows the server's keys."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = (
                f'{{"AccessKeyId": "{server.access_key_id}", "SecretAccessKey": "{server.secret_access_key}", '
                '"Token": "", "AccountId": "111122223333", "Expiration": "2099-01-01T00:00:00Z"}'
            ).encode()
            self.send_response(200 if self.headers["Authorization"] == TOKEN else 403)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}/v1/credentials"
    finally:
        running.shutdown()
        thread.join()
        running.server_close()


def use_store(server: S3Server, code: str, token: Path) -> "subprocess.CompletedProcess[str]":
    """Run `code` with the environment that EKS gives a pod, and no keys."""
    with agent(server) as address:
        environment = {name: value for name, value in (os.environ | server.environment).items() if name not in STATIC}
        environment |= {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": address,
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token),
            "AWS_EC2_METADATA_DISABLED": "true",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        return subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
        )


@pytest.mark.parametrize("code", [BOTO3, ARROW], ids=["boto3", "arrow"])
def test_a_pod_reaches_the_store_with_its_identity(server: S3Server, code: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    done = use_store(server, code, tmp_path / "token")
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.parametrize("code", [BOTO3, ARROW], ids=["boto3", "arrow"])
def test_another_token_opens_nothing(server: S3Server, code: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("another")
    assert use_store(server, code, tmp_path / "token").returncode != 0
