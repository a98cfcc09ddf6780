"""What a server knows of its store: which runs there are, and each run as it is at this moment.

Nothing is ever written. What cannot change (manifests, finished shards) is kept for the runs that were looked at last;
everything else is read again for every page, so a page shows a run as it goes on.
"""

import asyncio
import contextlib
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from pydantic import ValidationError

from moaa.api import MoAA
from moaa.errors import NotFound, StageError, StoreError
from moaa.report.schema import Summary
from moaa.report.summary import summarise
from moaa.run.closed import resources_of
from moaa.run.collect import Look, look_into, outline, with_figures
from moaa.run.records import read_iterations
from moaa.run.view import RunView, StageView
from moaa.store.objects.base import Store
from moaa.store.stages.manifest import ObjectRef, StageManifest
from moaa.view.progress import Progress, Shards, finished_shards, progress

RUNS_KEPT = 4
"""Runs whose manifests stay in memory; one of a million rows takes tens of MiB."""
_RUN_KEY = re.compile(r"runs/([^/]+)/(.+)")
_ATTEMPT = re.compile(r"attempts/(\d{8}T\d{6})\.\d+Z-(.+)-[0-9a-f]+\.json")


class Absent(Exception):
    """There is no such page; the text says what there is not."""


@dataclass(frozen=True)
class RunLine:
    """A run as its keys tell of it."""

    run: str
    has_resource: bool = False
    """The resource is in the store, or was given as a file."""
    attempts: int = 0
    last_stage: str = ""
    """Of the newest attempt on one machine; a cluster's are in its own objects."""
    last_begun: datetime | None = None
    iterations: int = 0
    """That have made something."""


@dataclass(frozen=True)
class Found:
    """One run at one moment."""

    view: RunView
    """Without what tables hold."""
    shards: Mapping[str, Shards] = field(default_factory=dict)
    """By stage that has begun and is not done."""
    progress: Mapping[str, Progress] = field(default_factory=dict)
    """The same."""

    @property
    def is_live(self) -> bool:
        """Something may still be added."""
        return any(stage.manifest is None for stage in self.view.stages)

    def stage(self, name: str) -> StageView:
        """Raises Absent: the run has no such stage."""
        stage = self.view.of(name)
        if stage is None:
            raise Absent(f"run {self.view.run} has no stage {name!r}")
        return stage

    def tables(self, stage: StageView) -> dict[str, int]:
        """Tables of a stage that can be read by now, and the rows of each."""
        if stage.manifest is not None:
            outputs = stage.manifest.outputs
            return {name: outputs[name].rows for name in stage.manifest.tables if name in outputs}
        rows: dict[str, int] = {}
        for shard in self.shards.get(stage.stage.id, {}).values():
            for name, count in shard.rows.items():
                rows[name] = rows.get(name, 0) + count
        return rows

    def parts(self, stage: StageView, table: str) -> dict[int, ObjectRef]:
        """Objects of a table by number, which is the shard's. Raises Absent: the stage has no such table by now."""
        if stage.manifest is not None and table in stage.manifest.tables:
            return dict(enumerate(stage.manifest.tables[table]))
        shards = self.shards.get(stage.stage.id, {})
        found = {int(name): shard.tables[table] for name, shard in shards.items() if table in shard.tables}
        if not found:
            raise Absent(f"stage {stage.stage.id} has no table {table!r} by now")
        return found


@dataclass(frozen=True)
class Measured:
    """A run with its figures, which rest on small tables."""

    found: Found
    """With scores and training curves."""
    summary: Summary


