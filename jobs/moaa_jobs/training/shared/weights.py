"""Which weights a training stage starts from, and bringing weights to the machine that trains or serves them."""

import asyncio
import fnmatch
import os
from collections.abc import Callable
from pathlib import Path

from moaa.api.file_uri import file_path
from moaa.api.resource import Storage
from moaa.data.pins import MODELS
from moaa.errors import DataError, StoreError
from moaa.plan.digests import model_digest
from moaa.plan.ids import RESOLVE, made_by
from moaa.store.objects.base import Store
from moaa.store.objects.open import StoreSettings, open_store
from moaa.store.stages.folders import fetch_folder, fetch_objects
from moaa.store.stages.shards import read_manifest, read_object
from moaa_jobs.runner.context import Context
from moaa_jobs.runner.inputs import rows_of
from moaa_jobs.training.shared.messages import Weights

STORE = "store:"
_HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.tiktoken", "*.py"]
"""Weights once: safetensors, not the same again in other formats."""
MODEL = "model"
"""The folder output of every training stage, and of promote, which points to another stage's."""


async def find(name: str, context: Context) -> Weights:
    """The weights behind a declared name or `@<stage>`.

    Raises:
        StageError: the stage that should have made them, or the one that pinned them, is not among the results.
        DataError: the model is somebody else's endpoint.
    """
    job, spec = context.job, context.resource.spec
    digest = model_digest(name, job.results)
    maker = made_by(name)
    # A promotion that kept the declared model has no folder.
    folder = job.results[maker].outputs[MODEL].uri if maker else None
    if folder is not None:
        return Weights(digest=digest, uri=f"{STORE}{folder}")
    model = spec.model(spec.student if maker else name)
    if model.source is None:
        raise DataError(f"spec.models {model.name}: is an endpoint, which cannot be trained; give it a source")
    if not model.source.startswith("hf://"):
        return Weights(digest=digest, uri=model.source)
    pinned = {row["name"]: row["revision"] for row in await rows_of(context, RESOLVE, MODELS)}
    secret = model.token_secret.environment_variable if model.token_secret else None
    return Weights(digest=digest, uri=model.source, revision=pinned[model.name], secret_variable=secret)


Select = Callable[[str], bool]
"""Chooses among the file names of a model's folder."""


def everything(name: str) -> bool:  # noqa: ARG001  a Select
    return True


def all_but_weights(name: str) -> bool:
    """What tokenising needs: the driver trains nothing and may have no room for the weights."""
    return not fnmatch.fnmatch(name, "*.safetensors")


async def bring(weights: Weights, store: Store, storage: Storage, cache: Path, select: Select = everything) -> Path:
    """The folder with the selected files on this machine; read-only. `storage` says how buckets are reached.

    Raises:
        DataError: there is no model where the resource says.
        StoreError: a download failed.
    """
    scheme, _, rest = weights.uri.partition(":")
    target = cache / f"{weights.digest[:32]}{'' if select is everything else '-part'}"
    match scheme:
        case "store":
            return await _from_store(store, rest, target, select)
        case "file":
            folder = file_path(weights.uri)
            if not (folder / "config.json").is_file():
                raise DataError(f"{weights.uri}: has no config.json; source must be a model's folder on every machine")
            return folder
        case "s3":
            return await _from_bucket(weights.uri, storage, target, select)
        case "hf":
            return await asyncio.to_thread(_from_hub, weights, cache, select)
    raise DataError(f"{weights.uri}: cannot be trained from here; use file://, s3:// or hf://")


async def _from_store(store: Store, folder: str, target: Path, select: Select) -> Path:
    """The output of an earlier training stage, every fetched file checked against its manifest."""
    manifest = await read_manifest(store, folder.partition("/out/")[0])
    if manifest is None or manifest.outputs[MODEL].uri != folder:
        raise StoreError(f"{store.uri}/{folder}: no stage's manifest names this folder; restore it")
    if select is everything:
        return await fetch_folder(store, manifest, MODEL, target)
    for ref in manifest.files[MODEL]:
        name = ref.key.removeprefix(f"{folder}/")
        if select(name):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(await read_object(store, ref))
    return target


async def _from_bucket(uri: str, storage: Storage, target: Path, select: Select) -> Path:
    """Every selected object under the prefix."""
    if target.is_dir():
        return target
    bucket = open_store(storage.with_(uri=uri.rstrip("/")), StoreSettings())
    try:
        keys = [found.key async for found in bucket.list("")]
        if "config.json" not in keys:
            raise DataError(f"{uri}: has no config.json; source must be a model's folder")
        await fetch_objects(bucket, filter(select, keys), target)
    finally:
        await bucket.close()
    return target


def _from_hub(weights: Weights, cache: Path, select: Select) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        folder = snapshot_download(
            weights.uri.removeprefix("hf://"),
            revision=weights.revision,
            cache_dir=cache / "hub",
            token=os.environ.get(weights.secret_variable or "") or None,
            allow_patterns=[pattern for pattern in _HUB_FILES if select(pattern)],
        )
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise StoreError(f"{weights.uri} at {weights.revision or 'its default branch'}: {error}") from error
    return Path(folder)
