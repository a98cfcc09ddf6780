"""`moaa run`: the whole of a resource on one machine.

Level-triggered: read the manifests, ask the plan what is ready, run that, read again. The store is the only memory, so
the runner may be killed at any instruction and started again; it repeats nothing that has a manifest, and a stage that
was under way goes on from its ledger or its newest checkpoint.

The first stage that fails ends the run: the others are told to stop and keep what they have.
"""

import asyncio
import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from moaa.api import MoAA
from moaa.errors import MoaaError, StageError
from moaa.local import jobs, records
from moaa.local.catalogue import Catalogue, VllmLaunch
from moaa.local.events import Notify, ignore
from moaa.local.machine import Capacity
from moaa.local.pool import Pool
from moaa.local.process import Guards
from moaa.local.servers import Launch
from moaa.local.stage_run import JobCommand, Surroundings, run_stage
from moaa.plan.fingerprint import identify
from moaa.plan.graph import build
from moaa.plan.stage import Graph, Identity, Kind, Stage, StageResult
from moaa.store.base import Store
from moaa.store.manifest import StageManifest
from moaa.store.shards import read_manifest

QUICK = frozenset({Kind.RESOLVE, Kind.STAGE_DATA, Kind.PROMOTE})
"""Stages that leave most of the machine idle: the time to start the next servers."""


@dataclass(frozen=True)
class Settings:
    """How a run is carried out; nothing here changes what it makes."""

    folder: Path
    """Logs, job files and scratch of this run."""
    cache: Path
    """Weights, bytecode and compiled kernels, shared by runs."""
    capacity: Capacity
    until: str | None = None
    """The last stage to finish; None: all."""
    retry_delay_s: float = 2.0
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    job_command: JobCommand = jobs.command
    launch: Launch | None = None
    """How servers are started; None: vLLM."""


@dataclass(frozen=True)
class Finished:
    """How a run stands when the runner has nothing more to do."""

    results: dict[str, StageResult]
    made: tuple[str, ...]
    """Stages that this runner finished; the others were there before."""


async def execute(resource: MoAA, store: Store, settings: Settings, notify: Notify = ignore) -> Finished:
    """Run every stage up to `settings.until` that has no manifest yet.

    Raises:
        StageError: a stage failed for good; what the others finished is in the store.
        MoaaError: another runner uses the folder, or `until` names no stage.
        StoreError: the store failed.
    """
    graph = wanted(build(resource), settings.until)
    settings.folder.mkdir(parents=True, exist_ok=True)
    settings.cache.mkdir(parents=True, exist_ok=True)
    with exclusive(settings.folder):
        runner = _Runner(resource, store, graph, settings, notify)
        return await runner.run()


