"""The startup probe against a server that is there in part, and the listing that a person asks for."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml

from moaa.api.reading.load import load
from moaa.cli.main import main
from moaa_operator.render.preview import preview
from moaa_operator.render.server import CANARY
from moaa_operator.settings import Settings
from tests.render_world import RESOURCE, pod_templates, rayjob_objections, restricted

EXAMPLES = sorted(Path("examples").glob("*.yaml"))


@contextmanager
def vllm(health: int, chat: int, body: str) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(health, "")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(chat, body)

        def _answer(self, code: int, text: str) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def probe(port: int) -> subprocess.CompletedProcess[str]:
    """As the kubelet runs it: the text alone, with isolated Python."""
    command = [sys.executable, "-I", "-c", CANARY, str(port), "m"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("health", "chat", "body", "code", "said"),
    [
        (200, 200, '{"choices": [{}]}', 0, ""),
        (503, 200, '{"choices": [{}]}', 1, "/health answered 503"),
        (200, 400, "no chat template", 1, "answered 400: no chat template"),
        (200, 200, '{"choices": []}', 1, ""),
        (200, 200, "not json", 1, "no answer yet"),
    ],
    ids=["answers", "not-healthy", "cannot-chat", "says-nothing", "garbage"],
)
def test_a_server_is_up_when_it_gave_a_token(health: int, chat: int, body: str, code: int, said: str) -> None:
    with vllm(health, chat, body) as port:
        ended = probe(port)
    assert ended.returncode == code
    assert said in ended.stdout
    assert ended.stderr == ""


def test_no_server_is_no_traceback() -> None:
    ended = probe(9)
    assert ended.returncode == 1
    assert ended.stdout.startswith("no answer yet")
    assert ended.stderr == ""


@pytest.mark.parametrize("file", EXAMPLES, ids=[file.stem for file in EXAMPLES])
def test_every_example_renders_to_admissible_objects(file: Path) -> None:
    documents = [d for d in yaml.safe_load_all("".join(preview(load(file), Settings()))) if d]
    kinds = {document["kind"] for document in documents}
    assert {"ConfigMap", "Job", "Deployment", "Service", "RayJob"} <= kinds
    names = [(d["kind"], d["metadata"]["name"]) for d in documents]
    assert len(set(names)) == len(names)
    for document in documents:
        assert [objection for pod in pod_templates(document) for objection in restricted(pod)] == []
        if document["kind"] == "RayJob":
            assert rayjob_objections(document) == []


def test_moaa_render_prints_what_the_operator_would_create(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    file = tmp_path / "moaa.yaml"
    file.write_text(yaml.safe_dump(RESOURCE))
    assert main(["render", str(file)]) == 0
    documents = [d for d in yaml.safe_load_all(capfd.readouterr().out) if d]
    assert [d["kind"] for d in documents[:2]] == ["ConfigMap", "Job"]
    file.write_text("kind: MoAA")
    assert main(["render", str(file)]) == 2
    assert "moaa:" in capfd.readouterr().err


def test_without_the_operator_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert main(["render", "moaa.yaml"]) == 2
    assert "install moaa[operator]" in capsys.readouterr().err
