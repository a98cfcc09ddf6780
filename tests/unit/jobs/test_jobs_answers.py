"""What jobs say at their end: to the store by a manifest, to an operator without access to it by a short answer."""

import base64
import importlib
import inspect
import json
import random
import sys
import zlib
from datetime import UTC, datetime
from pathlib import Path
from resource import RLIMIT_NOFILE, getrlimit, setrlimit
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moaa.api import MoAA
from moaa.contract import environment
from moaa.contract.answers import MAX_BYTES, PACKED, FailureAnswer, PreflightAnswer, WaitingAnswer, failure, pack, read
from moaa.contract.checks import CheckAnswer, Took, check_job
from moaa.contract.job import stage_job
from moaa.errors import StageError
from moaa.plan.fingerprint import identify
from moaa.plan.graph import build
from moaa.plan.result import MAX_WARNINGS, WARNING_BYTES, Output, StageResult
from moaa.plan.stage import Kind
from moaa.store.objects.directory import DirectoryStore
from moaa.store.stages.manifest import StageManifest, TokenUsage
from moaa_jobs import __main__ as entry
from moaa_jobs.__main__ import open_more
from moaa_jobs.check import look_up
from moaa_jobs.fetch import FetchSettings
from moaa_jobs.runner.settings import JobSettings
from moaa_jobs.tell.answer import answer
from tests.model_folder import write_model
from tests.plan_helpers import finish, resource, run_all, tree


def small(folder: Path) -> MoAA:
    """resolve, stage-data, generate with given answers, sft, promote; everything on this machine."""
    write_model(folder / "student")
    rows = [{"prompt": f"{i}+{i}", "response": "x"} for i in range(5)]
    (folder / "sft.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    document = tree(
        spec__storage={"uri": f"file://{folder}/store"},
        spec__models=[{"name": "base", "source": f"file://{folder}/student"}],
        spec__data={"sft": [{"source": f"file://{folder}/sft.jsonl", "answers": "Given"}], "preference": []},
        spec__mixture=None,
        spec__judge=None,
        spec__evaluation=None,
        spec__training__dpo=None,
    )
    return MoAA.model_validate(document)


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, job: str, *command: str) -> tuple[int, Any]:
    """Exit code and answer of `python -m moaa_jobs`."""
    (folder / "job.json").write_text(job)
    log = folder / "termination-log"
    log.unlink(missing_ok=True)
    monkeypatch.setenv("MOAA_WORK_DIR", str(folder / "work"))
    monkeypatch.setenv("MOAA_TERMINATION_LOG", str(log))
    monkeypatch.setattr(sys, "argv", ["moaa_jobs", *command, "--job", str(folder / "job.json")])
    code = entry.main()
    return code, json.loads(log.read_text()) if log.exists() else None


def test_a_stage_answers_with_its_result_and_inspect_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = small(tmp_path)
    results: dict[str, StageResult] = {}
    for stage in list(build(owner).stages.values())[:3]:
        identity = identify(stage, owner, results)
        assert identity is not None
        code, said = run(monkeypatch, tmp_path, stage_job(identity, owner, results, run="r").model_dump_json())
        assert code == 0
        results[stage.id] = StageResult.model_validate(said)
        assert results[stage.id].fingerprint == identity.fingerprint
    assert results["i1-generate"].outputs["conversations"].rows == 5
    code, said = run(monkeypatch, tmp_path, check_job(owner, {}, run="r").model_dump_json(), "inspect")
    assert code == 0
    found = CheckAnswer.model_validate(said)
    assert [result.stage for result in found.results] == ["i0-resolve", "i0-stage-data", "i1-generate"]
    assert found.results == list(results.values())
    sft = identify(build(owner).stages["i1-sft"], owner, results)
    assert sft is not None
    assert found.absent == [sft.fingerprint]
    assert found.is_complete


def test_preflight_answers_and_says_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = check_job(small(tmp_path), {}, run="r")
    assert run(monkeypatch, tmp_path, job.model_dump_json(), "preflight") == (0, {})
    (tmp_path / "file").write_text("")
    broken = check_job(small(tmp_path).with_(spec=small(tmp_path).spec.with_(
        storage={"uri": f"file://{tmp_path}/file/store"})), {}, run="r")  # fmt: skip
    code, said = run(monkeypatch, tmp_path, broken.model_dump_json(), "preflight")
    assert code == 1
    assert said["permanent"] is False
    assert "file" in said["error"]


