"""The weights a training stage starts from, on the machine that trains."""

import fnmatch
from pathlib import Path

from moaa.api.models import Endpoint
from moaa.api.resource import Storage
from moaa.errors import DataError
from moaa.store.objects.base import Store
from moaa.weights import bring as bringing
from moaa.weights import hub
from moaa.weights.bring import Places, Select, everything
from moaa.weights.find import ModelWeights
from moaa.weights.find import find as find_weights
from moaa_jobs.runner.context import Context
from moaa_jobs.runner.origins import hub_token


async def find(name: str, context: Context) -> ModelWeights:
    """The weights behind a declared name or `@<stage>`.

    Raises:
        StageError: the stage that should have made them, or the one that pinned them, is not among the results.
        DataError: the model is an endpoint.
    """
    results = context.job.results
    commits = await hub.pinned_commits(context.store, context.resource, results)
    found = find_weights(name, context.resource, results, commits=commits)
    if isinstance(found, Endpoint):
        raise DataError(f"spec.models {name}: is an endpoint, which cannot be trained; give it a source")
    return found


def all_but_weights(name: str) -> bool:
    """What tokenising needs: the driver trains nothing and may have no room for the weights."""
    return not fnmatch.fnmatch(name, "*.safetensors")


async def bring(
    weights: ModelWeights, store: Store, storage: Storage, cache: Path, select: Select = everything
) -> Path:
    """The folder with the selected files. Raises DataError, StoreError as `moaa.weights.bring`."""
    places = Places(store=store, storage=storage, cache=cache, hub=cache / "hub", token=hub_token(weights))
    return await bringing.bring(weights, places, select=select)
