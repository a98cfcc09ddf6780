"""Where a model's weights lie on this machine, and bringing them here when they lie elsewhere.

A declared model comes from its source, a student from the store, from the folder `model` of the stage that made it.
Folders are kept under the digest of their content, so that a folder which is there is the right one, and one that two
names share is fetched and served once.
"""

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from moaa.api import MoAA
from moaa.api.file_uri import file_path
from moaa.api.models import Endpoint, Model, Serving
from moaa.data.origin.local import LocalOrigin
from moaa.errors import DataError, ServerError
from moaa.plan.digests import model_digest
from moaa.plan.ids import made_by
from moaa.plan.kinds.table import TRAINING
from moaa.plan.result import StageResult
from moaa.store.objects.base import Store
from moaa.store.objects.open import StoreSettings, open_store
from moaa.store.stages.folders import fetch_folder, fetch_objects
from moaa.store.stages.shards import read_manifest

Results = Mapping[str, StageResult]


@dataclass(frozen=True)
class Weights:
    """One model's weights, wherever they are."""

    digest: str
    """Of the content: equal digests are the same weights."""
    model: Model
    """The declared model; for a student the one it was trained from, whose serving it keeps."""
    store_prefix: str | None = None
    """Folder in the store; None: `model.source`."""
    commit: str | None = None
    """hf:// only: what the first run pinned."""

    @property
    def serving(self) -> Serving:
        return self.model.serving


def find(name: str, resource: MoAA, results: Results, commits: Mapping[str, str]) -> Weights | Endpoint:
    """What answers for a name of `Stage.serves`: weights that we serve, or somebody else's endpoint.

    `commits` are the pinned commits of declared models, by name.

    Raises:
        StageError: the results do not say.
    """
    digest = model_digest(name, results)
    maker = made_by(name)
    model = resource.spec.model(name if maker is None else resource.spec.student)
    if model.endpoint is not None:
        return model.endpoint
    # A promotion that kept the base model has no folder: its digest is the declared model's.
    prefix = results[maker].outputs["model"].uri if maker is not None else None
    return Weights(digest=digest, model=model, store_prefix=prefix, commit=commits.get(model.name))


async def bring(
    weights: Weights, *, resource: MoAA, results: Results, store: Store, cache: Path, token: str | None
) -> Path:
    """The folder with the weights on this machine, after a download where needed. `token` is for the Hub.

    Raises:
        DataError: the source cannot be served on one machine, or is not what the run pinned.
        ServerError: the Hub or the bucket does not give it.
        StoreError: a download failed, or what lies in the store is not what was trained.
    """
    target = cache / "weights" / weights.digest[:32]
    if weights.store_prefix is not None:
        return await _student(weights.store_prefix, results, store=store, target=target)
    model = weights.model
    scheme, _, rest = (model.source or "").partition("://")
    match scheme:
        case "file":
            return await _unchanged(weights, file_path(str(model.source)))
        case "hf":
            return await asyncio.to_thread(_from_hub, rest, weights.commit or model.revision, cache / "hub", token)
        case "s3":
            remote = open_store(resource.spec.storage.with_(uri=model.source), StoreSettings())
            try:
                return await _download(remote, target)
            finally:
                await remote.close()
        case _:
            raise DataError(
                f"spec.models {model.name}: {model.source} exists only on Kubernetes; use file://, s3:// or hf:// here"
            )


async def _unchanged(weights: Weights, folder: Path) -> Path:
    """The folder of a file:// source if it still holds what resolve pinned; everything rests on that digest."""
    listing = await LocalOrigin(str(weights.model.source), folder).pin(list)
    if listing.digest != weights.digest:
        raise DataError(
            f"spec.models {weights.model.name}: {folder} is not what it was when the run resolved its models; "
            "put the files back, or give the new ones a folder of their own and name that in source"
        )
    return folder


async def _student(prefix: str, results: Results, *, store: Store, target: Path) -> Path:
    """A student's folder, every file checked against the manifest of the stage that trained it.

    A promotion names the folder of a training stage, so that stage is looked for by the folder.
    """
    for result in results.values():
        model = result.outputs.get("model")
        if result.kind in TRAINING and model is not None and model.uri == prefix:
            manifest = await read_manifest(store, result.path)
            if manifest is not None:
                return await fetch_folder(store, manifest, "model", target)
    raise ServerError(f"{store.uri}/{prefix}: no finished training stage names this folder; was its manifest deleted?")


async def _download(store: Store, folder: Path) -> Path:
    """Every object of a store, here the prefix of a model."""
    if folder.is_dir():
        return folder
    keys = [found.key async for found in store.list("")]
    if not keys:
        raise ServerError(f"{store.uri} is empty; correct the model's source")
    await fetch_objects(store, keys, folder)
    return folder


def _from_hub(repository: str, revision: str | None, cache: Path, token: str | None) -> Path:
    """Raises ServerError: the Hub has no such model, or does not let us."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        folder = snapshot_download(
            repository,
            revision=revision,
            cache_dir=os.environ.get("HF_HUB_CACHE") or cache,
            token=token or None,
            # Weights once: safetensors, not the same again in other formats.
            allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.tiktoken", "*.py"],
        )
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ServerError(f"hf://{repository} at {revision or 'its default branch'}: {error}") from error
    return Path(folder)


def size_gib(folder: Path) -> float:
    """Size of the weights' files; 0 for a folder without any in a known format."""
    files = [file for pattern in ("*.safetensors", "*.bin", "*.gguf") for file in folder.glob(pattern)]
    return sum(file.stat().st_size for file in files) / 1024**3


def read_config(folder: Path) -> dict[str, object]:
    """The model's config.json. Raises ServerError: it is missing or not a JSON object."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise ServerError(f"{folder}/config.json cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise ServerError(f"{folder}/config.json is not a JSON object")
    return config
