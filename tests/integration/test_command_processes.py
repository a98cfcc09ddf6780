"""The command in a process of its own: what it needs installed, signals, and a run that was killed."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from moaa.cli import common, main
from moaa.local.executor import Settings
from moaa.local.processes import guard
from tests.local_helpers import FakeMachine

RUN_WITH_FAKES = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    import moaa.local.options
    from moaa.cli import main as cli
    from tests.local_helpers import FakeMachine
    fake = FakeMachine(Path(sys.argv[1]))
    moaa.local.options.settings_of = lambda resource, options, until: fake.settings(until=until)
    sys.exit(cli.main(sys.argv[2:]))
    """
)


WITHOUT = textwrap.dedent(
    """
    import sys
    class Hide:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in sys.argv[1].split(","):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    sys.meta_path.insert(0, Hide())
    from moaa.cli import main as cli
    sys.exit(cli.main(sys.argv[2:]))
    """
)
DATA = "aiohttp,boto3,huggingface_hub,jinja2,numpy,pyarrow,tokenizers,zstandard"
"""What the extra `data` brings."""


@pytest.fixture
def fake(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path)


def write(fake: FakeMachine) -> Path:
    file = fake.folder / "demo.json"
    file.write_text(fake.resource().model_dump_json(by_alias=True, exclude_unset=True))
    return file


def start(fake: FakeMachine, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", RUN_WITH_FAKES, str(fake.folder), *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def gone(fake: FakeMachine) -> bool:
    table = guard.process_table()
    return not any(pid in table and table[pid][1] not in "ZX" for pid in fake.pids())


def without(modules: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`moaa ARGUMENTS` where these modules are not installed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", WITHOUT, modules, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("command", "remedy"),
    [("report", "install moaa[data]\n"), ("run", "install moaa[local], or moaa[train,serve] where there are GPUs\n")],
)
def test_what_to_install_fits_the_command(fake: FakeMachine, command: str, remedy: str) -> None:
    done = without(DATA, command, str(write(fake)))
    assert done.returncode == common.EXIT_INPUT
    assert done.stderr.startswith(f"moaa: `moaa {command}` needs ")
    assert done.stderr.endswith(f", which is not installed; {remedy}")


def test_validate_and_plan_need_the_base_install_only(fake: FakeMachine) -> None:
    file = str(write(fake))
    assert without(DATA, "validate", file).returncode == common.EXIT_OK
    done = without(DATA, "plan", file)
    assert (done.returncode, done.stderr) == (common.EXIT_OK, "")
    assert re.search(
        r"a run that has not begun: `moaa plan` needs \w+, which is not installed; install moaa\[data\]", done.stdout
    )
    assert "i0-resolve" in done.stdout


def test_plan_and_report_need_nothing_beyond_the_extra(fake: FakeMachine) -> None:
    heavy, file = "psutil,torch,ray,vllm,transformers,datasets,trl,deepspeed,accelerate,kubernetes", str(write(fake))
    plan = without(heavy, "plan", file)
    assert plan.returncode == common.EXIT_OK
    assert "not begun" not in plan.stdout
    assert without(heavy, "report", file, "--out", str(fake.folder / "report")).returncode == common.EXIT_OK


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_the_run_in_order_with_130(fake: FakeMachine, number: int) -> None:
    fake.script({"i0-resolve": ["wait"]})
    with start(fake, "run", str(write(fake))) as run:
        wait_until((fake.control / "waiting").exists)
        run.send_signal(number)
        _, error = run.communicate(timeout=60)
    assert run.returncode == common.EXIT_INTERRUPTED
    assert error == "moaa: interrupted; run the same command again to go on\n"
    assert (fake.control / "stopped").exists()
    assert gone(fake)


def test_a_second_signal_ends_the_run_at_once_and_leaves_no_process(fake: FakeMachine) -> None:
    fake.script({"i0-resolve": ["wait"]})
    with start(fake, "run", str(write(fake))) as run:
        wait_until((fake.control / "waiting").exists)
        os.kill(run.pid, signal.SIGINT)
        os.kill(run.pid, signal.SIGTERM)
        _, error = run.communicate(timeout=60)
    assert run.returncode == common.EXIT_INTERRUPTED
    assert error == "moaa: stopped at once; run the same command again to go on\n"
    wait_until(lambda: gone(fake))


def test_killed_run_leaves_no_process_and_the_next_run_goes_on(
    fake: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def settings_of(_resource: object, _options: object, *, until: str | None) -> Settings:
        return fake.settings(until=until)

    monkeypatch.setattr("moaa.local.options.settings_of", settings_of)
    fake.script({"i1-generate": ["wait"]})
    file = str(write(fake))
    with start(fake, "run", file) as run:
        wait_until((fake.control / "waiting").exists)
        run.kill()
    wait_until(lambda: gone(fake))
    assert main.main(["run", file, "--until", "i1-generate"]) == common.EXIT_OK
    assert fake.stages() == ["i0-resolve", "i0-stage-data", "i1-generate", "i1-generate"]
