"""Pushes export folders to a hub: looks at what is there, changes it by one commit, and checks what arrived.

Nothing but questions is sent before `push`. Its commit replaces files of the same names. It removes those that a loader
would read beside the pushed ones: weights of another split, rows of an older export. All of them stay in the
repository's history. It is made only if nobody else has committed since. After an interruption the same push goes on:
what has arrived is not sent again.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile

from moaa.errors import StoreError, UsageError
from moaa.export.folder import contents
from moaa.export.hub import told
from moaa.store.stages.folders import file_digest

_UNREAD = ("LICENSE*", "LICENCE*", "NOTICE*")


class RepoKind(StrEnum):
    MODEL = "model"
    DATASET = "dataset"


_READ: Mapping[RepoKind, Sequence[str]] = {
    RepoKind.MODEL: (
        "*.safetensors", "*.bin", "*.pt", "*.json", "*.jinja", "*.model", "*.tiktoken", "*.txt", "*.py",
    ),
    RepoKind.DATASET: ("data/*.parquet",),
}  # fmt: skip
"""Files that loaders read beside those they are told of."""


class Change(StrEnum):
    """What a push does to one file."""

    NEW = "new"
    CHANGED = "changed"
    SAME = "same"
    REMOVED = "removed"
    LEFT = "left as it is"


@dataclass(frozen=True)
class FileChange:
    name: str
    change: Change
    size_bytes: int


@dataclass(frozen=True)
class Push:
    """One folder, one repository, and what a push would change there."""

    repo: str
    kind: RepoKind
    folder: Path
    branch: str | None
    """None: the default one."""
    is_private: bool
    """As it is, or as it will be made."""
    exists: bool
    has_branch: bool
    head: str | None
    """The commit that was looked at; None: the repository is new."""
    files: tuple[FileChange, ...]

    def of(self, *changes: Change) -> list[FileChange]:
        return [file for file in self.files if file.change in changes]

    @property
    def size_bytes(self) -> int:
        """At most to be sent."""
        return sum(file.size_bytes for file in self.of(Change.NEW, Change.CHANGED))


def look(
    api: HfApi, folder: Path, repo: str, kind: RepoKind, *, branch: str | None = None, is_private: bool = False
) -> Push:
    """What a push would change. Nothing is sent but questions; `is_private`: it has to be.

    Raises:
        UsageError: the repository is public, and has to be private.
        StoreError: the hub does not answer, or the folder cannot be read.
    """
    with told(repo):
        try:
            about = api.repo_info(repo, repo_type=kind.value)
        except RepositoryNotFoundError:
            files = _compared(folder, {}, kind)
            return Push(repo, kind, folder, branch, is_private, False, branch is None, None, files)
        if is_private and not about.private:
            raise UsageError(
                f"{repo}: is there and public; make it private in its settings on the hub, or leave out --private"
            )
        has_branch, head = True, about.sha
        if branch is not None:
            try:
                head = api.repo_info(repo, repo_type=kind.value, revision=branch).sha
            except RevisionNotFoundError:
                has_branch = False
        remote = _remote(api, repo, kind, head)
    files = _compared(folder, remote, kind)
    return Push(repo, kind, folder, branch, bool(about.private), True, has_branch, head, files)


def push(api: HfApi, planned: Push, message: str) -> str | None:
    """Make the commit and check what arrived; returns its address, None where there was nothing to change.

    Raises:
        UsageError: the hub refuses: who may not write, or somebody has committed in the meantime.
        StoreError: the hub does not answer, or does not hold what was sent.
    """
    kind = planned.kind.value
    send = planned.of(Change.NEW, Change.CHANGED)
    remove = planned.of(Change.REMOVED)
    with told(planned.repo):
        if not planned.exists:
            api.create_repo(planned.repo, repo_type=kind, private=planned.is_private or None)
        if planned.branch is not None and not planned.has_branch:
            api.create_branch(planned.repo, repo_type=kind, branch=planned.branch, exist_ok=True)
        if not send and not remove:
            return None
        done = api.create_commit(
            planned.repo,
            [
                *(CommitOperationAdd(path_in_repo=f.name, path_or_fileobj=planned.folder / f.name) for f in send),
                *(CommitOperationDelete(path_in_repo=f.name) for f in remove),
            ],
            commit_message=message,
            repo_type=kind,
            revision=planned.branch,
            parent_commit=planned.head,
        )
        arrived = _remote(api, planned.repo, planned.kind, done.oid)
    lost = [f.name for f in send if f.name not in arrived or not _is_same(planned.folder / f.name, arrived[f.name])]
    if lost:
        raise StoreError(
            f"{planned.repo}: at commit {done.oid} the hub does not hold what was sent: {', '.join(lost)}; see whether "
            "a .gitignore there passes them over"
        )
    return str(done.commit_url)


def _compared(folder: Path, remote: Mapping[str, RepoFile], kind: RepoKind) -> tuple[FileChange, ...]:
    """Every file of the folder, then those that only the repository has. Raises OSError: one cannot be read."""
    found = []
    for name in contents(folder):
        path = folder / name
        there = remote.get(name)
        change = Change.NEW if there is None else Change.SAME if _is_same(path, there) else Change.CHANGED
        found.append(FileChange(name, change, path.stat().st_size))
    names = {file.name for file in found}
    for name, there in remote.items():
        if name not in names:
            found.append(FileChange(name, Change.REMOVED if _is_read(name, kind) else Change.LEFT, there.size))
    return tuple(found)


def _is_same(path: Path, there: RepoFile) -> bool:
    """By the digest that the hub keeps: sha256 of a large file, git's own of any other."""
    if path.stat().st_size != there.size:
        return False
    if there.lfs is not None:
        return bool(there.lfs.sha256 == file_digest(path))
    content = path.read_bytes()
    return bool(there.blob_id == hashlib.sha1(b"blob %d\0%b" % (len(content), content)).hexdigest())


def _is_read(name: str, kind: RepoKind) -> bool:
    """Whether a loader that is told of the pushed files may read this one, too."""
    if any(fnmatch(name.rpartition("/")[2].upper(), pattern) for pattern in _UNREAD):
        return False
    return any(fnmatch(name, pattern) for pattern in _READ[kind])


def _remote(api: HfApi, repo: str, kind: RepoKind, revision: str | None) -> dict[str, RepoFile]:
    tree = api.list_repo_tree(repo, recursive=True, revision=revision, repo_type=kind.value)
    return {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
