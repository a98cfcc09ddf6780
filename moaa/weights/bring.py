"""Weights as a folder on this machine, downloaded where needed and held against what the run pinned.

A student is checked file by file against its manifest; a folder or bucket must still have its digest; a model of the
Hub is taken at its commit, from the store's copy (`moaa.weights.copies`) where the run keeps one. Downloads lie under
their digest, so that a folder which is there is the right one.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from moaa.api.resource import Storage
from moaa.errors import DataError
from moaa.store.objects.base import Store
from moaa.weights import copies, folder, hub
from moaa.weights.find import ModelWeights

logger = logging.getLogger(__name__)

Select = Callable[[str], bool]
"""Chooses among the names of a model's files."""


@dataclass(frozen=True)
class Places:
    """Where weights come from and go to on this machine."""

    store: Store
    """The run's, with the students."""
    storage: Storage
    """How buckets are reached."""
    cache: Path
    """Folders by digest."""
    hub: Path
    """The Hub's own cache."""
    token: SecretStr | None = None
    """For the Hub."""


def everything(name: str) -> bool:  # noqa: ARG001  a Select
    return True


async def bring(weights: ModelWeights, places: Places, *, select: Select = everything) -> Path:
    """The folder with the selected files, read-only.

    Raises:
        DataError: there is no model where the resource says, it cannot be had here, or it is not what the run pinned.
        StoreError: a download failed, or what lies in the store is not what was trained.
    """
    whole = select is everything
    target = places.cache / f"{weights.digest[:32]}{'' if whole else '-part'}"
    if weights.folder is not None:
        return await folder.from_store(places.store, weights.folder, target, select=None if whole else select)
    match (weights.source or "").partition("://")[0]:
        case "file":
            return await folder.in_place(weights)
        case "s3":
            return await folder.from_bucket(weights, places.storage, target, select=select)
        case "hf":
            if places.storage.holds_weights:
                copy = await copies.read(places.store, weights.digest)
                if copy is not None:
                    return await copies.take(places.store, copy, target, select=None if whole else select)
                logger.warning(
                    "weights_not_in_store model=%s source=%s: read from the Hub, since the run resolved its models "
                    "without copying them", weights.model.name, weights.source,
                )  # fmt: skip
            commit = weights.commit or await hub.pinned_commit(weights, places.token)
            return await hub.snapshot(weights, commit, cache=places.hub, token=places.token, select=select)
        case _:
            raise DataError(
                f"spec.models {weights.model.name}: {weights.model.source} exists only where Kubernetes mounts it; use "
                "file://, s3:// or hf:// here"
            )
