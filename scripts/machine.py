"""What a machine must have for `make setup`, `make demo`, `make real`, `make rules` and `make test`: looked at before
anything is installed.

    python3 scripts/machine.py setup|demo|real|rules|test

Run by the Makefile with the machine's own Python: standard library only, and nothing newer than Python 3.8, so that it
can say that a Python is too old. What is missing is installed where this user may use the package manager, and
otherwise named, each in one sentence with the command to run. Exit code 1: something is missing.

`look` reads the machine, `lacks` decides and is pure.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GIB = 1024**3
ARCHITECTURES = ("x86_64", "aarch64")
GLIBC = (2, 28)
"""torch and vLLM publish wheels for these architectures from this glibc on."""
OLDEST_PYTHON = (3, 8)
"""That pip can install uv into; which Python the project itself runs on is uv's to find, or to download."""
LIBRARIES = ("libnuma.so.1",)
"""Shared libraries that wheels load and do not bring: vLLM's CPU kernels need NUMA's."""
VENV = "venv"
BROWSER = "chromium"
BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
"""Names of the program that tests of pages drive."""
PACKAGES = {
    "libnuma.so.1": {"apt-get": "libnuma1", "dnf": "numactl-libs", "zypper": "libnuma1", "pacman": "numactl"},
    VENV: {"apt-get": "python3-venv", "dnf": "python3", "zypper": "python3", "pacman": "python"},
    BROWSER: {"apt-get": "chromium", "dnf": "chromium", "zypper": "chromium", "pacman": "chromium"},
}
"""Who brings what, by package manager."""
INSTALL = {
    "apt-get": (("apt-get", "update", "-qq"), ("apt-get", "install", "-y", "-qq", "--no-install-recommends")),
    "dnf": (("dnf", "install", "-y", "-q"),),
    "zypper": (("zypper", "--non-interactive", "--quiet", "install", "--no-recommends"),),
    "pacman": (("pacman", "-Sy", "--noconfirm", "--needed"),),
}
"""Commands by package manager; the last one takes the packages."""
ENVIRONMENT_GIB = 7.5
"""Of .venv (measured 6.8 GiB), with uv's cache on the same file system, which shares its files."""
RUN_GIB = {"setup": 0.0, "demo": 1.0, "real": 4.0, "rules": 10.0, "test": 1.0}
"""Of runs, models and logs."""
BUILD_GIB = 6.0
"""Of what Go downloads, compiles and keeps for the tests' Kubernetes API server."""
MEMORY_GIB = {"setup": 1.0, "demo": 8.0, "real": 10.0, "rules": 10.0, "test": 8.0}
"""Free: two training workers under Ray take 5, a model server 1.6; with 12 all models of the demo are up at once. The
real model's training takes 8."""


@dataclass(frozen=True)
class Machine:
    """What was found."""

    system: str
    architecture: str
    glibc: tuple[int, int] | None
    """None: another C library."""
    cpu_flags: frozenset[str]
    """As /proc/cpuinfo has them; empty where it has none."""
    python: tuple[int, int]
    has_venv: bool
    """Or uv, which needs none."""
    missing_libraries: tuple[str, ...]
    memory_gib: float
    environment_gib: float
    """Free where .venv is."""
    cache_gib: float
    """Free where Go builds."""
    is_installed: bool
    """.venv is there."""
    is_built: bool
    """So is the API server, or there is one elsewhere."""
    has_browser: bool
    """Chromium of the machine, or one that playwright has fetched for this user."""


@dataclass(frozen=True)
class Lack:
    """Something that is missing."""

    sentence: str
    """What, what for, and what to do where no package brings it."""
    package: str = ""
    """Its key in PACKAGES; empty: nothing that could be installed."""


def lacks(found: Machine, goal: str) -> list[Lack]:
    """What the machine lacks for `goal` (a key of MEMORY_GIB), all of it."""
    lacking = [*_platform(found)]
    if found.python < OLDEST_PYTHON:
        version, oldest = _dotted(found.python), _dotted(OLDEST_PYTHON)
        lacking.append(Lack(f"python3 is {version} and must be {oldest} or newer; 3.11 or 3.12 is best"))
    if not found.has_venv:
        lacking.append(Lack("python3 has no venv with pip, which installs uv", VENV))
    lacking += [Lack(f"{name} is missing, which vLLM loads", name) for name in found.missing_libraries]
    needed = MEMORY_GIB[goal]
    if found.memory_gib < needed:
        lacking.append(
            Lack(f"{found.memory_gib:.1f} GiB of memory are free and {needed:.0f} are needed; end what else runs here")
        )
    space = (0.0 if found.is_installed else ENVIRONMENT_GIB) + RUN_GIB[goal]
    if found.environment_gib < space:
        lacking.append(Lack(f"{found.environment_gib:.1f} GiB of disk are free at {ROOT} and {space:.1f} are needed"))
    if goal == "test" and not found.is_built and found.cache_gib < BUILD_GIB:
        lacking.append(
            Lack(
                f"{found.cache_gib:.1f} GiB of disk are free at {go_cache()} and {BUILD_GIB:.1f} are needed to build a "
                "Kubernetes API server; free some, or set MOAA_CACHE, GOCACHE and GOMODCACHE to folders elsewhere"
            )
        )
    if goal == "test" and not found.has_browser:
        lacking.append(
            Lack(
                "there is no Chromium, which tests of pages drive (on Ubuntu, which has it as a snap: `make setup`, "
                "then `.venv/bin/playwright install --with-deps chromium`)",
                BROWSER,
            )
        )
    return lacking


