"""Edits of a resource that closed iterations do not take up."""

from collections.abc import Mapping

from moaa.api import MoAA
from moaa.plan.history.repeats import IterationRecord, without_effect
from moaa.plan.result import StageResult
from moaa.store.objects.base import Store
from moaa.store.stages.shards import read_manifest


async def edits_without_effect(
    resource: MoAA, store: Store, results: Mapping[str, StageResult], records: Mapping[int, IterationRecord]
) -> list[str]:
    """Sentences of `moaa.plan.history.repeats.without_effect`. Raises StoreError."""
    now = resource.model_dump(mode="json", by_alias=True)
    edited = {i: record for i, record in records.items() if record.is_closed and record.resource != now}
    documents = {
        name: manifest.document
        for record in edited.values()
        for name, result in record.stages.items()
        if (manifest := await read_manifest(store, result.path)) is not None
    }
    return without_effect(resource, results, edited, documents)