@dataclass
class _Kept:
    """Of one run."""

    manifests: dict[str, StageManifest] = field(default_factory=dict)
    shards: dict[str, Shards] = field(default_factory=dict)
    """By the stage's folder."""
    marks: object = None
    """Of the outline that `figures` are of."""
    figures: tuple[RunView, Summary] | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Two pages of one run at once read it once."""


class Site:
    """A store, and the run of the file that was given, if one was."""

    def __init__(self, store: Store, given: Mapping[str, MoAA] | None = None) -> None:
        self.store = store
        self._given = dict(given or {})
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    async def runs(self) -> list[RunLine]:
        """Every run, the one that was begun last first. Raises StoreError."""
        lines = {run: RunLine(run, has_resource=True) for run in self._given}
        async for entry in self.store.list("runs/"):
            key = _RUN_KEY.fullmatch(entry.key)
            if key is not None:
                lines[key[1]] = _with_key(lines.get(key[1], RunLine(key[1])), key[2])
        started = datetime.min.replace(tzinfo=UTC)
        return sorted(lines.values(), key=lambda line: (line.last_begun or started, line.run), reverse=True)

    async def read_ahead(self) -> None:
        """Read the newest run, so that its first page does not have to. What cannot be read, its page says."""
        with contextlib.suppress(Absent, StoreError, StageError):
            for line in (await self.runs())[:1]:
                await self.measured(line.run)

    async def found(self, run: str) -> Found:
        """The run as it is now, by its manifests and shards.

        Raises:
            Absent: the store has no such run, or does not say what was asked of it.
            StoreError: the store fails, or a manifest is unreadable.
        """
        resource = await self._resource(run)
        kept = self._keep(run)
        async with kept.lock:
            now = await outline(resource, self.store, run, self._look(kept))
            return await self._with_shards(now.view, kept)

    async def measured(self, run: str) -> Measured:
        """The run as it is now, with scores, curves and what follows from them. Raises as `found`."""
        resource = await self._resource(run)
        kept = self._keep(run)
        async with kept.lock:
            now = await outline(resource, self.store, run, self._look(kept))
            done = tuple(s.manifest.fingerprint for s in now.view.stages if s.manifest is not None)
            marks = (resource, done, tuple((s.status, s.attempts, s.wall_seconds, s.problem) for s in now.view.stages))
            if kept.figures is None or kept.marks != marks:
                view = (await with_figures(self.store, now)).view
                kept.figures, kept.marks = (view, await asyncio.to_thread(summarise, view)), marks
            view, summary = kept.figures
            return Measured(await self._with_shards(view, kept), summary)

    def _keep(self, run: str) -> _Kept:
        kept = self._kept.setdefault(run, _Kept())
        self._kept.move_to_end(run)
        while len(self._kept) > RUNS_KEPT:
            self._kept.popitem(last=False)
        return kept

    async def _with_shards(self, view: RunView, kept: _Kept) -> Found:
        begun = [stage for stage in view.stages if stage.status in ("started", "failed") and stage.path is not None]
        kept.shards = {stage.path: kept.shards.get(stage.path, {}) for stage in begun if stage.path is not None}
        shards: dict[str, Shards] = {}
        for stage in begun:
            assert stage.path is not None, "`begun` has looked"
            shards[stage.stage.id] = kept.shards[stage.path] = await finished_shards(
                self.store, stage, kept.shards[stage.path]
            )
        far = {stage.stage.id: progress(view, stage, shards[stage.stage.id]) for stage in begun}
        return Found(view, shards, far)

    def _look(self, kept: _Kept) -> Look:
        fresh = look_into(self.store)

        async def manifest(path: str) -> StageManifest | None:
            found = kept.manifests.get(path) or await fresh.manifest(path)
            if found is not None:
                kept.manifests[path] = found
            return found

        async def attempts(path: str) -> int:
            # A finished stage's manifest says which attempt counts; listing a large one's shards takes long.
            done = kept.manifests.get(path)
            return done.attempt if done is not None else await fresh.attempts(path)

        return Look(manifest, attempts)

    async def _resource(self, run: str) -> MoAA:
        """As it was given, or as its runner or its newest closed iteration wrote it down."""
        if run in self._given:
            return self._given[run]
        if run not in {line.run for line in await self.runs()}:
            raise Absent(f"the store has no run {run!r}")
        try:
            return MoAA.model_validate_json(await self.store.get(f"runs/{run}/resource.json"))
        except NotFound:
            pass
        except ValidationError as error:
            raise StoreError(
                f"runs/{run}/resource.json: a resource of another version ({error.error_count()} problems); use the "
                "version that wrote it, or give the resource as a file"
            ) from error
        closed = {number: r for number, r in (await read_iterations(self.store, run)).items() if r.is_closed}
        known, _ = resources_of(run, closed)
        if not known:
            raise Absent(
                f"the store does not say what was asked of run {run!r}, as a cluster's run is told of once "
                "its first iteration is closed; start `moaa view` with the resource as a file, and with --uid"
            )
        return known[max(known)]


def _with_key(line: RunLine, rest: str) -> RunLine:
    """The line with what one more of its run's keys says."""
    if rest == "resource.json":
        return replace(line, has_resource=True)
    if rest.startswith("iterations/"):
        return replace(line, iterations=line.iterations + 1)
    attempt = _ATTEMPT.fullmatch(rest)
    if attempt is None:
        return line
    begun = datetime.strptime(attempt[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    is_newest = line.last_begun is None or begun >= line.last_begun
    line = replace(line, attempts=line.attempts + 1)
    return replace(line, last_stage=attempt[2], last_begun=begun) if is_newest else line
