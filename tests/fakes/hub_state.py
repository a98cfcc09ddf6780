"""What the hub on loopback (`tests.fakes.hub`) holds: repositories with branches and commits, in memory."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from threading import Event
from typing import Any

WRITER, READER, STRANGER = "hub-writer", "hub-reader", "hub-stranger"
"""Tokens: who owns `me`, the same account with a token that only reads, and another account."""
NAMES = {WRITER: "me", READER: "me", STRANGER: "you"}
LARGE = (".safetensors", ".parquet", ".bin")
SIGNATURE = "X-Amz-Signature=very-secret"


@dataclass(frozen=True)
class Blob:
    content: bytes
    is_large: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def oid(self) -> str:
        """Git's; of a large file that of its pointer."""
        body = self.content
        if self.is_large:
            body = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(body)}\n".encode()
        return hashlib.sha1(b"blob %d\0%b" % (len(body), body)).hexdigest()

    def entry(self, path: str) -> dict[str, Any]:
        lfs = {"oid": self.sha256, "size": len(self.content), "pointerSize": 130}
        about = {"type": "file", "path": path, "oid": self.oid, "size": len(self.content)}
        return about | ({"lfs": lfs} if self.is_large else {})


@dataclass
class Repository:
    is_private: bool
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, Blob]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, branch: str, files: dict[str, Blob], message: str) -> str:
        parent = self.branches.get(branch, "")
        body = f"{parent}{message}{sorted((name, blob.oid) for name, blob in files.items())}"
        oid = hashlib.sha1(body.encode()).hexdigest()
        self.branches[branch], self.commits[oid] = oid, files
        self.messages.append(message)
        return oid

    def files(self, revision: str = "main") -> dict[str, Blob] | None:
        return self.commits.get(self.branches.get(revision, revision))


@dataclass
class FakeHub:
    """Its state, and knobs of tests."""

    url: str = ""
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    """By kind (`models`, `datasets`) and name."""
    large: dict[str, bytes] = field(default_factory=dict)
    """By sha256."""
    puts: list[int] = field(default_factory=list)
    """Sizes of large files that were sent, in order."""
    refuse_puts_after: int | None = None
    """Large files that are taken; further ones are refused for good."""
    reads: Counter[str] = field(default_factory=Counter)
    """Downloads of whole files, by `<repository>/<file>`."""
    looks: Counter[str] = field(default_factory=Counter)
    """Downloads of parts of files."""
    held: str = ""
    """A file whose download waits for `go_on`, by `<repository>/<file>`; `is_held` says that one does."""
    is_held: Event = field(default_factory=Event)
    go_on: Event = field(default_factory=Event)
    passed_over: str = ""
    """A file that a .gitignore passes over."""
