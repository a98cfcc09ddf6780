"""Digests of values and files, always sha256 in hex."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

CHUNK_BYTES = 1 << 20


def canonical(value: object) -> bytes:
    """The one JSON text of a value, as output digests use it: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest_of(value: object) -> str:
    return hashlib.sha256(canonical(value)).hexdigest()


def file_digest(path: Path) -> str:
    """Of the file's bytes. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_digest(files: Iterable[tuple[str, str]]) -> str:
    """Of (relative name, digest) pairs in any order: sha256 over the sorted lines `<name>\\t<digest>\\n`."""
    lines = sorted(f"{name}\t{digest}\n" for name, digest in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
