"""Real processes: whatever a command starts is gone when the command, the guard or the runner is."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from moaa.local.processes import guard, process

WILD = textwrap.dedent(
    """
    # Forks a child, a child in a session of its own, and one that forks twice; all ignore SIGTERM and tell their pids.
    import os, signal, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    folder = sys.argv[1]
    def stay(name):
        with open(f"{folder}/{name}.tmp", "w") as file:
            file.write(str(os.getpid()))
        os.rename(f"{folder}/{name}.tmp", f"{folder}/{name}")
        time.sleep(60)
        os._exit(0)
    if os.fork() == 0:
        stay("child")
    if os.fork() == 0:
        os.setsid()
        stay("session")
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            stay("daemon")
        os._exit(0)
    os.wait()
    if len(sys.argv) > 2:
        while len([n for n in os.listdir(folder) if "." not in n]) < 3:
            time.sleep(0.01)
        os._exit(int(sys.argv[2]))
    stay("main")
    """
)
RUNNER = textwrap.dedent(
    """
    import asyncio, os, sys
    from pathlib import Path
    from moaa.local.processes import process
    async def main():
        process.become_subreaper()
        folder = Path(sys.argv[1])
        command = [sys.executable, "-I", "-S", "-c", sys.argv[2], str(folder)]
        guards = process.Guards()
        run = await guards.start("wild", command, env={}, log=folder / "log.txt", cwd=folder, grace_s=0.2)
        (folder / "guard.pid").write_text(str(run.pid))
        code = await run.wait()
        (folder / "code.txt").write_text(str(code))
    asyncio.run(main())
    """
)
NAMES = ("child", "session", "daemon", "main")


@pytest.fixture
def wild_folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for name in NAMES:  # a failed test must not leave processes either
        if (tmp_path / name).exists():
            guard.signal_all([int((tmp_path / name).read_text())], signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Zombies count as gone: they wait for their parent and do nothing."""
    entry = guard.process_table().get(pid)
    return entry is not None and entry[1] not in "ZX"


def wait_until(condition: object, what: str, timeout_s: float = 30.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def pids(folder: Path, names: tuple[str, ...] = NAMES) -> list[int]:
    wait_until(lambda: all((folder / name).exists() for name in names), f"{names} did not start")
    return [int((folder / name).read_text()) for name in names]


def start_runner(folder: Path, runner: str = RUNNER) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.Popen([sys.executable, "-c", runner, str(folder), WILD], env=environment)


def all_gone(processes: list[int]) -> bool:
    return not any(is_alive(pid) for pid in processes)


def test_killed_runner_leaves_nothing(wild_folder: Path) -> None:
    with start_runner(wild_folder) as runner:
        processes = [*pids(wild_folder), int((wild_folder / "guard.pid").read_text())]
        runner.kill()
        wait_until(lambda: all_gone(processes), "something outlived kill -9 of the runner")


def test_killed_guard_leaves_nothing(wild_folder: Path) -> None:
    with start_runner(wild_folder) as runner:
        processes = pids(wild_folder)
        os.kill(int((wild_folder / "guard.pid").read_text()), signal.SIGKILL)
        wait_until(lambda: all_gone(processes), "something outlived kill -9 of the guard")
        runner.wait(10)
        assert (wild_folder / "code.txt").read_text() == "137"


STALE = textwrap.dedent(
    """
    # The first look of the sweep is from just before the command went: its children were still its own.
    from moaa.local.processes import guard
    look = guard.process_table
    def just_before():
        guard.process_table = look
        table, main = look(), int((Path(sys.argv[1]) / "main").read_text())
        for name in ("child", "session"):
            table[int((Path(sys.argv[1]) / name).read_text())] = (main, "S")
        return {**table, main: (os.getpid(), "S")}
    guard.process_table = just_before
    """
)


def test_what_falls_to_the_runner_while_it_sweeps_is_gone_too(wild_folder: Path) -> None:
    with start_runner(wild_folder, RUNNER.replace("async def main", STALE + "async def main", 1)) as runner:
        processes = pids(wild_folder)
        os.kill(int((wild_folder / "guard.pid").read_text()), signal.SIGKILL)
        wait_until(lambda: all_gone(processes), "something outlived kill -9 of the guard")
        runner.wait(30)


async def run_wild(folder: Path, *arguments: str, grace_s: float = 0.2) -> tuple[process.Guards, process.Guarded]:
    guards = process.Guards()
    command = [sys.executable, "-I", "-S", "-c", WILD, str(folder), *arguments]
    run = await guards.start("wild", command, env={}, log=folder / "log.txt", cwd=folder, grace_s=grace_s)
    return guards, run


async def test_command_that_ends_leaves_nothing(wild_folder: Path) -> None:
    guards, run = await run_wild(wild_folder, "7")
    processes = await asyncio.to_thread(pids, wild_folder, NAMES[:3])
    assert await run.wait() == 7
    assert all_gone(processes)
    await guards.close()


async def test_stop_ends_what_ignores_sigterm_after_the_grace(wild_folder: Path) -> None:
    guards, run = await run_wild(wild_folder)
    processes = await asyncio.to_thread(pids, wild_folder)
    assert await run.stop() == 137
    assert all_gone(processes)
    await guards.close()


async def test_close_ends_what_still_runs(wild_folder: Path) -> None:
    guards, run = await run_wild(wild_folder)
    processes = await asyncio.to_thread(pids, wild_folder)
    await guards.close()
    assert all_gone(processes)
    assert not run.is_running


async def test_command_gets_sigterm_and_time_to_answer(tmp_path: Path) -> None:
    polite = (
        "import signal,sys,time\nsignal.signal(15, lambda *_: sys.exit(3))\nprint('up', flush=True)\ntime.sleep(60)"
    )
    guards = process.Guards()
    log = tmp_path / "log.txt"
    run = await guards.start("polite", [sys.executable, "-c", polite], env={}, log=log, cwd=tmp_path, grace_s=10)
    await asyncio.to_thread(wait_until, lambda: process.tail(log) == ["up"], "it did not start")
    assert await run.stop() == 3
    await guards.close()


async def test_missing_command_ends_with_127_and_says_so(tmp_path: Path) -> None:
    guards = process.Guards()
    log = tmp_path / "log.txt"
    run = await guards.start("none", ["/no/such/command"], env={}, log=log, cwd=tmp_path, grace_s=1)
    assert await run.wait() == 127
    assert "cannot start /no/such/command" in process.tail(log)[-1]
    await guards.close()


def test_guard_imports_only_the_standard_library() -> None:
    listed = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import runpy,sys; runpy.run_path({guard.__file__!r}); print(*sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert {name.split(".")[0] for name in listed} <= set(sys.stdlib_module_names) | {"__main__", "__mp_main__"}


def test_tail_gives_the_last_lines_that_hold_anything(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    assert process.tail(log) == []
    log.write_text("".join(f"line {k}\n\n" for k in range(5000)))
    assert process.tail(log, lines=2) == ["line 4998", "line 4999"]
    assert process.tail(log, since=log.stat().st_size) == []
