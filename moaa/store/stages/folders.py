"""Folders as outputs: weights, tokenizers, adapters.

A folder is its files' relative names and contents; its digest is the sha256 over one line for each file, sorted by
name: the name, a tab, the file's sha256. Order of upload, times and modes do not count. A folder has no marker of its
own: it exists when a manifest names its objects.
"""

import asyncio
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from uuid import uuid4

from moaa.errors import StoreError
from moaa.plan.result import Output
from moaa.store.fencing import Token
from moaa.store.objects.base import Store
from moaa.store.objects.keys import check_key
from moaa.store.objects.tasks import map_bounded
from moaa.store.stages.manifest import ObjectRef, StageManifest
from moaa.store.stages.partial import kept_folder, partial_folder
from moaa.store.stages.shards import check_object

_FILES_AT_ONCE = 4
_COMPLETE = ".moaa-complete.json"
"""Marks a fetched folder with the digest of what it holds; written before the folder gets its name."""


def folder_digest(files: Mapping[str, str]) -> str:
    """Digest of a folder from relative names (`/`-separated) to sha256 of contents."""
    lines = "".join(f"{name}\t{sha256}\n" for name, sha256 in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


async def publish_folder(
    store: Store, stage_path: str, token: Token, local_dir: Path, name: str
) -> tuple[Output, list[ObjectRef]]:
    """Upload every file below `local_dir` as output `name` of this attempt; the caller puts both into its manifest.

    Raises:
        Fenced: a later attempt owns the work.
        StoreError: the folder is empty or missing, or the store fails.
        ValueError: the token is another stage's.
    """
    root = token.out_key(name)
    if not root.startswith(f"{stage_path}/"):
        raise ValueError(f"{stage_path}: the token is for {token.stage_path}")

    async def upload(relative: str) -> ObjectRef:
        path = local_dir / relative
        sha256 = await asyncio.to_thread(file_digest, path)
        await token.check()
        await store.upload(f"{root}/{relative}", path)
        return ObjectRef(key=f"{root}/{relative}", size_bytes=path.stat().st_size, sha256=sha256)

    files = await asyncio.to_thread(_files, local_dir)
    refs = await map_bounded(files, upload, at_once=_FILES_AT_ONCE)
    await token.check()
    digest = folder_digest({_relative(ref, root): ref.sha256 for ref in refs})
    return Output(digest=digest, uri=root), refs


async def fetch_folder(store: Store, manifest: StageManifest, name: str, target_dir: Path) -> Path:
    """Bring the folder `name` of a manifest to this machine and check every file; returns where it lies.

    That is the store's own folder when the store is on this machine (then read-only: do not write there), else
    `target_dir`, which is complete or absent at every instant and is not fetched again while it holds this very folder.

    Raises:
        StoreError: the manifest has no such folder, or an object is missing or differs.
    """
    root, digest, refs = _named(manifest, name)
    local = store.local_path(root)
    if local is not None:
        await _check_all(store, refs, root, local)
        return local
    if not await asyncio.to_thread(_is_complete, target_dir, digest, refs, root):
        async with partial_folder(target_dir) as partial:
            await _copy(store, refs, root, partial)
            await asyncio.to_thread(_move_in, partial, target_dir, digest)
    return target_dir


async def fetch_files(store: Store, refs: Sequence[ObjectRef], root: str, target: Path) -> Path:
    """Bring the files `refs` below the key `root` to this machine, each checked; returns where they lie.

    As `fetch_folder`, but a killed attempt is gone on with, file by file, and of several processes one does it: for
    folders that take longer than a server's patience. `target` is whole when this returns, and not before.

    Raises:
        StoreError: an object is missing or differs, or the disk does not take it.
    """
    local = store.local_path(root)
    if local is not None:
        await _check_all(store, refs, root, local)
        return local
    digest = folder_digest({_relative(ref, root): ref.sha256 for ref in refs})
    try:
        if not await asyncio.to_thread(_is_complete, target, digest, refs, root):
            async with kept_folder(target):
                await _go_on(store, refs, root, target)
                await asyncio.to_thread((target / _COMPLETE).write_text, json.dumps({"digest": digest}))
    except OSError as error:
        raise StoreError(
            f"{target}: {error.strerror}, while downloading {root}; free space, then start again"
        ) from error
    return target


async def copy_folder(store: Store, manifest: StageManifest, name: str, into: Path) -> None:
    """A copy of the folder `name` of a manifest, every file checked, in the folder `into`, which is there.

    Raises:
        StoreError: the manifest has no such folder, or an object is missing or differs.
    """
    root, _, refs = _named(manifest, name)
    await _copy(store, refs, root, into)


def _named(manifest: StageManifest, name: str) -> tuple[str, str, Sequence[ObjectRef]]:
    """Place, digest and files of a folder. Raises StoreError: the manifest has none of that name, or not its files."""
    output = manifest.outputs.get(name)
    refs = manifest.files.get(name)
    if output is None or output.uri is None or not refs:
        raise StoreError(
            f"{manifest.stage}: its manifest has no folder {name!r}, only {', '.join(manifest.files) or 'none'}"
        )
    root = output.uri
    if folder_digest({_relative(ref, root): ref.sha256 for ref in refs}) != output.digest:
        raise StoreError(f"{manifest.stage}: the files of folder {name!r} do not give its digest; restore the manifest")
    return root, output.digest, refs


async def fetch_objects(store: Store, keys: Iterable[str], target: Path) -> None:
    """The objects `keys` as a local folder without a manifest, such as a model's in a bucket.

    `target` is complete or absent at every instant. One that is there, another process's perhaps, stays.

    Raises:
        StoreError: an object cannot be had, or the disk does not take it.
    """
    try:
        async with partial_folder(target) as partial:

            async def fetch(key: str) -> None:
                (partial / key).parent.mkdir(parents=True, exist_ok=True)
                await store.download(key, partial / key)

            await map_bounded(keys, fetch, at_once=_FILES_AT_ONCE)
            await asyncio.to_thread(_move_unless_there, partial, target)
    except OSError as error:
        raise StoreError(
            f"{target}: {error.strerror}, while downloading {store.uri}; mend it, then start again"
        ) from error


async def _copy(store: Store, refs: Sequence[ObjectRef], root: str, into: Path) -> None:
    async def fetch(ref: ObjectRef) -> None:
        path = into / _relative(ref, root)
        path.parent.mkdir(parents=True, exist_ok=True)
        await store.download(ref.key, path)
        await _check_file(store, ref, path)

    await map_bounded(refs, fetch, at_once=_FILES_AT_ONCE)


async def _go_on(store: Store, refs: Sequence[ObjectRef], root: str, target: Path) -> None:
    """As `_copy`, without the files that are there and right."""

    async def is_there(ref: ObjectRef) -> bool:
        path = target / _relative(ref, root)
        if not path.is_file() or path.stat().st_size != ref.size_bytes:
            return False
        return await asyncio.to_thread(file_digest, path) == ref.sha256

    found = await map_bounded(refs, is_there, at_once=_FILES_AT_ONCE)
    await _copy(store, [ref for ref, there in zip(refs, found, strict=True) if not there], root, target)


async def _check_all(store: Store, refs: Sequence[ObjectRef], root: str, folder: Path) -> None:
    async def check(ref: ObjectRef) -> None:
        await _check_file(store, ref, folder / _relative(ref, root))

    await map_bounded(refs, check, at_once=_FILES_AT_ONCE)


async def _check_file(store: Store, ref: ObjectRef, path: Path) -> None:
    try:
        sha256 = await asyncio.to_thread(file_digest, path)
    except FileNotFoundError as error:
        raise StoreError(f"{store.uri}/{ref.key}: named by a manifest but missing; restore it") from error
    check_object(store, ref, path.stat().st_size, sha256)


def file_digest(path: Path) -> str:
    """sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(folder: Path) -> list[str]:
    """Relative names of all files below, sorted. Links to files count as files (the Hub's cache is made of them)."""
    if not folder.is_dir():
        raise StoreError(f"{folder}: is not a folder; the stage was to write its output there")
    names = [
        (Path(where) / file).relative_to(folder).as_posix()
        for where, _, files in os.walk(folder)
        for file in files
        if file != _COMPLETE
    ]
    if not names:
        raise StoreError(f"{folder}: holds no files; the stage was to write its output there")
    return sorted(names)


def _is_complete(target: Path, digest: str, refs: Sequence[ObjectRef], root: str) -> bool:
    try:
        if json.loads((target / _COMPLETE).read_text())["digest"] != digest:
            return False
        return all((target / _relative(ref, root)).stat().st_size == ref.size_bytes for ref in refs)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _move_in(partial: Path, target: Path, digest: str) -> None:
    (partial / _COMPLETE).write_text(json.dumps({"digest": digest}))
    if target.exists():
        # Another folder, or an incomplete one; a rename cannot replace a folder that holds something.
        old = target.with_name(f".{target.name}.{uuid4().hex[:8]}.old")
        target.rename(old)
        shutil.rmtree(old)
    partial.rename(target)


def _move_unless_there(partial: Path, target: Path) -> None:
    try:
        partial.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _relative(ref: ObjectRef, root: str) -> str:
    """Name within the folder. Raises StoreError: the object lies elsewhere, which a sound manifest never says."""
    name = ref.key.removeprefix(f"{root}/")
    if name == ref.key:
        raise StoreError(f"{ref.key}: lies outside its folder {root}; restore the manifest")
    check_key(name)
    return name
