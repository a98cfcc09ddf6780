"""`moaa experiment` as a command, with fake jobs and servers: order, failures, a second start, the page."""

import asyncio
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from moaa.cli import common, main
from moaa.errors import StoreError
from moaa.local.executor import Settings
from moaa.local.options import RunOptions
from tests.local_helpers import FakeMachine

TRAINING = {"resources": {"gpusPerWorker": 0}, "sft": {"precision": "FP32", "batchSize": 4}}


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    """The machine that the command believes to run on."""
    machine = FakeMachine(tmp_path)

    def settings_of(_resource: object, options: RunOptions, *, until: str | None) -> Settings:
        folder = options.workdir or machine.folder / "work"
        return Settings(**{**vars(machine.settings(until=until)), "folder": folder})

    monkeypatch.setattr("moaa.local.options.settings_of", settings_of)
    return machine


def write(fake: FakeMachine, **arms: Any) -> str:
    base = fake.resource(mixture=False, training=TRAINING)
    (fake.folder / "base.json").write_text(base.model_dump_json(by_alias=True, exclude_unset=True))
    file = fake.folder / "trial.json"
    head = {"apiVersion": "moaa.dev/v1alpha1", "kind": "Experiment", "metadata": {"name": "trial"}, "base": "base.json"}
    file.write_text(json.dumps({**head, "arms": {"one": {}, **arms}}))
    return str(file)


def epochs(number: str) -> dict[str, Any]:
    return {"spec": {"training": {"sft": {"epochs": number}}}}


def states(out: Path) -> dict[str, tuple[int, str | None]]:
    found = json.loads((out / "comparison.json").read_text())
    return {arm["name"]: (arm["runs"][0]["done"], arm["runs"][0]["problem"]) for arm in found["arms"]}


def test_arms_run_in_order_and_what_they_share_is_done_once(
    fake: FakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = write(fake, two=epochs("9")), fake.folder / "page"
    assert main.main(["experiment", file, "--out", str(out), "--workdir", str(fake.folder / "w")]) == common.EXIT_OK
    stages = fake.stages()
    once = [name for name in stages if stages.count(name) == 1]
    assert "i0-resolve" in once
    assert "i0-stage-data" in once
    assert stages.count("i1-sft") == 2
    shown = capsys.readouterr().out
    assert shown.index("arm one, seed 0") < shown.index("arm two, seed 0")
    assert f"{out}/comparison.html" in shown
    assert {arm: problem for arm, (_, problem) in states(out).items()} == {"one": None, "two": None}
    assert len(list((fake.folder / "w").iterdir())) == 2
    page = (out / "comparison.html").read_text()
    links = re.findall(r'href="([a-z0-9-]+/report\.html)"', page)
    assert len(links) == 2
    assert all((out / link).read_text().startswith("<!DOCTYPE html>") for link in links)
    assert main.main(["experiment", file, "--out", str(out)]) == common.EXIT_OK
    assert fake.stages() == stages


def test_a_failed_arm_does_not_stop_the_others_and_is_told(
    fake: FakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = write(fake, two=epochs("9"), three=epochs("3")), fake.folder / "page"
    fake.script({"i1-sft": ["ok", "permanent", "ok", "ok"]})
    assert main.main(["experiment", file, "--out", str(out)]) == common.EXIT_FAILED
    told, error = capsys.readouterr()
    assert "arm two, seed 0 failed: i1-sft: column `messages` is missing" in told
    assert error.startswith("moaa: 1 of 3 runs failed: two-")
    found = states(out)
    assert "column `messages` is missing" in (found["two"][1] or "")
    assert found["one"][0] == found["three"][0] > found["two"][0]
    assert main.main(["experiment", file, "--out", str(out)]) == common.EXIT_OK
    assert states(out)["two"] == states(out)["one"]


def test_events_of_all_arms_are_json_lines(fake: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(fake, two=epochs("9"))
    fake.script({"i1-sft": ["permanent"]})
    arguments = ["experiment", file, "--out", str(fake.folder / "page"), "--json"]
    assert main.main(arguments) == common.EXIT_FAILED
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    told = [(line["event"], line["arm"]) for line in lines if line["event"].startswith("experiment_")]
    assert told == [
        ("experiment_run_started", "one"),
        ("experiment_run_failed", "one"),
        ("experiment_run_started", "two"),
    ]


def test_plan_and_report_start_nothing(fake: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = write(fake, two=epochs("9")), fake.folder / "page"
    assert main.main(["experiment", file, "--plan", "--rows", "sft-0=20"]) == common.EXIT_OK
    assert "shared with one, seed 0: i0-resolve, i0-stage-data" in " ".join(capsys.readouterr().out.split())
    assert main.main(["experiment", file, "--report", "--out", str(out)]) == common.EXIT_OK
    assert states(out) == {"one": (0, None), "two": (0, None)}
    assert fake.stages() == []
    assert main.main(["experiment", file, "--out", str(out), "--arm", "two"]) == common.EXIT_OK
    capsys.readouterr()
    assert main.main(["experiment", file, "--plan"]) == common.EXIT_OK
    assert "adds: nothing" in capsys.readouterr().out


def test_an_interrupt_stops_the_experiment_and_the_same_command_goes_on(
    fake: FakeMachine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(fake, two=epochs("9"))
    arguments = ["experiment", file, "--out", str(fake.folder / "page")]
    with monkeypatch.context() as patch:
        patch.setattr("moaa.local.executor.preflight", interrupted)
        assert main.main(arguments) == common.EXIT_INTERRUPTED
    assert "interrupted; run the same command again to go on" in capsys.readouterr().err
    assert fake.stages() == []
    assert main.main(arguments) == common.EXIT_OK
    assert fake.stages().count("i1-sft") == 2


def refused(*_arguments: object) -> None:
    raise StoreError("file:///store: permission denied")


async def interrupted(_store: object) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.Event().wait()


def test_a_store_that_cannot_be_read_is_an_error_of_the_report_and_none_of_the_plan(
    fake: FakeMachine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = write(fake, two=epochs("9")), fake.folder / "page"
    monkeypatch.setattr("moaa.store.objects.directory.DirectoryStore.get", refused)
    monkeypatch.setattr("moaa.store.objects.directory.DirectoryStore.list", refused)
    assert main.main(["experiment", file, "--report", "--out", str(out)]) == common.EXIT_FAILED
    assert "one, seed 0: could not be read" in capsys.readouterr().err
    assert not out.exists()
    assert main.main(["experiment", file, "--plan"]) == common.EXIT_OK
    assert "the store cannot be read, so this is the plan" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--arm", "four"], "--arm four: there is no such arm; the arms are one; two"),
        (["--plan", "--rows", "sft-9=1"], "--rows sft-9=1: there is no such table"),
        (["--rows", "sft-0=1"], "--rows has no effect without --plan or --report; leave it out"),
        (["--plan", "--report"], "--report has no effect with --plan; leave it out"),
        (["--report", "--memory-gib", "3"], "--memory-gib has no effect with --report"),
        (["--until", "i9-sft"], "--until i9-sft: there is no such stage"),
        (["--plan", "--until", "i9-sft"], "--until i9-sft: there is no such stage"),
        (["--memory-gib", "much"], "--memory-gib (or MOAA_MEMORY_GIB): much is wrong"),
    ],
)
def test_wrong_options_are_refused_before_anything_runs(
    fake: FakeMachine, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    file = write(fake, two=epochs("9"))
    assert main.main(["experiment", file, *arguments]) == common.EXIT_INPUT
    assert said in capsys.readouterr().err
    assert fake.stages() == []
