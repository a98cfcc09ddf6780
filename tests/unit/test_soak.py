"""The soak's own checks: each must find what it is there to find."""

import asyncio
import json
import os
import sys
from collections.abc import MutableMapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from benchmarks.soak.__main__ import budget
from benchmarks.soak.checks import check_calls, misplaced
from benchmarks.soak.counting import FOLDER_VARIABLE, Asked, Recorder, read
from benchmarks.soak.processes import Kind, Process, alive, below, marked
from moaa.api.base import decimal_text
from moaa.client.request import ChatRequest, request_hash, sampling_seed
from moaa.local.processes import guard
from moaa.plan.digests import answering_digest
from moaa.plan.result import StageResult
from moaa.plan.stage import Kind as StageKind
from moaa.store.ledger.segments import Answer, Entry, Failure, encode_segment
from moaa.store.objects.directory import DirectoryStore
from tests.plan_helpers import resource, sha

DIGEST = "d" * 64
RESULTS = {
    "i0-resolve": StageResult(
        stage="i0-resolve",
        kind=StageKind.RESOLVE,
        inputs="0" * 64,
        fingerprint="1" * 64,
        models={name: DIGEST if name == "a" else sha(name) for name in ("a", "b", "agg", "base", "eva")},
    )
}


# Rows.


@pytest.mark.parametrize(
    ("found", "missing", "is_right"),
    [
        ("abcd", 0, True),
        ("abd", 1, True),
        ("abd", 0, False),
        ("abcd", 1, False),
        ("abdc", 0, False),
        ("abbd", 0, False),
        ("abx", 1, False),
    ],
    ids=["all", "one failed", "one lost", "one too many", "out of order", "twice", "of elsewhere"],
)
def test_rows_are_each_there_once_and_in_order(found: str, missing: int, is_right: bool) -> None:
    assert (misplaced("t", found, "abcd", missing=missing) == []) is is_right


# Calls.


def body(text: str, *, row: str, path: str, key: str = "") -> dict[str, Any]:
    """What the client sends for a call of model `a`."""
    return {
        "model": "a",
        "messages": [{"role": "user", "content": text}],
        "temperature": 0.7,
        "top_p": 1.0,
        "max_tokens": 12,
        "seed": sampling_seed(run_seed=0, row=row, path=path, key=key),
    }


def entry(text: str, *, row: str, path: str, key: str = "") -> Entry:
    request = ChatRequest([{"role": "user", "content": text}], Decimal("0.70"), Decimal(1), 12, 0)
    digest = answering_digest(resource().spec.model("a"), DIGEST)
    identity = request_hash(request, model_digest=digest, run_seed=0, key=key)
    return Entry(row=row, path=path, key=identity, model="a", answer=Answer(text="yes", finish_reason="stop"))


async def ledger(folder: Path, *entries: Entry, chain: str = "aaaaaaaa") -> tuple[DirectoryStore, float]:
    """A store with one segment, and when that became durable."""
    store = DirectoryStore(folder)
    key = f"stages/generate/00/ledger/00000/{chain}-000000-000000.jsonl.zst"
    await store.put_if_absent(
        key, encode_segment({}, [e.model_dump_json(exclude_defaults=True).encode() for e in entries])
    )
    return store, (folder / key).stat().st_ctime


@pytest.mark.parametrize("key", ["", "retry1"])
async def test_a_call_that_was_lost_before_it_was_durable_may_be_repeated(tmp_path: Path, key: str) -> None:
    store, durable = await ledger(tmp_path, entry("q", row="r", path="p", key=key))
    asked = [Asked(durable - age, body("q", row="r", path="p", key=key)) for age in (9, 5)]
    figures = await check_calls(store, resource(), RESULTS, asked)
    assert (figures.entries, figures.asked, figures.repeated, figures.problems) == (1, 2, 1, [])


async def test_a_call_after_its_answer_was_durable_is_found(tmp_path: Path) -> None:
    store, durable = await ledger(tmp_path, entry("q", row="r", path="p"), entry("q", row="s", path="p"))
    asked = [Asked(durable - 9, body("q", row=row, path="p")) for row in "rs"]
    figures = await check_calls(store, resource(), RESULTS, [*asked, Asked(durable + 2, body("q", row="s", path="p"))])
    (problem,) = figures.problems
    assert problem.startswith("s p of a: asked again 2.0 s")