def wanted(graph: Graph, until: str | None) -> Graph:
    """The graph up to and including stage `until`. Raises MoaaError: there is no such stage."""
    if until is None:
        return graph
    if until not in graph.stages:
        raise MoaaError(f"--until {until}: there is no such stage; the stages are {', '.join(graph.stages)}")
    needed = {until}
    for stage in reversed(list(graph.stages.values())):
        if stage.id in needed:
            needed.update(stage.needs)
    return Graph({name: stage for name, stage in graph.stages.items() if name in needed})


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. The kernel lets go of it however the process ends.

    Raises MoaaError: another runner holds it.
    """
    with (folder / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise MoaaError(
                f"{folder}: another runner (process {holder}) uses this folder; wait for it, end it, or give --workdir"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


class _Runner:
    """State of one `execute`, all of it a cache of the store's."""

    def __init__(self, resource: MoAA, store: Store, graph: Graph, settings: Settings, notify: Notify) -> None:
        self._resource = resource
        self._store = store
        self._graph = graph
        self._settings = settings
        self._notify = notify
        self._results: dict[str, StageResult] = {}
        self._made: list[str] = []
        self._running: dict[str, asyncio.Task[StageManifest]] = {}

    async def run(self) -> Finished:
        await self._observe()
        self._notify(
            "run_started",
            run=records.run_id(self._resource),
            storage=self._store.uri,
            stages=list(self._graph.stages),
            done=len(self._results),
        )
        if len(self._results) < len(self._graph.stages):
            await records.write_resource(self._store, records.run_id(self._resource), self._resource)
            await self._run_the_rest()
        self._notify("run_ended", done=len(self._results), stages=len(self._graph.stages))
        return Finished(results=self._results, made=tuple(self._made))

    async def _run_the_rest(self) -> None:
        guards = Guards()
        try:
            async with asyncio.TaskGroup() as tasks:
                pool = Pool(
                    self._settings.capacity,
                    tasks=tasks,
                    guards=guards,
                    launch=self._settings.launch
                    or VllmLaunch(cache=self._settings.cache, inherited=self._settings.environment),
                    log_folder=self._settings.folder / "logs",
                    notify=self._notify,
                )
                try:
                    await self._loop(self._surroundings(pool, guards))
                finally:
                    await self._cancel_running()
                    await pool.close()
        except* MoaaError as group:
            # The loop alone raises; servers and stages report through futures and tasks that it reads.
            raise group.exceptions[0] from None
        finally:
            await guards.close()

    async def _loop(self, around: Surroundings) -> None:
        while True:
            for identity in self._ready():
                stage = identity.stage.id
                self._running[stage] = asyncio.create_task(run_stage(identity, dict(self._results), around), name=stage)
            if not self._running:
                return
            await self._plan_ahead(around)
            await asyncio.wait(self._running.values(), return_when=asyncio.FIRST_COMPLETED)
            for stage, task in list(self._running.items()):
                if task.done():
                    del self._running[stage]
                    self._finish(task.result())
            await self._observe()

    def _finish(self, manifest: StageManifest) -> None:
        self._results[manifest.stage] = manifest.result()
        self._made.append(manifest.stage)
        self._announce(manifest, reused=False)

    def _announce(self, manifest: StageManifest, *, reused: bool) -> None:
        rows = sum(output.rows for output in manifest.outputs.values())
        self._notify("stage_done", stage=manifest.stage, seconds=manifest.seconds, rows=rows, reused=reused)

    async def _observe(self) -> None:
        """Take up every stage that has a manifest; each may make the identity of later ones known."""
        for stage in self._graph.stages.values():
            if stage.id in self._results or stage.id in self._running:
                continue
            identity = identify(stage, self._resource, self._results)
            if identity is None:
                continue
            manifest = await read_manifest(self._store, identity.path)
            if manifest is not None:
                self._results[stage.id] = manifest.result()
                self._announce(manifest, reused=True)

    def _ready(self) -> list[Identity]:
        """Stages that can start now."""
        ready = []
        for stage in self._graph.stages.values():
            if stage.id not in self._results and stage.id not in self._running:
                identity = identify(stage, self._resource, self._results)
                if identity is not None:
                    ready.append(identity)
        return ready

    async def _plan_ahead(self, around: Surroundings) -> None:
        """Keep the servers that later stages use, stop the others, and start the next ones while the machine idles."""
        left = [stage for stage in self._graph.stages.values() if stage.id not in self._results]
        upcoming = [key for stage in left for key in await around.catalogue.keys(stage.serves, self._results)]
        around.pool.upcoming = list(dict.fromkeys(upcoming))
        await around.pool.retire()
        kinds = {self._graph.stages[name].kind for name in self._running}
        following = [stage for stage in left if stage.id not in self._running and self._comes_next(stage)]
        if kinds and kinds <= QUICK and following:
            names = dict.fromkeys(name for stage in following for name in stage.serves)
            known = [name for name in names if await around.catalogue.keys([name], self._results)]
            specs = await around.catalogue.servers(known, self._results)
            around.pool.warm(list(specs.values()))

    def _comes_next(self, stage: Stage) -> bool:
        return all(need in self._results or need in self._running for need in stage.needs)

    async def _cancel_running(self) -> None:
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _surroundings(self, pool: Pool, guards: Guards) -> Surroundings:
        settings = self._settings
        return Surroundings(
            resource=self._resource,
            store=self._store,
            pool=pool,
            catalogue=Catalogue(
                self._resource, store=self._store, cache=settings.cache, environment=settings.environment
            ),
            guards=guards,
            folder=settings.folder,
            environment=settings.environment,
            job_command=settings.job_command,
            notify=self._notify,
            retry_delay_s=settings.retry_delay_s,
        )


__all__ = ["Finished", "Settings", "StageError", "exclusive", "execute", "wanted"]
