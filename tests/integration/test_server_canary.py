"""The probes of a server, run as the kubelet runs them, against one that is there in part."""

import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from moaa_operator.render.serving.vllm_pod import CANARY


@contextmanager
def vllm(health: int, chat: int, body: str, *, metrics: str = "", paths: list[str] | None = None) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(health, "" if self.path == "/health" else metrics)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            if paths is not None:
                paths.append(self.path)
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


def probe(port: int, file: str = "/nowhere/last.json", *what: str) -> subprocess.CompletedProcess[str]:
    """As the kubelet runs it: the text alone, with isolated Python."""
    command = [sys.executable, "-I", "-c", CANARY, "start", str(port), "m", file, *what]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(("body", "code"), [('{"data": [{"data": [0.5]}]}', 0), ('{"choices": [{}]}', 1)])
def test_a_server_of_a_reward_model_is_up_when_it_gave_a_score(body: str, code: int) -> None:
    paths: list[str] = []
    with vllm(200, 200, body, paths=paths) as port:
        assert probe(port, "/nowhere/last.json", "score").returncode == code
    assert paths == ["/pooling"]


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


# Liveness


def figures(running: int, waiting: int, prompt: int, answer: int) -> str:
    """As vLLM writes them, of two engines; a model's name may hold anything."""
    label = '{engine="0",model_name="a}b c"}'
    return (
        f"# HELP vllm:num_requests_running Number of requests.\nvllm:num_requests_running{label} {running}.0\n"
        f'vllm:num_requests_running{{engine="1",model_name="x"}} 0.0\nvllm:num_requests_waiting{label} {waiting}.0\n'
        f"vllm:num_requests_waiting_by_reason{label} 7.0\n"
        f"vllm:prompt_tokens_total{label} {prompt}.0\nvllm:generation_tokens_total{label} {answer}.0\n"
    )


@pytest.mark.parametrize(
    ("metrics", "last", "age_s", "code", "said"),
    [
        (figures(3, 9, 100, 50), [150.0], 700, 1, "12 requests and no token in 7"),
        (figures(3, 9, 100, 50), [150.0], 500, 0, ""),
        (figures(0, 1, 100, 50), [150.0], 700, 1, "1 requests and no token"),
        (figures(0, 0, 100, 50), [150.0], 700, 0, ""),
        (figures(3, 9, 100, 51), [150.0], 700, 0, ""),
        (figures(3, 9, 4, 1), [150.0], 700, 0, ""),
        (figures(3, 9, 100, 50), None, 0, 0, ""),
        ("vllm:num_requests_running 3.0\n", [150.0], 700, 0, "only /health was looked at"),
    ],
    ids=["wedged", "slow", "queue only", "idle", "a token", "another process", "first look", "another server"],
)  # fmt: skip
def test_a_server_with_requests_and_no_tokens_is_dead(
    tmp_path: Path, metrics: str, last: list[float] | None, age_s: float, code: int, said: str
) -> None:
    file = tmp_path / "last.json"
    if last is not None:
        file.write_text(json.dumps([*last, time.monotonic() - age_s]))
    canary: dict[str, object] = {"__name__": "canary"}
    exec(CANARY, canary)
    with vllm(200, 200, "", metrics=metrics) as port, redirect_stdout(io.StringIO()) as out:
        main_of: Callable[..., int] = canary["main"]  # type: ignore[assignment]  # of a text
        assert main_of("alive", str(port), str(file)) == code
    assert said in out.getvalue()


def test_a_server_that_is_not_healthy_is_dead() -> None:
    canary: dict[str, object] = {"__name__": "canary"}
    exec(CANARY, canary)
    with vllm(503, 200, "") as port, redirect_stdout(io.StringIO()) as out:
        assert canary["main"]("alive", str(port), "/nowhere/last.json") == 1  # type: ignore[operator]  # of a text
    assert "/health answered 503" in out.getvalue()
