"""Folders of weights on this machine, in the store, in a bucket; and what a folder tells."""

import os
from collections.abc import Callable
from pathlib import Path

from moaa.api.file_uri import file_path
from moaa.api.resource import Storage
from moaa.data.origin.buckets import Buckets
from moaa.data.origin.local import LocalOrigin
from moaa.data.origin.s3 import S3Origin
from moaa.errors import DataError, StoreError, outside
from moaa.json_file import read_json_object
from moaa.store.objects.base import Store
from moaa.store.objects.open import StoreSettings, open_store
from moaa.store.stages.folders import fetch_folder, fetch_objects
from moaa.store.stages.shards import read_manifest, read_object
from moaa.weights.find import MODEL, ModelWeights, changed

CONFIG = "config.json"


async def in_place(weights: ModelWeights) -> Path:
    """The folder of a file:// source if it still holds what the run pinned: every file is read for that.

    Raises:
        DataError: it is no model's folder, or has changed.
    """
    source = str(weights.source)
    path = file_path(source)
    if not (path / CONFIG).is_file():
        raise _no_model(source)
    listing = await LocalOrigin(source, path).pin(list)
    if listing.digest != weights.digest:
        raise changed(weights)
    return path


async def from_store(store: Store, folder: str, target: Path, *, select: Callable[[str], bool] | None = None) -> Path:
    """The output of a training stage, every fetched file checked against its manifest. `select` None: the whole folder.

    Raises:
        StoreError: no manifest names the folder, or an object is missing or differs.
    """
    manifest = await read_manifest(store, folder.partition("/out/")[0])
    if manifest is None or manifest.outputs[MODEL].uri != folder:
        raise StoreError(f"{store.uri}/{folder}: no stage's manifest names this folder; restore it")
    if select is None:
        return await fetch_folder(store, manifest, MODEL, target)
    for ref in manifest.files[MODEL]:
        name = ref.key.removeprefix(f"{folder}/")
        if select(name):
            write(target / name, await read_object(store, ref))
    return target


def write(file: Path, body: bytes) -> None:
    """A small file, with its folder. Raises StoreError: the disk does not take it."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)
    except OSError as error:
        raise StoreError(outside(error)) from error


async def from_bucket(weights: ModelWeights, storage: Storage, target: Path, *, select: Callable[[str], bool]) -> Path:
    """The selected objects under an s3:// prefix, if it still holds what the run pinned.

    Raises:
        DataError: there is no model, or it has changed.
        StoreError: a download failed.
    """
    if target.is_dir():
        return target
    source = str(weights.source)
    buckets = Buckets(storage)
    try:
        listing = await S3Origin(source, buckets.connect).pin(list)
    finally:
        await buckets.close()
    names = [file.name for file in listing.files]
    if CONFIG not in names:
        raise _no_model(source)
    if listing.digest != weights.digest:
        raise changed(weights)
    bucket = open_store(storage.with_(uri=source.rstrip("/")), StoreSettings())
    try:
        await fetch_objects(bucket, filter(select, names), target)
    finally:
        await bucket.close()
    return target


def link(target: Path, folder: Path) -> None:
    """Make `target` lead to `folder`, atomically: it is absent or leads to a whole folder."""
    if target.resolve() == folder.resolve():
        return
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(folder.resolve(), target_is_directory=True)
    temporary.replace(target)


def size_gib(folder: Path) -> float:
    """Size of the weights' files; 0 for a folder without any in a known format."""
    files = [file for pattern in ("*.safetensors", "*.bin", "*.gguf") for file in folder.glob(pattern)]
    return sum(file.stat().st_size for file in files) / 1024**3


def read_config(folder: Path) -> dict[str, object]:
    """The model's config.json. Raises DataError: it is missing or not a JSON object."""
    return read_json_object(folder / CONFIG, remedy="source must name a model's folder, whole")


def _no_model(source: str) -> DataError:
    return DataError(f"{source}: has no config.json; source must be a model's folder, on every machine that reads it")