@pytest.mark.parametrize("late", [False, True])
async def test_a_failure_may_be_asked_for_again_by_another_fingerprint_and_no_more(tmp_path: Path, late: bool) -> None:
    failed = entry("q", row="r", path="p").model_copy(
        update={"answer": None, "failure": Failure(reason="empty-answer", message="nothing")}
    )
    store, first = await ledger(tmp_path, failed)
    await asyncio.sleep(0.02)  # the times of two files
    _, second = await ledger(tmp_path, failed, chain="bbbbbbbb")
    asked = [Asked(at, body("q", row="r", path="p")) for at in (first - 1, (first + second) / 2)]
    if late:
        asked.append(Asked(second + 2, body("q", row="r", path="p")))
    figures = await check_calls(store, resource(), RESULTS, asked)
    assert (figures.entries, figures.asked, figures.repeated) == ((2, 4, 2) if late else (2, 2, 0))
    assert [" ".join(p.split(": ")[1].split()[:2]) for p in figures.problems] == ["asked again"] * 2 * late


async def test_the_same_question_to_another_model_answers_nothing(tmp_path: Path) -> None:
    store, durable = await ledger(tmp_path, entry("q", row="r", path="p"))
    asked = [Asked(durable - 9, body("q", row="r", path="p") | {"model": model}) for model in ("b", "a")]
    figures = await check_calls(store, resource(), RESULTS, asked)
    assert (figures.entries, figures.asked, figures.repeated, figures.problems) == (1, 1, 0, [])


async def test_an_answer_that_nobody_asked_for_is_found(tmp_path: Path) -> None:
    store, durable = await ledger(tmp_path, entry("q", row="r", path="p"))
    other = [Asked(durable - 9, body("another q", row="r", path="p")), Asked(durable - 9, {"messages": []})]
    figures = await check_calls(store, resource(), RESULTS, other)
    (problem,) = figures.problems
    assert "no server was asked" in problem


@pytest.mark.parametrize("sent", ["0.7", "1", "0.30", "1e-1"])
def test_a_number_keeps_its_meaning_on_the_way_to_the_server(sent: str) -> None:
    received = json.loads(json.dumps(float(Decimal(sent))))
    assert decimal_text(Decimal(repr(received))) == decimal_text(Decimal(sent))


# Counting.


async def ask(recorder: Recorder, path: str, *parts: bytes) -> bytes:
    """Send a request in parts; returns the body as the application got it."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages[-1]["more_body"] = False
    waiting = iter(messages)

    async def receive() -> MutableMapping[str, Any]:
        return next(waiting)

    async def send(message: MutableMapping[str, Any]) -> None:
        got.append(message["body"])

    got: list[bytes] = []
    await recorder({"type": "http", "path": path}, receive, send)
    return b"".join(got)


async def test_the_recorder_notes_chats_and_passes_everything_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))

    async def application(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send({"body": message["body"]})

    recorder = Recorder(application)
    assert await ask(recorder, "/v1/chat/completions", b'{"seed":\n', b" 7}") == b'{"seed":\n 7}'
    assert await ask(recorder, "/v1/completions", b"x") == b"x"
    (noted,) = read(tmp_path)
    assert noted.body == {"seed": 7}


# Processes.


@pytest.mark.parametrize(
    ("argv", "kind", "title"),
    [
        (("python", "-m", "moaa.cli", "run", "x.yaml"), Kind.RUNNER, "moaa.cli"),
        (("python", "-m", "moaa_jobs", "--job", "x"), Kind.JOB, "moaa_jobs"),
        (
            ("python", "-m", "vllm.entrypoints.openai.api_server", "--served-model-name", "agg"),
            Kind.SERVER,
            "vllm of agg",
        ),
        (("VLLM::EngineCore",), Kind.SERVER, "VLLM::EngineCore"),
        (("ray::RayTrainWorker.run",), Kind.WORKER, "ray::RayTrainWorker.run"),
        (("ray::IDLE",), None, "ray::IDLE"),
        (("python", "-I", "-S", guard.__file__, "--", "python", "-m", "moaa_jobs"), Kind.GUARD, "guard"),
        (("bash", "-c", "python -m moaa_jobs"), None, "bash"),
        ((), None, "?"),
    ],
)
def test_processes_are_told_by_their_command_lines(argv: tuple[str, ...], kind: Kind | None, title: str) -> None:
    process = Process(1, 0, argv)
    assert (process.kind, process.title) == (kind, title)


async def test_a_child_is_found_below_us_and_by_its_mark_until_it_ends() -> None:
    mark = f"MOAA_TEST_MARK={os.getpid()}"
    name, _, value = mark.partition("=")
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE, env={name: value}
    )
    (found,) = [process for process in below(os.getpid()) if process.pid == child.pid]
    assert found.is_alive
    while not list(marked([mark])):  # noqa: ASYNC110  another process cannot set an Event
        await asyncio.sleep(0.01)  # between fork and exec it has our environment
    assert [process.pid for process in marked([mark])] == [child.pid]
    child.kill()
    await child.wait()
    assert alive([found]) == []
    assert list(marked([mark])) == []


@pytest.mark.parametrize("kills", [5, 8, 24, 100])
def test_the_budget_is_spent_on_every_kind(kills: int) -> None:
    left = budget(kills)
    assert left.total() == kills
    assert all(left[kind] >= 1 for kind in Kind)