def test_a_permanent_failure_and_an_unknown_command_answer_with_their_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = small(tmp_path)
    (tmp_path / "sft.jsonl").unlink()
    identity = identify(build(owner).stages["i0-resolve"], owner, {})
    assert identity is not None
    code, said = run(monkeypatch, tmp_path, stage_job(identity, owner, {}, run="r").model_dump_json())
    assert (code, said["permanent"]) == (64, True)
    assert "sft.jsonl" in said["error"]
    code, said = run(monkeypatch, tmp_path, "{}", "inspekt")
    assert code == 64
    assert "preflight, inspect" in said["error"]


async def test_inspect_tells_what_the_asking_run_has_paid_for_and_nothing_of_others(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.prepare()
    owner = resource()
    results, identities = run_all(owner)
    usage = {"a": TokenUsage(prompt_tokens=5, completion_tokens=7), "unused": TokenUsage()}
    makers = {"i0-stage-data": ("r", "i0-stage-data"), "i1-generate": ("another", "i1-generate")}
    makers["i0-evaluate"] = ("r", "i2-evaluate")  # the same work under another name: counted there
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for name, (run, stage) in {"i0-resolve": ("r", "i0-resolve"), **makers}.items():
        done = {field: value for field, value in results[name] if field not in ("score", "stage", "weights_gib")}
        manifest = StageManifest(
            **done, stage=stage, run=run, iteration=0, document={}, started=now, finished=now, seconds=9, usage=usage
        )
        await store.put(f"{identities[name].path}/manifest.json", manifest.model_dump_json(by_alias=True).encode())
    found = await look_up(store, owner, {}, run="r")
    assert {"i0-resolve", *makers} <= {result.stage for result in found.results}
    paid = {"prompt_spent": {"a": 5}, "completion_spent": {"a": 7}}
    assert found.took == [Took(stage=name, seconds=9, **paid) for name in ("i0-resolve", "i0-stage-data")]


async def test_inspect_answers_in_parts_that_fit(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.prepare()
    owner = resource()
    results, identities = run_all(owner)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for name, identity in identities.items():
        done = {field: value for field, value in results[name] if field not in ("score", "weights_gib")}
        manifest = StageManifest(
            **done, run="r", iteration=identity.stage.iteration, document={}, started=now, finished=now, seconds=1
        )
        await store.put(f"{identity.path}/manifest.json", manifest.model_dump_json(by_alias=True).encode())
    known: dict[str, StageResult] = {}
    for _ in range(20):
        found = await look_up(store, owner, known, run="r")
        assert [took.stage for took in found.took] == [result.stage for result in found.results]
        text = pack(found)
        assert text is not None
        assert len(text) <= MAX_BYTES
        known |= {result.stage: result for result in found.results}
        if found.is_complete:
            break
    assert list(known) == list(results)


def test_a_long_result_is_packed_and_one_that_is_too_long_is_an_error(tmp_path: Path) -> None:
    digest = random.Random(0).randbytes

    def models(count: int) -> StageResult:
        found = {f"some-model-{i}": digest(32).hex() for i in range(count)}
        sizes = [digest(1)[0] for _ in found]
        outputs = {name: Output(digest=digest(32).hex()) for name in ("sft-0", "preference-0", "models")}
        return StageResult(
            stage="s", kind=Kind.RESOLVE, inputs="0" * 64, fingerprint="1" * 64, models=found, weights_gib=sizes,
            outputs=outputs,
        )  # fmt: skip

    said = models(64)
    text = pack(said)
    assert text is not None
    assert len(text) <= MAX_BYTES
    assert read(text, StageResult) == said
    assert pack(models(200)) is None
    with pytest.raises(StageError, match="declare fewer models"):
        answer(tmp_path / "log", models(200))


def test_a_result_with_all_the_warnings_it_may_have_fits() -> None:
    draw = random.Random(0)
    letters = "".join(map(chr, range(0x4E00, 0x5E00)))
    said = StageResult(
        stage="i12-evaluate-dpo",
        kind=Kind.EVALUATE,
        inputs=draw.randbytes(32).hex(),
        fingerprint=draw.randbytes(32).hex(),
        outputs={name: Output(digest=draw.randbytes(32).hex()) for name in ("answers", "scores", "judgements")},
        score="43.8 ± 2.1",
        warnings=["".join(draw.choices(letters, k=WARNING_BYTES // 3)) for _ in range(MAX_WARNINGS)],
    )
    text = pack(said)
    assert text is not None
    assert read(text, StageResult) == said


@given(st.dictionaries(st.text(max_size=20), st.integers(0, 2**53), max_size=8))
def test_answers_come_back_as_they_went(waiting: dict[str, int]) -> None:
    said = WaitingAnswer(waiting=waiting, calls=7)
    text = pack(said)
    assert text is None or read(f"a line before\n{text}\n", WaitingAnswer) == said


def test_answers_keep_their_bytes() -> None:
    assert pack(PreflightAnswer()) == "{}"
    assert pack(WaitingAnswer(waiting={"a": 3}, calls=7)) == '{"waiting":{"a":3},"calls":7}'
    assert (
        pack(failure("no row is left", permanent=True)) == '{"error":"no row is left","permanent":true,"servers":false}'
    )


def test_only_the_expected_answer_is_taken() -> None:
    assert read('{"waiting":{"a":3},"calls":7}', FailureAnswer) is None
    assert read('{"error":"x","permanent":false}', WaitingAnswer) is None
    assert read('{"waiting":{"a":-3}}', WaitingAnswer) is None
    assert read('{"error":"x","permanent":true}\nwords after it\n', FailureAnswer) == failure("x", permanent=True)


@given(st.text(max_size=9000))
def test_a_failure_always_fits_and_keeps_its_ends(error: str) -> None:
    text = pack(failure(error, permanent=True))
    assert text is not None
    assert len(text.encode()) <= MAX_BYTES
    said = read(text, FailureAnswer)
    assert said is not None
    assert said.permanent
    assert said.error[:100] == error[:100]


@pytest.mark.parametrize("text", ["", "no json", "[1]", '{"zlib85": "???"}', "{"])
def test_words_that_are_no_answer_are_none(text: str) -> None:
    assert read(text, PreflightAnswer) is None


def test_results_of_the_plan_fit_without_packing() -> None:
    owner = resource()
    for identity in run_all(owner)[1].values():
        text = pack(finish(identity, owner))
        assert text is not None
        assert "zlib85" not in text


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_stage_has_its_module(kind: Kind) -> None:
    module = importlib.import_module(entry.module_of(kind))
    assert list(inspect.signature(module.run).parameters) == ["job", "context"]
    assert inspect.iscoroutinefunction(module.run)


def test_executors_and_jobs_call_the_environment_by_the_same_names() -> None:
    fields = [*JobSettings.model_fields, *FetchSettings.model_fields]
    read_by_jobs = {f"{environment.PREFIX}{field.upper()}" for field in fields}
    others = ("PREFIX", "SECRET_PREFIX", "CREDENTIALS")
    names = {value for name, value in vars(environment).items() if name.isupper() and name not in others}
    assert names <= read_by_jobs
    unset = {"MOAA_ROWS_IN_FLIGHT", "MOAA_DRAIN_S"}  # no executor sets them
    assert read_by_jobs - names == {"MOAA_JOB", *unset}, "MOAA_JOB is a flag"


def packed(text: bytes) -> str:
    return json.dumps({PACKED: base64.b85encode(zlib.compress(text, 9)).decode()})


@pytest.mark.parametrize(
    "said",
    [
        "[" * 4000, packed(b"[" * 100_000), packed(b" " * 3_000_000 + b'{"error": "x", "permanent": true}'),
        packed(b"{}")[:-9] + '"}',
    ],
    ids=["brackets", "packed brackets", "three megabytes in three kilobytes", "cut off"],
)  # fmt: skip
def test_what_a_hostile_container_leaves_is_no_answer(said: str) -> None:
    assert read(said, FailureAnswer) is None


def test_only_the_end_of_a_long_log_is_read() -> None:
    answer = '{"error": "x", "permanent": true}'
    assert read(f"{answer}\n" + "log\n" * 100_000, FailureAnswer) is None
    assert read("log\n" * 100_000 + answer, FailureAnswer) is not None


def test_a_job_may_have_as_many_connections_as_the_system_allows() -> None:
    before = getrlimit(RLIMIT_NOFILE)
    try:
        setrlimit(RLIMIT_NOFILE, (before[1] // 2, before[1]))
        open_more()
        assert getrlimit(RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        setrlimit(RLIMIT_NOFILE, before)
