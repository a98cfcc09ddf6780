"""The store's own copies of models of the Hub: brought once, read by every server, training and job.

A copy belongs to a model at a commit (`hub.commit_digest`), so all runs over one store share it. It is laid out as a
stage's output is, `stages/weights/<digest>/out/` and a manifest beside it: whoever may read students may read copies.
The manifest is written last and says size and sha256 of every file. Files are named by what they must hold, so several
attempts may bring the same one, and one that is there need not come again.
"""

import asyncio
import hashlib
import logging
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from moaa.api.base import Spec
from moaa.data.origin import Origin
from moaa.data.origin.base import Listing, PinnedFile
from moaa.errors import AlreadyExists, DataError, NotFound, StoreError
from moaa.plan.result import Digest
from moaa.store.objects.base import Store
from moaa.store.objects.tasks import map_bounded
from moaa.store.stages.folders import fetch_files, file_digest
from moaa.store.stages.manifest import ObjectRef
from moaa.store.stages.shards import read_object
from moaa.weights.folder import write
from moaa.weights.hub import is_brought

logger = logging.getLogger(__name__)

FILES_AT_ONCE = 2
"""One comes from the Hub while another goes to the store. Each lies on this machine's disk meanwhile."""
_BLOCK_BYTES = 1 << 20
Tell = Callable[[int, int], None]
"""Bytes that are in the store, of how many."""


class Copy(Spec):
    """The manifest of a copy (`stages/weights/<digest>/manifest.json`). Without it there is no copy."""

    source: str
    """hf://owner/name."""
    commit: str
    digest: Digest
    """Of source and commit: the model's in every manifest of a stage."""
    files: list[ObjectRef]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    def named(self) -> Mapping[str, ObjectRef]:
        """Files by their names in the model's folder."""
        return {file.key.removeprefix(f"{_root(self.digest)}/"): file for file in self.files}


@dataclass(frozen=True)
class Wanted:
    """A model of the Hub at a commit."""

    source: str
    digest: str
    """Of source and commit."""
    origin: Origin
    """The Hub, with the model's token."""
    listing: Listing
    """All of its files, as they were pinned; not all of them are brought."""

    @property
    def files(self) -> list[PinnedFile]:
        """Those to bring."""
        return [file for file in self.listing.files if is_brought(file.name)]


async def read(store: Store, digest: str) -> Copy | None:
    """The copy of the model with this digest, or None when there is none.

    Raises:
        StoreError: the store did not answer, or the manifest is damaged.
    """
    key = _manifest(digest)
    try:
        return Copy.model_validate_json(await store.get(key))
    except NotFound:
        return None
    except ValidationError as error:
        raise StoreError(
            f"{store.uri}/{key}: is damaged, or of another version ({error.error_count()} problems); remove it: "
            "servers then read the Hub, and the next run that resolves the model copies what is missing"
        ) from error


async def make(wanted: Wanted, store: Store, scratch: Path, tell: Tell) -> Copy:
    """Copy a model from the Hub into the store, as far as it is not there yet. Every file is checked on the way.

    `scratch` takes FILES_AT_ONCE files at a time and is empty of them afterwards.

    Raises:
        DataError: a file is gone from the Hub, or is another one than was pinned.
        StoreError: the Hub or the store did not answer, or the disk has no room; another attempt goes on from here.
    """
    root = _root(wanted.digest)
    there = {found.key: found.size_bytes async for found in store.list(f"{root}/")}
    missing = [file for file in wanted.files if there.get(f"{root}/{file.name}") != file.size_bytes]
    known = await read(store, wanted.digest)
    total = sum(file.size_bytes for file in wanted.files)
    done = total - sum(file.size_bytes for file in missing)
    tell(done, total)
    if known is not None and not missing:
        return known
    await asyncio.to_thread(_check_room, missing, scratch, wanted.source)

    async def bring(file: PinnedFile) -> None:
        nonlocal done
        await _bring(wanted, file, store, scratch)
        done += file.size_bytes
        tell(done, total)

    await map_bounded(missing, bring, at_once=FILES_AT_ONCE)
    refs = [await _reference(wanted, file, store) for file in wanted.files]
    copy = Copy(source=wanted.source, commit=str(wanted.listing.revision), digest=wanted.digest, files=refs)
    try:
        await store.put_if_absent(_manifest(wanted.digest), copy.model_dump_json().encode())
    except AlreadyExists:  # another attempt's, of the same files
        logger.info("weights_copied_by_another source=%s", wanted.source)
    return copy


