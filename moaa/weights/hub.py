"""Models of the Hugging Face Hub: their commits, their digest, and their files."""

import asyncio
from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from pathlib import Path

from pydantic import SecretStr

from moaa.api import MoAA
from moaa.data.hashing import digest_of
from moaa.data.origin.base import Listing
from moaa.data.pins import MODELS
from moaa.errors import NO_SPACE, StoreError, outside
from moaa.plan.ids import RESOLVE
from moaa.plan.result import StageResult
from moaa.store.objects.base import Store
from moaa.store.stages.shards import read_manifest, read_table
from moaa.weights.find import ModelWeights, changed

MAX_COMMITS = 10_000
"""Commits of a repository that are looked through for the pinned one."""
FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.tiktoken", "*.py")
"""Files to bring: safetensors, not the same weights again in other formats."""


def is_brought(name: str) -> bool:
    """Whether a file of a model on the Hub is needed to serve and train it."""
    return any(fnmatch(name, pattern) for pattern in FILES)


def pinned_digest(source: str, listing: Listing) -> str:
    """The digest under which `resolve` pins a source: of its commit where it has one, else of its files."""
    return commit_digest(source, listing.revision) if listing.revision else listing.digest


def commit_digest(source: str, commit: str) -> str:
    return digest_of({"source": source, "commit": commit})


async def pinned_commits(store: Store, resource: MoAA, results: Mapping[str, StageResult]) -> dict[str, str]:
    """Commits of hf:// models as resolve pinned them, by name. Reads nothing where no model is on the Hub.

    Raises:
        StoreError: the table of models cannot be read.
    """
    if not any((model.source or "").startswith("hf://") for model in resource.spec.models):
        return {}
    manifest = await read_manifest(store, results[RESOLVE].path)
    rows = [] if manifest is None else await read_table(store, manifest, MODELS)
    return {row["name"]: row["revision"] for row in rows if row["revision"]}


async def pinned_commit(weights: ModelWeights, token: SecretStr | None) -> str:
    """The commit whose digest the run has pinned; the branch may have moved on since.

    Raises:
        DataError: the model is gone or refused, or has no such commit.
        StoreError: the Hub did not answer.
    """
    from moaa.data.origin.hub import HubOrigin

    source = str(weights.source)
    newest = (await HubOrigin(source, revision=weights.model.revision, token=token).pin(list)).revision
    if newest is not None and commit_digest(source, newest) == weights.digest:
        return newest
    return await asyncio.to_thread(_older_commit, weights, token)


def _older_commit(weights: ModelWeights, token: SecretStr | None) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    source = str(weights.source)
    api = HfApi(token=_text(token))
    try:
        commits = api.list_repo_commits(source.removeprefix("hf://"), revision=weights.model.revision)
    except (HfHubHTTPError, OSError) as error:
        raise StoreError(f"{source}: the Hub did not list its commits: {error}") from error
    for commit in commits[:MAX_COMMITS]:
        if commit_digest(source, commit.commit_id) == weights.digest:
            return commit.commit_id
    raise changed(weights)


async def snapshot(
    weights: ModelWeights, commit: str, *, cache: Path, token: SecretStr | None, select: Callable[[str], bool]
) -> Path:
    """The selected files at a commit, in the Hub's cache. Raises StoreError: the Hub does not give them."""
    return await asyncio.to_thread(_download, str(weights.source), commit, cache, token, select)


def _download(source: str, commit: str, cache: Path, token: SecretStr | None, select: Callable[[str], bool]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        folder = snapshot_download(
            source.removeprefix("hf://"),
            revision=commit,
            cache_dir=cache,
            token=_text(token),
            allow_patterns=[pattern for pattern in FILES if select(pattern)],
        )
    except (HfHubHTTPError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            raise StoreError(f"{source}: {outside(error)}") from error
        raise StoreError(f"{source} at {commit}: {error}") from error
    return Path(folder)


def _text(token: SecretStr | None) -> str | None:
    return token.get_secret_value() if token else None
