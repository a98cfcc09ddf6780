"""Read what the runs of the arms left in the store: the scores, which the report shows, too, and the proposals."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import cast

from examples.rules.rules import Kwargs
from moaa.api import MoAA
from moaa.plan.fingerprint import identify
from moaa.plan.graph import build
from moaa.plan.result import StageResult
from moaa.plan.stage import Kind, Stage
from moaa.rows import ConversationRow, SampleRow, ScoreRow
from moaa.store.objects.base import Store
from moaa.store.stages.manifest import StageManifest
from moaa.store.stages.shards import read_manifest, read_table
from moaa.store.stages.tables import Row

Scores = dict[str, dict[str, float]]
"""Name of a score to question id to the 1 where the answer keeps its rule, else 0."""
Rules = tuple[Sequence[str], Sequence[Kwargs]]
"""IFEval's ids and their arguments."""


def read_rules(file: Path) -> dict[str, Rules]:
    """The rules of every row, by its id."""
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return {row["id"]: (row["instruction_id_list"], row["kwargs"]) for row in rows}


async def done(resource: MoAA, store: Store) -> AsyncIterator[tuple[Stage, StageManifest]]:
    """Every stage of the resource that is done, in the plan's order."""
    results: dict[str, StageResult] = {}
    for stage in build(resource).stages.values():
        identity = identify(stage, resource, results)
        manifest = await read_manifest(store, identity.path) if identity else None
        if manifest is not None:
            results[stage.id] = manifest.result()
            yield stage, manifest


async def read_scores(resource: MoAA, store: Store) -> Scores:
    """Scores of every subject that a run has measured."""
    found: Scores = {}
    async for stage, manifest in done(resource, store):
        if stage.kind is Kind.EVALUATE:
            for row in cast(Sequence[ScoreRow], await read_table(store, manifest, "scores")):
                found.setdefault(row["model"], {})[row["id"]] = row["score"]
    return found


async def read_conversations(resource: MoAA, store: Store) -> Sequence[ConversationRow]:
    """What the first iteration's mixture answered, with its proposals. Raises ValueError as `_read_first`."""
    return cast(Sequence[ConversationRow], await _read_first(resource, store, Kind.GENERATE, "conversations"))


async def read_samples(resource: MoAA, store: Store) -> Sequence[SampleRow]:
    """What the first iteration's student was judged on. Raises ValueError as `_read_first`."""
    return cast(Sequence[SampleRow], await _read_first(resource, store, Kind.SAMPLE, "samples"))


async def _read_first(resource: MoAA, store: Store, kind: Kind, table: str) -> Sequence[Row]:
    """Raises ValueError: the run has not come so far."""
    async for stage, manifest in done(resource, store):
        if stage.kind is kind:
            return await read_table(store, manifest, table)
    raise ValueError(f"{resource.metadata.name}: no stage {kind} is done yet; run the first arm")
