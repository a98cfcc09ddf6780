"""A copy of the tree to extend: its files, its checks, and what a patch touches."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FREE = ("tests/", "docs/", "charts/moaa/files/", "CHANGELOG.md")
"""Tests, documents and generated files are not counted."""


@dataclass(frozen=True)
class Done:
    code: int
    text: str
    """Standard output and errors together."""


def copy_tree(folder: Path) -> Path:
    """Every file of the tree, with the type checker's cache, which spares most of its work."""
    listed = _git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in listed:
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    if (ROOT / ".mypy_cache").is_dir():
        shutil.copytree(ROOT / ".mypy_cache", folder / ".mypy_cache")
    return folder


def touched(patch: Path) -> list[str]:
    """Source files that a patch adds or changes."""
    names = [line.split("\t")[2] for line in _git("apply", "--numstat", str(patch)).splitlines()]
    return [name for name in names if not name.startswith(FREE)]


def apply(patch: Path, folder: Path) -> None:
    """Apply a patch. One line around each change has to be as it was."""
    done = _run(["git", "apply", "-C1", "--whitespace=nowarn", str(patch)], folder)
    assert done.code == 0, f"{patch.name} does not fit the tree any more; make it again: {done.text}"


@contextmanager
def forgotten(name: str, folder: Path) -> Iterator[None]:
    """One file of the copy as it is without the patch."""
    file, before = folder / name, ROOT / name
    extended = file.read_bytes()
    if before.exists():
        file.write_bytes(before.read_bytes())
    else:
        file.unlink()
    yield
    file.write_bytes(extended)


def type_check(folder: Path) -> Done:
    return _run([sys.executable, "-m", "mypy"], folder)


def tests(folder: Path, names: Sequence[str]) -> Done:
    return _run([sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *names], folder)


def generate(folder: Path) -> None:
    """What `make crd` does."""
    done = _run([sys.executable, "-m", "moaa.cli", "crd"], folder)
    assert done.code == 0, done.text
    (folder / "charts/moaa/files/moaas.moaa.dev.yaml").write_text(done.text)


def _run(command: Sequence[str], folder: Path) -> Done:
    """In the copy, whose packages come before the installed ones."""
    paths = os.pathsep.join(str(folder / part) for part in (".", "jobs", "operator"))
    environment = {**os.environ, "PYTHONPATH": paths, "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    done = subprocess.run(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return Done(done.returncode, done.stdout)


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, text=True, capture_output=True, check=True).stdout
