"""What is said of a machine before anything is installed on it; scripts play its package managers."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts import machine
from scripts.machine import BROWSER, VENV, Lack, Machine, lacks

GOOD = Machine(
    system="Linux",
    architecture="x86_64",
    glibc=(2, 36),
    cpu_flags=frozenset({"avx2"}),
    python=(3, 11),
    has_venv=True,
    missing_libraries=(),
    memory_gib=16.0,
    environment_gib=20.0,
    cache_gib=20.0,
    is_installed=False,
    is_built=False,
    has_browser=True,
)


def said(goal: str = "demo", **changes: Any) -> list[str]:
    return [lack.sentence for lack in lacks(dataclasses.replace(GOOD, **changes), goal)]


@pytest.mark.parametrize("goal", ["setup", "demo", "real", "rules", "test"])
def test_a_machine_that_has_all_lacks_nothing(goal: str) -> None:
    assert said(goal) == []
    assert said(goal, architecture="aarch64", cpu_flags=frozenset()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"system": "Darwin", "glibc": None}, "this is Darwin on x86_64; torch and vLLM run here on Linux, x86_64 or"),
        ({"architecture": "riscv64"}, "this is Linux on riscv64; "),
        ({"glibc": None}, "this Linux has another C library than glibc; torch and vLLM need glibc 2.28"),
        ({"glibc": (2, 27)}, "this Linux has glibc 2.27; torch and vLLM need glibc 2.28"),
        ({"cpu_flags": frozenset({"sse4_2"})}, "this processor has no AVX2"),
        ({"python": (3, 7)}, "python3 is 3.7 and must be 3.8 or newer"),
        ({"has_venv": False}, "python3 has no venv with pip, which installs uv"),
        ({"missing_libraries": ("libnuma.so.1",)}, "libnuma.so.1 is missing, which vLLM loads"),
        ({"memory_gib": 7.96}, "8.0 GiB of memory are free and 8 are needed"),
        ({"environment_gib": 8.4}, "8.4 GiB of disk are free at "),
    ],
)
def test_each_lack_is_one_sentence(changes: dict[str, Any], words: str) -> None:
    (sentence,) = said(**changes)
    assert sentence.startswith(words)
    assert "\n" not in sentence


def test_all_lacks_are_named_at_once() -> None:
    assert len(said("test", has_venv=False, missing_libraries=("libnuma.so.1",), memory_gib=1.0, cache_gib=1.0)) == 4


def test_what_is_there_already_needs_no_room() -> None:
    assert said("demo", environment_gib=1.0, is_installed=True) == []
    assert said("setup", environment_gib=0.1, is_installed=True) == []
    assert "to build a Kubernetes API server" in said("test", cache_gib=1.0)[0]
    assert said("test", cache_gib=1.0, is_built=True) == []
    assert said("demo", cache_gib=1.0) == []


def test_only_tests_need_a_browser() -> None:
    assert "there is no Chromium" in said("test", has_browser=False)[0]
    assert said("demo", has_browser=False) == []


@pytest.mark.parametrize("by", machine.INSTALL)
def test_every_manager_has_a_package_for_all_that_can_be_installed(by: str) -> None:
    assert all(packages[by] for packages in machine.PACKAGES.values())
    assert set(machine.PACKAGES) == {*machine.LIBRARIES, VENV, BROWSER}


def test_who_may_not_install_is_told_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    lack = Lack("libnuma.so.1 is missing, which vLLM loads", "libnuma.so.1")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert machine.sentence(lack, "apt-get") == (
        "libnuma.so.1 is missing, which vLLM loads; run: "
        "sudo apt-get install -y -qq --no-install-recommends libnuma1"
    )  # fmt: skip
    assert machine.sentence(lack, None).endswith("; install libnuma1 or numactl or numactl-libs")
    assert machine.sentence(Lack("too little memory"), "dnf") == "too little memory"


class Box:
    """A machine of which `main` sees what the test says, with an apt-get that the test wrote."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, monkeypatch
        self.found = GOOD
        monkeypatch.setenv("PATH", str(folder))
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(machine, "look", lambda: self.found)

    def apt(self, script: str) -> None:
        (self.folder / "apt-get").write_text(f'#!/bin/sh\necho "$*" >> {self.folder}/asked\n{script}\n')
        (self.folder / "apt-get").chmod(0o755)

    def asked(self) -> list[str]:
        file = self.folder / "asked"
        return file.read_text().splitlines() if file.exists() else []

    def run(self, goal: str = "demo") -> int:
        self.patch.setattr(sys, "argv", ["machine.py", goal])
        return machine.main()


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    return Box(tmp_path, monkeypatch)


