"""The command: exit codes, messages, options, and what it says of a run."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from moaa import __version__
from moaa.api.training import Trackers
from moaa.cli import common, main
from moaa.errors import UsageError
from moaa.local.executor import Settings
from moaa.local.trackers import check_trackers
from tests.local_helpers import FakeMachine


@pytest.fixture
def fake(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path)


def write(fake: FakeMachine, **changes: Any) -> Path:
    file = fake.folder / "demo.json"
    file.write_text(fake.resource(**changes).model_dump_json(by_alias=True, exclude_unset=True))
    return file


def test_help_imports_nothing_heavy_and_explains_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main.main(["run", "--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert "--memory-gib N" in text
    assert "130  interrupted" in text
    listed = subprocess.run(
        [sys.executable, "-c", "import moaa.cli.main, sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"pydantic", "rich", "aiohttp", "pyarrow", "boto3"} & set(listed.stdout.split())


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["version"]) == common.EXIT_OK
    assert capsys.readouterr().out == f"{__version__}\n"


def test_validate_tells_mistakes_on_stderr_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("apiVersion: moaa.dev/v1alpha1\nkind: MoAA\nmetadata: {name: Demo}\nspec: {}\n")
    assert main.main(["validate", str(file)]) == common.EXIT_INPUT
    error = capsys.readouterr().err
    assert error.startswith(f"moaa: {file}: ")
    assert "metadata.name" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "absent.yaml",
            "absent.yaml: 1 problem\n  cannot be read: No such file or directory; name a file that exists\n",
        ),
        ("", ": 1 problem\n  cannot be read: Is a directory; name a file in it\n"),
        ("empty.yaml", "empty.yaml: 1 problem\n  holds nothing; write a resource of kind MoAA\n"),
    ],
    ids=["absent", "folder", "empty"],
)
def test_a_file_that_is_none_is_told_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, told: str
) -> None:
    (tmp_path / "empty.yaml").touch()
    assert main.main(["validate", str(tmp_path / name)]) == common.EXIT_INPUT
    assert capsys.readouterr().err.endswith(told)


def test_commands_that_only_read_leave_nothing_behind(fake: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    fake.root.rmdir()
    file = str(write(fake))
    assert main.main(["plan", file]) == common.EXIT_OK
    assert main.main(["report", file, "--out", str(fake.folder / "report")]) == common.EXIT_OK
    assert not fake.root.exists()


def test_a_folder_that_cannot_be_written_is_named(fake: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(write(fake))
    (fake.folder / "taken").touch()
    taken = str(fake.folder / "taken" / "folder")
    for arguments in (["report", file, "--out", taken], ["run", file, "--workdir", taken]):
        assert main.main(arguments) == common.EXIT_FAILED
        assert capsys.readouterr().err == (
            f"moaa: {taken}: Not a directory; free space or mend its permissions, or name another folder\n"
        )


def test_validate_and_plan_of_a_good_file(fake: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(write(fake))
    assert main.main(["validate", file]) == common.EXIT_OK
    assert "demo is valid" in capsys.readouterr().out
    assert main.main(["plan", file]) == common.EXIT_OK
    text = capsys.readouterr().out
    assert "i0-resolve" in text
    assert "ready" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--memory-gib", "lots"], "--memory-gib (or MOAA_MEMORY_GIB): lots is wrong"),
        (["--memory-gib", "-1"], "--memory-gib (or MOAA_MEMORY_GIB): -1 is wrong"),
        (["--gpus", "99"], "--gpus 99: the machine shows"),
        (["--until", "i7-dpo"], "--until i7-dpo: there is no such stage"),
    ],
)
def test_wrong_options_exit_with_2_and_name_the_option(
    fake: FakeMachine, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    workdir = ["--workdir", str(fake.folder / "work")]
    assert main.main(["run", str(write(fake)), *workdir, *arguments]) == common.EXIT_INPUT
    assert message in capsys.readouterr().err


def test_flags_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from moaa.local.options import read_options

    monkeypatch.setenv("MOAA_MEMORY_GIB", "7.5")
    monkeypatch.setenv("MOAA_GPUS", "1")
    options = read_options({"memory_gib": "3", "gpus": None, "workdir": None})
    assert (options.memory_gib, options.gpus, options.workdir) == (3.0, 1, None)


@pytest.mark.parametrize(
    ("name", "is_there", "told"),
    [
        ("wandb", False, "spec.training.trackers.wandb: wandb is not installed here; install moaa[trackers]"),
        ("trackio", False, "spec.training.trackers.trackio: trackio is not installed here; install moaa[trackers]"),
        ("mlflow", True, "spec.training.trackers.mlflow: MLFLOW_TRACKING_URI is not set"),
    ],
)
def test_a_tracker_that_cannot_be_used_ends_the_run_before_it_begins(
    name: str, is_there: bool, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object() if is_there else None)
    with pytest.raises(UsageError, match=re.escape(told)):
        check_trackers(Trackers.model_validate({name: {}}), {})
    check_trackers(Trackers(), {})


def test_suspended_resource_starts_nothing(fake: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["run", str(write(fake, suspend=True))]) == common.EXIT_OK
    assert "suspend is true" in capsys.readouterr().out


@pytest.fixture
def in_process(fake: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    """`moaa run` in this process, with fake jobs and servers."""

    def settings_of(_resource: object, _options: object, *, until: str | None) -> Settings:
        return fake.settings(until=until)

    monkeypatch.setattr("moaa.local.options.settings_of", settings_of)
    return fake


def test_run_tells_every_event_as_json_and_fails_with_1(
    in_process: FakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    in_process.script({"i0-stage-data": ["permanent"]})
    assert main.main(["run", str(write(in_process)), "--json"]) == common.EXIT_FAILED
    out, error = capsys.readouterr()
    events = [json.loads(line)["event"] for line in out.splitlines()]
    assert events[:2] == ["run_started", "stage_queued"]
    assert "stage_failed" in events
    assert error.startswith("moaa: i0-stage-data: column `messages` is missing\n")


def test_finished_run_says_that_there_is_nothing_to_do(
    in_process: FakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", str(write(in_process)), "--until", "i0-stage-data"]
    assert main.main(arguments) == common.EXIT_OK
    assert "done up to i0-stage-data: 2 stages in this run" in capsys.readouterr().out
    assert main.main(arguments) == common.EXIT_OK
    assert "nothing to do up to i0-stage-data: all 2 stages are done" in capsys.readouterr().out


def test_nothing_to_do_after_an_edit_says_why(in_process: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    sft: dict[str, object] = {"precision": "FP32", "batchSize": 4}
    training = {"resources": {"gpusPerWorker": 0}, "sft": sft}
    assert main.main(["run", str(write(in_process, mixture=False, training=training))]) == common.EXIT_OK
    assert "edit:" not in capsys.readouterr().out
    sft["epochs"] = "9"
    edited = str(write(in_process, mixture=False, training=training))
    for command in ("run", "plan"):
        assert main.main([command, edited]) == common.EXIT_OK
        said = " ".join(capsys.readouterr().out.split())
        assert (
            "edit: iteration 1 is closed and keeps what it made; without effect there: sft: training.epochs 6" in said
        )
        assert "change metadata.name" in said


def test_an_edited_run_of_a_cluster_is_found_by_its_uid(
    in_process: FakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    sft: dict[str, object] = {"precision": "FP32", "batchSize": 4}
    training = {"resources": {"gpusPerWorker": 0}, "sft": sft}
    assert main.main(["run", str(write(in_process, mixture=False, training=training))]) == common.EXIT_OK
    (run,) = in_process.root.glob("runs/*")
    uid = "0f0e0d0c-0b0a-0908-0706-050403020100"
    run.rename(run.with_name(run.name.removesuffix("local") + uid))  # as jobs on a cluster write it
    sft["epochs"] = "9"
    file, out = str(write(in_process, mixture=False, training=training)), in_process.folder / "report"

    def shown(*options: str) -> tuple[bool, dict[str, str]]:
        capsys.readouterr()
        assert main.main(["plan", file, *options]) == common.EXIT_OK
        kept = "iteration 1 is closed and keeps what it made" in " ".join(capsys.readouterr().out.split())
        assert main.main(["report", file, "--out", str(out), *options]) == common.EXIT_OK
        stages = json.loads((out / "summary.json").read_text())["stages"]
        return kept, {stage["id"]: stage["status"] for stage in stages}

    kept, stages = shown()
    assert not kept
    assert stages["i1-sft"] == "waiting"
    kept, stages = shown("--uid", uid)
    assert kept
    assert set(stages.values()) == {"done"}


@pytest.mark.parametrize("uid", ["", "../other", "a b"])
def test_what_is_no_uid_is_refused(fake: FakeMachine, capsys: pytest.CaptureFixture[str], uid: str) -> None:
    with pytest.raises(SystemExit) as left:
        main.main(["report", str(write(fake)), "--uid", uid])
    assert left.value.code == common.EXIT_INPUT
    assert "is no uid; write metadata.uid of the MoAA on its cluster" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("stf-0=100", "--rows stf-0=100: there is no such table; the tables are sft-0"),
        ("sft-0=many", "--rows sft-0=many: write a table and its number of rows"),
        ("sft-0", "write a table and its number of rows"),
        ("sft-0=" + "9" * 5000, "of at most 12 digits"),
    ],
)
def test_rows_of_no_table_or_no_number_are_refused(
    fake: FakeMachine, capsys: pytest.CaptureFixture[str], rows: str, said: str
) -> None:
    assert main.main(["plan", str(write(fake)), "--rows", rows]) == common.EXIT_INPUT
    told = capsys.readouterr().err
    assert said in told
    assert len(told) < 300
