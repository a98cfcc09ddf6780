"""Which commit a benchmark measured."""

import subprocess
from pathlib import Path


def commit() -> str:
    """Raises SystemExit: the tree is no clean commit, so that a result would name nothing."""
    folder = Path(__file__).parent
    named = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True)
    dirty = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=folder, capture_output=True, text=True)
    if dirty.stdout.strip():
        raise SystemExit("the working tree has changes; commit them first, so that the result names what ran")
    return named.stdout.strip()[:12]