async def take(store: Store, copy: Copy, target: Path, *, select: Callable[[str], bool] | None = None) -> Path:
    """The selected files of a copy as a folder on this machine, each checked. `select` None: all.

    Raises:
        StoreError: a file is missing or differs, or the disk does not take it.
    """
    if select is None:
        return await fetch_files(store, copy.files, _root(copy.digest), target)
    for name, ref in copy.named().items():
        if select(name):
            write(target / name, await read_object(store, ref))
    return target


class CopyOrigin:
    """The files of a copy as an origin: what looks at a model asks the store instead of the Hub."""

    def __init__(self, store: Store, copy: Copy, listing: Listing) -> None:
        self._store = store
        self._files = copy.named()
        self._listing = listing

    async def pin(self, select: Callable[[list[str]], list[str]]) -> Listing:
        """The files that were pinned when the copy was asked for."""
        chosen = set(select([file.name for file in self._listing.files]))
        return Listing(self._listing.revision, tuple(file for file in self._listing.files if file.name in chosen))

    async def fetch(self, file: PinnedFile, revision: str | None, folder: Path) -> Path:  # noqa: ARG002
        """As `Origin.fetch`."""
        write(folder / file.name, await read_object(self._store, self._ref(file)))
        return folder / file.name

    async def start(self, file: PinnedFile, size_bytes: int) -> bytes:
        """As `StartReader.start`."""
        ref = self._ref(file)
        return await self._store.get_range(ref.key, 0, min(size_bytes, ref.size_bytes)) if ref.size_bytes else b""

    def _ref(self, file: PinnedFile) -> ObjectRef:
        """Raises StoreError: the copy has no such file."""
        if file.name not in self._files:
            raise StoreError(f"{self._store.uri}: the copy of the model lacks {file.name}; remove its manifest")
        return self._files[file.name]


def _root(digest: str) -> str:
    return f"stages/weights/{digest[:32]}/out"


def _manifest(digest: str) -> str:
    return f"stages/weights/{digest[:32]}/manifest.json"


def _check_room(missing: list[PinnedFile], scratch: Path, source: str) -> None:
    """Raises StoreError: the disk has no room for the largest files that are here at the same time."""
    largest = sorted((file.size_bytes for file in missing), reverse=True)[:FILES_AT_ONCE]
    scratch.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(scratch).free
    if free < sum(largest):
        raise StoreError(
            f"{source}: {len(largest)} of its files lie on this disk at a time while they are copied into the store, "
            f"{sum(largest) / 2**30:.1f} GiB at most, and {scratch} has {free / 2**30:.1f} GiB free; give it more"
        )


async def _bring(wanted: Wanted, file: PinnedFile, store: Store, scratch: Path) -> None:
    path = await wanted.origin.fetch(file, wanted.listing.revision, scratch)
    try:
        found = await asyncio.to_thread(_content, path, file)
        if found != file.digest:
            raise DataError(
                f"{wanted.source}: {file.name} has {found} and was pinned as {file.digest}; run again, and if it stays "
                "so, name another revision"
            )
        await store.upload(f"{_root(wanted.digest)}/{file.name}", path)
    finally:
        path.unlink(missing_ok=True)


async def _reference(wanted: Wanted, file: PinnedFile, store: Store) -> ObjectRef:
    """A file that is in the store. The Hub says the sha256 of large files; small ones are read for it."""
    key = f"{_root(wanted.digest)}/{file.name}"
    kind, _, value = file.digest.partition(":")
    if kind == "sha256":
        return ObjectRef(key=key, size_bytes=file.size_bytes, sha256=value)
    body = await store.get(key)
    if f"git:{_git_blob(len(body), [body])}" != file.digest:
        raise StoreError(f"{store.uri}/{key}: is not the file that was copied; remove it and start again")
    return ObjectRef(key=key, size_bytes=len(body), sha256=hashlib.sha256(body).hexdigest())


def _content(path: Path, file: PinnedFile) -> str:
    """The digest of a file in the way in which the Hub gives it: `sha256:…` of a large one, `git:…` of a small one."""
    if file.digest.startswith("sha256:"):
        return f"sha256:{file_digest(path)}"
    with path.open("rb") as source:
        return f"git:{_git_blob(path.stat().st_size, iter(lambda: source.read(_BLOCK_BYTES), b''))}"


def _git_blob(size_bytes: int, blocks: Iterable[bytes]) -> str:
    """Git's name of a file's content."""
    found = hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False)
    for block in blocks:
        found.update(block)
    return found.hexdigest()
