"""How far a stage is that has begun and is not done, from the shards it has published."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from moaa.errors import StageError
from moaa.plan.kinds.kind import Sharded
from moaa.plan.kinds.table import KINDS, shards_of
from moaa.run.view import RunView, StageView
from moaa.store.objects.base import Store
from moaa.store.objects.tasks import map_bounded
from moaa.store.stages.manifest import ShardManifest
from moaa.store.stages.shards import read_shard, seconds_worked

_AT_ONCE = 16
Shards = dict[str, ShardManifest]
"""Finished shards of one stage, by name."""


@dataclass(frozen=True)
class Progress:
    """Counts of finished shards; what a shard under way has done, only its executor knows."""

    shards_done: int
    shards: int | None
    """None: one worker does the whole stage, or what it reads is not known."""
    rows_done: int
    rows: int | None
    failures: Mapping[str, int]
    eta_s: float | None
    """Time left at the speed so far; None before the first shard."""

    @property
    def failed(self) -> int:
        return sum(self.failures.values())


async def finished_shards(store: Store, stage: StageView, kept: Shards) -> Shards:
    """All finished shards of a stage; `kept` are those read before, which never change.

    Raises:
        StoreError: a shard's manifest is unreadable, or the store fails.
    """
    path = stage.path
    assert path is not None, "a stage that has begun has a folder"
    prefix = f"{path}/shards/"
    names = [found.key.removeprefix(prefix).removesuffix(".json") async for found in store.list(prefix)]
    new = [name for name in names if name not in kept]
    read = await map_bounded(new, lambda name: read_shard(store, path, name), at_once=_AT_ONCE)
    added = {name: shard for name, shard in zip(new, read, strict=True) if shard is not None}
    return dict(sorted({**kept, **added}.items()))


def progress(view: RunView, stage: StageView, shards: Shards) -> Progress:
    """Pure."""
    total, rows = _whole(view, stage)
    done, seconds = len(shards), seconds_worked(shards.values())
    return Progress(
        shards_done=done,
        shards=total,
        rows_done=sum(shard.rows_in for shard in shards.values()),
        rows=rows,
        failures=sum((Counter(shard.failures) for shard in shards.values()), Counter()),
        eta_s=seconds * (total - done) / done if total is not None and done else None,
    )


def _whole(view: RunView, stage: StageView) -> tuple[int | None, int | None]:
    """Shards and prompts of the stage; None where it has no shards, or the results it reads are not there."""
    cut = KINDS[stage.stage.kind].runs
    if not isinstance(cut, Sharded):
        return None, None
    results = {s.stage.id: s.manifest.result() for s in view.stages if s.manifest is not None}
    resource = stage.resource or view.resource
    try:
        return shards_of(stage.stage, resource, results), cut.rows(stage.stage, resource, results)
    except StageError:
        return None, None