def _platform(found: Machine) -> list[Lack]:
    """What no package mends."""
    known = found.system == "Linux" and found.architecture in ARCHITECTURES
    if not known:
        machines = " or ".join(ARCHITECTURES)
        return [Lack(f"this is {found.system} on {found.architecture}; torch and vLLM run here on Linux, {machines}")]
    if found.glibc is None or found.glibc < GLIBC:
        what = "another C library than glibc" if found.glibc is None else f"glibc {_dotted(found.glibc)}"
        return [Lack(f"this Linux has {what}; torch and vLLM need glibc {_dotted(GLIBC)}, as Debian 10 and later have")]
    if found.architecture == "x86_64" and found.cpu_flags and "avx2" not in found.cpu_flags:
        return [Lack("this processor has no AVX2, which vLLM's CPU kernels need; use another machine")]
    return []


def look() -> Machine:
    """What this machine has."""
    environment = ROOT / ".venv"
    return Machine(
        system=platform.system(),
        architecture=platform.machine(),
        glibc=_glibc(),
        cpu_flags=_cpu_flags(),
        python=(sys.version_info[0], sys.version_info[1]),
        has_venv=shutil.which("uv") is not None or importlib.util.find_spec("ensurepip") is not None,
        missing_libraries=tuple(name for name in LIBRARIES if not _loads(name)),
        memory_gib=_memory_gib(),
        environment_gib=_free_gib(ROOT),
        cache_gib=_free_gib(go_cache()),
        is_installed=(environment / ".synced").exists(),
        is_built=_is_built(),
        has_browser=_has_browser(),
    )


def go_cache() -> Path:
    """Where Go keeps what it compiled."""
    return Path(os.environ.get("GOCACHE") or Path.home() / ".cache" / "go-build")


def _is_built() -> bool:
    """Where tests/tools.py looks, as far as a look is cheap."""
    cache = Path(os.environ.get("MOAA_CACHE") or Path.home() / ".cache" / "moaa") / "bin"
    places = [Path(os.environ[key]) for key in ("MOAA_TOOLS", "KUBEBUILDER_ASSETS") if os.environ.get(key)]
    on_path = shutil.which("kube-apiserver") is not None
    return on_path or any((place / "kube-apiserver").is_file() for place in [*places, cache])


def _has_browser() -> bool:
    fetched = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache" / "ms-playwright")
    return any(shutil.which(name) for name in BROWSERS) or any(fetched.glob("chromium-*"))


def _glibc() -> tuple[int, int] | None:
    name, version = platform.libc_ver()
    major, _, minor = version.partition(".")
    return (int(major), int(minor.split(".")[0])) if name == "glibc" and minor else None


def _cpu_flags() -> frozenset[str]:
    lines = _read("/proc/cpuinfo").splitlines()
    return frozenset(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())


def _loads(library: str) -> bool:
    """Whether the dynamic linker finds it, by whatever way it looks."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _memory_gib() -> float:
    """Free memory, within the container's limit where there is one (cgroup v2, then v1).

    A container's usage counts files that it has read and that the kernel drops when memory is asked for.
    """
    fields = dict(line.split(":", 1) for line in _read("/proc/meminfo").splitlines() if ":" in line)
    free = int(fields["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in fields else 0
    for folder, limit, usage, dropped in (
        ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        allowed, used = _read(f"{folder}/{limit}").strip(), _read(f"{folder}/{usage}").strip()
        if allowed.isdigit() and used.isdigit():
            stat = dict(line.split() for line in _read(f"{folder}/memory.stat").splitlines())
            free = min(free, max(int(allowed) - int(used) + int(stat.get(dropped, 0)), 0))
    return free / GIB


def _free_gib(folder: Path) -> float:
    """Of the file system that holds `folder`, or will once it is made."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free / GIB


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def manager() -> str | None:
    """The package manager of this machine."""
    return next((name for name in INSTALL if shutil.which(name)), None)


def install(packages: list[str], by: str) -> str:
    """Install `packages`; empty when it went well, else the manager's own last words."""
    *before, last = INSTALL[by]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in [*before, (*last, *packages)]:
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            words = done.stdout.decode(errors="replace").strip().splitlines()[-1:]
            return f"`{' '.join(command)}` failed: {words[0] if words else f'exit code {done.returncode}'}"
    return ""


def sentence(lack: Lack, by: str | None) -> str:
    """The lack as a person reads it, with the command that mends it where there is one."""
    package = PACKAGES.get(lack.package, {}).get(by or "")
    if by is None or package is None:
        names = sorted(set(PACKAGES[lack.package].values())) if lack.package else []
        return f"{lack.sentence}; install {' or '.join(names)}" if names else lack.sentence
    return f"{lack.sentence}; run: {'' if os.geteuid() == 0 else 'sudo '}{' '.join(INSTALL[by][-1])} {package}"


def main() -> int:
    parser = argparse.ArgumentParser(description="What this machine lacks; installed where it can be.")
    parser.add_argument("goal", choices=list(MEMORY_GIB))
    goal = parser.parse_args().goal
    lacking, by, refused = lacks(look(), goal), manager(), ""
    wanted = [PACKAGES[lack.package][by] for lack in lacking if by and lack.package]
    # Nothing is installed on a machine that will not do all the same.
    if by and wanted and os.geteuid() == 0 and all(lack.package for lack in lacking):
        print(f"installing {' '.join(wanted)} with {by}", flush=True)
        refused = install(wanted, by)
        lacking = lacks(look(), goal)
    for lack in lacking:
        print(f"make {goal} cannot start: {sentence(lack, by)}", file=sys.stderr)
    if lacking and refused:
        print(f"  {refused}", file=sys.stderr)
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())
