"""`moaa run`: carry out a whole resource on one machine.

Level-triggered: read the manifests, ask the plan what to start, wait for something to end, read again. The store is the
only memory, so the runner may be killed at any instruction and started again; it repeats nothing that has a manifest,
and a stage that was under way goes on from its ledger or its newest checkpoint.

A stage that fails for good does not stop the others: the run ends when nothing more can be done.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from moaa.api import MoAA
from moaa.backoff import backoff_s
from moaa.errors import BudgetExhausted, MoaaError, StageError, UsageError
from moaa.local import jobs
from moaa.local.meter import Meter
from moaa.local.processes.lock import exclusive
from moaa.local.processes.process import Guards
from moaa.local.serving.catalogue import Catalogue, VllmLaunch
from moaa.local.serving.machine import Capacity
from moaa.local.serving.needs import too_large
from moaa.local.serving.pool import Pool
from moaa.local.serving.server import Launch, replicas
from moaa.local.show.events import Notify, ignore
from moaa.local.stage_run import Failed, JobCommand, Surroundings, run_stage
from moaa.local.turns import with_replicas
from moaa.plan.budget.told import out_of_budget
from moaa.plan.forecast.replicas import check_limit, widest
from moaa.plan.graph import build, wanted
from moaa.plan.history.repeats import IterationRecord, pin_closed
from moaa.plan.history.survey import survey
from moaa.plan.kinds.table import KINDS
from moaa.plan.ready import Decision, Failure, World, decide, failed_again, funds_of, servers_needed
from moaa.plan.result import Identity, StageResult
from moaa.plan.stage import Graph, Stage
from moaa.run import records
from moaa.run.edits import edits_without_effect
from moaa.run.spending import read_account
from moaa.store.objects.base import Store
from moaa.store.objects.preflight import preflight
from moaa.store.stages.manifest import StageManifest
from moaa.store.stages.shards import read_manifest

MAX_RETRY_DELAY_S = 60.0
BUDGET_LOOK_S = 1.0
"""Between two looks at what stages at work have spent."""


@dataclass(frozen=True)
class Settings:
    """How a run is carried out. Nothing here changes results."""

    folder: Path
    """Logs, job files and scratch of this run."""
    cache: Path
    """Weights, bytecode and compiled kernels, shared by runs."""
    capacity: Callable[[], Capacity]
    """Gives what the machine offers. Called once the processes of an earlier runner are gone."""
    until: str | None = None
    """The last stage to finish; None: all."""
    look_s: float = 30.0
    """Between two looks for the result of another run that has taken a stage over."""
    retry_delay_s: float = 2.0
    """Before the first retry; doubles up to a minute."""
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    job_command: JobCommand = jobs.command
    launch: Launch | None = None
    """How servers are started; None: vLLM."""


@dataclass(frozen=True)
class Hold:
    """What a runner holds on the machine."""

    capacity: Capacity
    lock_fd: int
    """Of the folder's lock, for guards to inherit."""


@dataclass(frozen=True)
class Finished:
    """The outcome of a run when nothing is left to do."""

    results: dict[str, StageResult]
    made: tuple[str, ...]
    """Stages that this runner finished; the others were there before."""
    kept: tuple[str, ...] = ()
    """Edits that closed iterations do not take up, as sentences."""


async def execute(resource: MoAA, store: Store, settings: Settings, notify: Notify = ignore) -> Finished:
    """Run every stage up to `settings.until` that has no manifest yet.

    Raises:
        StageError: stages failed for good; what the others finished is in the store.
        BudgetExhausted: a limit of spec.budget keeps the rest from being done; nothing that was paid is lost.
        UsageError: another runner uses the folder, the machine lacks what is asked for, or `until` names no stage.
        ResourceError: the servers of a stage need more than `serving.maxGpus`.
        StoreError: the store failed.
    """
    check_limit(resource)
    settings.folder.mkdir(parents=True, exist_ok=True)
    settings.cache.mkdir(parents=True, exist_ok=True)
    async with exclusive(settings.folder, notify) as lock_fd:
        closed = await records.read_iterations(store, records.run_id(resource))
        graph, _ = pin_closed(build(resource), closed)
        capacity = replace(settings.capacity(), max_served_gpus=resource.spec.serving.max_gpus)
        hold = Hold(capacity=capacity, lock_fd=lock_fd)
        return await _Runner(resource, store, wanted(graph, settings.until), closed, settings, hold, notify).run()