def test_what_a_package_brings_is_installed_where_that_is_allowed(
    box: Box, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    box.apt("exit 0")
    lacking = dataclasses.replace(GOOD, missing_libraries=("libnuma.so.1",), has_venv=False)
    monkeypatch.setattr(machine, "look", lambda: GOOD if len(box.asked()) == 2 else lacking)
    assert box.run() == 0
    assert box.asked()[1].endswith("python3-venv libnuma1")
    assert capsys.readouterr().out == "installing python3-venv libnuma1 with apt-get\n"


def test_a_manager_that_fails_is_quoted_and_the_command_named(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    box.apt("echo 'E: Unable to locate package' >&2; exit 100")
    box.found = dataclasses.replace(GOOD, missing_libraries=("libnuma.so.1",))
    assert box.run() == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("make demo cannot start: libnuma.so.1 is missing, which vLLM loads; run: apt-get install")
    assert second == "  `apt-get update -qq` failed: E: Unable to locate package"


def test_nothing_is_installed_on_a_machine_that_will_not_do(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    box.apt("exit 0")
    box.found = dataclasses.replace(GOOD, missing_libraries=("libnuma.so.1",), memory_gib=2.0)
    assert box.run() == 1
    assert box.asked() == []
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_nothing_is_installed_for_somebody_who_is_not_root(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.apt("exit 0")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    box.found = dataclasses.replace(GOOD, has_venv=False)
    assert box.run() == 1
    assert box.asked() == []


LIMITED = {
    "memory.max": str(12 * 2**30),
    "memory.current": str(10 * 2**30),
    "memory.stat": f"inactive_file {7 * 2**30}\n",
}


@pytest.mark.parametrize(
    ("files", "gib"),
    [
        ({}, 30.0),
        ({"/sys/fs/cgroup/memory.max": "max\n", "/sys/fs/cgroup/memory.current": "1\n"}, 30.0),
        ({f"/sys/fs/cgroup/{name}": text for name, text in LIMITED.items()}, 9.0),
    ],
)
def test_a_containers_limit_holds_and_files_it_read_are_no_use_of_it(
    monkeypatch: pytest.MonkeyPatch, files: dict[str, str], gib: float
) -> None:
    files = {"/proc/meminfo": f"MemAvailable: {30 * 2**20} kB\n", **files}
    monkeypatch.setattr(machine, "_read", lambda path: files.get(path, ""))
    assert machine._memory_gib() == gib


def test_it_runs_with_a_bare_python_and_sees_this_machine() -> None:
    """Isolated and without packages, as the Makefile's python3 may be."""
    file = Path(machine.__file__)
    command = [sys.executable, "-I", "-S", "-c", f"import runpy; print(runpy.run_path({str(file)!r})['look']())"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("Machine(system='Linux'"), done.stderr


def test_make_looks_at_the_machine_before_it_installs() -> None:
    # A make that runs these tests hands its level and flags down, and the inner one then prints where it is.
    outside = {name: value for name, value in os.environ.items() if name not in ("MAKELEVEL", "MAKEFLAGS", "MFLAGS")}
    for goal in ("setup", "demo", "real", "rules", "test"):
        planned = subprocess.run(
            ["make", "--dry-run", "--always-make", goal],
            cwd=machine.ROOT,
            env=outside,
            capture_output=True,
            text=True,
            check=True,
        )
        assert planned.stdout.splitlines()[0] == f"python3 scripts/machine.py {goal}"