class _Runner:
    """State of one `execute`. All of it is a cache of the store, except the failures, which start from zero each
    time."""

    def __init__(
        self,
        resource: MoAA,
        store: Store,
        graph: Graph,
        closed: Mapping[int, IterationRecord],
        settings: Settings,
        hold: Hold,
        notify: Notify,
    ) -> None:
        self._resource = resource
        self._store = store
        self._graph = graph
        self._closed = closed
        self._results: dict[str, StageResult] = {}
        self._found: dict[str, StageResult] = {}
        """Every manifest read so far, by fingerprint."""
        self._settings = settings
        self._notify = notify
        self._hold = hold
        self._made: list[str] = []
        self._meter = Meter()
        self._failures: dict[str, Failure] = {}
        self._running: dict[str, tuple[Identity, asyncio.Task[StageManifest | Failed]]] = {}

    async def run(self) -> Finished:
        await self._survey()
        self._notify(
            "run_started",
            run=records.run_id(self._resource),
            storage=self._store.uri,
            stages=list(self._graph.stages),
            done=self._done,
        )
        if self._done < len(self._graph.stages):
            left = [stage for name, stage in self._graph.stages.items() if name not in self._results]
            lacking = too_large(left, self._resource, gpus=len(self._hold.capacity.gpus))
            if lacking is not None:
                raise UsageError(lacking)
            await preflight(self._store)
            await records.write_resource(self._store, records.run_id(self._resource), self._resource)
            if self._resource.spec.budget.is_given:
                run = records.run_id(self._resource)
                before = await read_account(self._store, run, self._resource, self._results, self._closed)
                self._meter.ended |= before
            await self._run_the_rest()
        kept = await edits_without_effect(self._resource, self._store, self._results, self._closed)
        if kept:
            self._notify("edit_without_effect", edits=kept)
        self._notify("run_ended", done=self._done, stages=len(self._graph.stages))
        return Finished(results=self._results, made=tuple(self._made), kept=tuple(kept))

    @property
    def _done(self) -> int:
        return sum(name in self._results for name in self._graph.stages)

    async def _run_the_rest(self) -> None:
        guards = Guards(hold_fd=self._hold.lock_fd)
        failure: MoaaError | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                around = self._surroundings(tasks, guards)
                try:
                    await self._loop(around)
                except MoaaError as error:
                    failure = error  # raised below: a task group would wrap it
                finally:
                    await self._cancel_running()
                    await around.pool.close()
        finally:
            await guards.close()
        if failure is not None:
            raise failure

    async def _loop(self, around: Surroundings) -> None:
        while True:
            decision = self._decide()
            for identity in decision.start:
                self._start(identity, around)
            if not self._running:
                break
            await self._plan_ahead(around)
            await self._until_something_ends()
            for identity, task in list(self._running.values()):
                if task.done():
                    del self._running[identity.stage.id]
                    if not task.cancelled():
                        await self._account(identity, task.result())
            await self._survey()
        failures = [_verdict(decision)] if decision.failed else []
        if decision.over_budget:
            funds = funds_of(self._resource, self._world())
            told = out_of_budget(funds, self._graph, self._results, decision.over_budget)
            self._notify("budget_exhausted", held=dict(decision.over_budget))
            if not failures:
                raise BudgetExhausted(told)
            failures.append(told)
        if failures:
            raise StageError("\n".join(failures))

    async def _until_something_ends(self) -> None:
        """Until a stage ends by itself, or `spec.budget` ends some."""
        look_s = BUDGET_LOOK_S if self._resource.spec.budget.is_given else None
        while True:
            tasks = [task for _, task in self._running.values()]
            done, _ = await asyncio.wait(tasks, timeout=look_s, return_when=asyncio.FIRST_COMPLETED)
            over = [] if done else [self._running[name][1] for name in self._decide().stop]
            for task in over:
                task.cancel()
            await asyncio.gather(*over, return_exceptions=True)
            if done or over:
                return

    def _decide(self) -> Decision:
        return decide(self._graph, self._resource, self._world())

    def _world(self) -> World:
        running = {name: identity.fingerprint for name, (identity, _) in self._running.items()}
        return World(self._results, running=running, failures=self._failures, account=self._meter.account)

    def _start(self, identity: Identity, around: Surroundings) -> None:
        failure = self._failures.get(identity.fingerprint)
        delay_s = 0.0
        if failure is not None:
            delay_s = backoff_s(failure.attempts, first_s=self._settings.retry_delay_s, max_s=MAX_RETRY_DELAY_S)
        work = run_stage(identity, dict(self._results), around, delay_s=delay_s)
        self._running[identity.stage.id] = (identity, asyncio.create_task(work, name=identity.stage.id))

    async def _account(self, identity: Identity, ended: StageManifest | Failed) -> None:
        stage = identity.stage.id
        if isinstance(ended, StageManifest):
            self._made.append(stage)
            self._meter.finish(identity, ended, self._widest([identity.stage]))
            await self._take(ended, reused=False)
            return
        earlier = self._failures.get(identity.fingerprint)
        before = earlier.reached if earlier else 0
        attempts = failed_again(earlier.attempts if earlier else 0, before=before, reached=ended.reached)
        reached = max(before, ended.reached)
        self._failures[identity.fingerprint] = Failure(attempts, ended.is_permanent, ended.error, reached)
        left = self._resource.spec.failures.retries + 1 - attempts
        if ended.is_permanent or left <= 0:
            self._notify("stage_failed", stage=stage, error=ended.error)
        else:
            self._notify("stage_attempt_failed", stage=stage, error=ended.error, attempts_left=left)

    async def _survey(self) -> None:
        """What is done now, including work of an earlier runner or of another run over the same inputs."""

        async def look_up(identity: Identity) -> StageResult | None:
            if identity.fingerprint not in self._found and identity.stage.id not in self._running:
                manifest = await read_manifest(self._store, identity.path)
                if manifest is not None:
                    await self._take(manifest, reused=True)
            return self._found.get(identity.fingerprint)

        _, self._results = await survey(self._graph, self._resource, look_up, records=self._closed)

    async def _take(self, manifest: StageManifest, *, reused: bool) -> None:
        self._found[manifest.fingerprint] = manifest.result()
        self._results[manifest.stage] = manifest.result()
        if manifest.iteration > 0:
            resource = self._resource.model_dump(mode="json", by_alias=True)
            record = records.iteration_record(manifest.iteration, self._results, resource)
            await records.write_iteration(self._store, records.run_id(self._resource), record)
        self._notify(
            "stage_done",
            stage=manifest.stage,
            seconds=manifest.seconds,
            rows=manifest.rows_in,
            failed=sum(manifest.failures.values()),
            reused=reused,
            said=[text for text in (manifest.decision, *manifest.warnings) if text],
        )

    def _widest(self, stages: Iterable[Stage]) -> MoAA:
        """The resource with the most replicas that any of these stages gets on this machine."""
        return widest(self._resource, stages, self._results, max_gpus=len(self._hold.capacity.gpus))

    async def _keys(self, stages: Sequence[Stage], around: Surroundings) -> list[str]:
        """Of the servers that these stages use, in the order in which they need them."""
        needed = servers_needed(stages, self._resource)
        # The promotion has not chosen yet. The newest student is the likeliest, and is up already.
        likely = [stage.candidates[-1] for stage in stages if stage.candidates and f"@{stage.id}" in needed]
        keys = await around.catalogue.keys([*needed, *likely], self._results, self._widest(stages))
        return list(dict.fromkeys(keys))

    async def _plan_ahead(self, around: Surroundings) -> None:
        """Keep the servers that later stages use, stop the others, and start the next ones while the machine idles."""
        left = [stage for stage in self._graph.stages.values() if stage.id not in self._results]
        around.pool.upcoming = await self._keys(left, around)
        not_begun = [stage for stage in left if stage.id not in self._running]
        around.pool.waited_for = frozenset(await self._keys(not_begun, around))
        await around.pool.retire()
        # Quick stages leave most of the machine idle: the time to start the next servers.
        if all(KINDS[identity.stage.kind].is_quick for identity, _ in self._running.values()):
            known = {*self._results, *self._running}
            following = [stage for stage in left if stage.id not in self._running and known.issuperset(stage.after)]
            names = servers_needed(following, self._resource)
            with contextlib.suppress(MoaaError):  # the stage that needs them will say so
                first = await around.catalogue.known_servers(names, self._results)
                specs = with_replicas(first, self._widest(following)).values()
                more = [other for spec in specs for other in replicas(spec, spec.serving.replicas)[1:]]
                around.pool.warm([*first.values(), *more])

    async def _cancel_running(self) -> None:
        tasks = [task for _, task in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _surroundings(self, tasks: asyncio.TaskGroup, guards: Guards) -> Surroundings:
        settings = self._settings
        pool = Pool(
            self._hold.capacity,
            tasks=tasks,
            guards=guards,
            launch=settings.launch or VllmLaunch(cache=settings.cache, inherited=settings.environment),
            log_folder=settings.folder / "logs",
            notify=self._notify,
        )
        catalogue = Catalogue(self._resource, store=self._store, cache=settings.cache, environment=settings.environment)
        return Surroundings(
            resource=self._resource,
            store=self._store,
            pool=pool,
            catalogue=catalogue,
            guards=guards,
            folder=settings.folder,
            cache=settings.cache,
            environment=settings.environment,
            job_command=settings.job_command,
            notify=self._notify,
            look_s=settings.look_s,
            meter=self._meter,
        )


def _verdict(decision: Decision) -> str:
    """What failed, and what was not done because of that."""
    lines = [f"{stage}: {error.removeprefix(f'{stage}: ')}" for stage, error in decision.failed.items()]
    if decision.waiting:
        lines.append(f"not done because of that: {', '.join(decision.waiting)}")
    return "\n".join([*lines, "what was finished is kept; running it again goes on from there"])
