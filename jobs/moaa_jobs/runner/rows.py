"""Runs a stage whose work is model calls: items through a bounded window, a ledger and a manifest a shard.

Items flow independently: there is no barrier between them, and none between shards. An item ends in one of three ways:
its rows; a failure with a reason, which is counted; or deferred, because a model it needs is not being served. A shard
without deferred items is published; when any were deferred the stage ends with `Deferred` and what could be done is
in the ledgers. Membership and order of items and shards depend on the stage's inputs only.
"""

import asyncio
import logging
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyarrow as pa

from moaa.asking.asker import Asker
from moaa.asking.reasons import TRANSIENT
from moaa.asking.rest import Rest
from moaa.asking.windows import Windows
from moaa.client.ledgered import Calls
from moaa.client.pool.clients import Clients
from moaa.client.usage import Spending, Totals, Usage
from moaa.errors import CallError, ModelAbsent, StageError, StoreError
from moaa.plan.result import ledger_path, stage_path
from moaa.store.fencing import Token, chain_of, claim
from moaa.store.ledger.ledger import Ledger
from moaa.store.stages.manifest import StageManifest, TokenUsage
from moaa.store.stages.shards import (
    StageTotals,
    finalise,
    publish_shard,
    read_manifest,
    read_object,
    read_shards,
    shard_name,
    shard_names,
    shard_slice,
)
from moaa.store.stages.tables import Row, TableRows, decode
from moaa_jobs.runner.context import Context, Deferred, Permanent
from moaa_jobs.runner.health import Health, fitted
from moaa_jobs.runner.items import Item, Items, Rows
from moaa_jobs.runner.manifest import build_manifest
from moaa_jobs.runner.members import Members, Trail
from moaa_jobs.runner.models import answering_digests, targets, windows_of, worth_of
from moaa_jobs.runner.pace import Pace

logger = logging.getLogger(__name__)

EXAMPLE_CHARACTERS = 500
"""Of what is told of one failed row: a server's words (300) and who said them."""
LEAST_FAILED_ROWS = 8
"""Before a stage ends in mid-shard for its failed rows: of a small stage fewer would be told one a run."""
TELL_S = 2.0
SAID = 5
"""Reasons that a stage's error tells an example of; it has to fit into a termination message."""


class RowFailed(CallError):
    """An item failed and leaves rows that say how, of tables other than the main one."""

    def __init__(self, error: CallError, rows: Rows) -> None:
        self.rows = rows
        super().__init__(error.reason, str(error), spent=error.spent)


@dataclass(frozen=True)
class RowStage:
    items: Items
    items_per_shard: int
    """From the inputs only, like everything that decides membership."""
    schemas: Mapping[str, pa.Schema]
    """Of every table the stage writes."""
    main_table: str
    """Has exactly one row for each item that did not fail."""
    measure: Callable[[Sequence[Row]], Mapping[str, float]] | None = None
    """Metrics for the manifest, from all rows of the main table. It may end the stage: Permanent."""
    doubts: Callable[[Sequence[Row]], Sequence[str]] | None = None
    """Warnings for the manifest beside those of the trails, and before them; from the same rows."""
    count: Callable[[Sequence[Row]], Mapping[str, int]] | None = None
    """Counts for the manifest's metrics, from some rows of the main table; those of all parts are added up."""
    trails: tuple[Trail, ...] = ()
    """Who did its part and who did not; empty where a row fails with the one model that it asks."""


@dataclass
class _Shard:
    name: str
    items: Sequence[Item]
    first: int
    """Position of its first item in the stage."""
    token: Token
    ledger: Ledger
    calls: Calls
    prompts: Mapping[str, str]
    windows: Windows
    started: datetime
    clock: float
    """What the monotonic clock said then."""
    remaining: int
    done: list[Rows | None]
    failures: Counter[str] = field(default_factory=Counter)
    examples: dict[str, tuple[int, str]] = field(default_factory=dict)
    """By reason: the failed row that stands first, by its position, so that an attempt that replays says the same."""
    deferred: int = 0

    def asker(self, position: int, rest: Rest) -> Asker:
        """Of an item: calls of earlier ones go before its own."""
        caller = self.calls.of(self.items[position].row, order=self.first + position)
        return Asker(caller, self.prompts, self.windows, rest=rest)

    def words(self, model: str, reason: str) -> str:
        usage = self.calls.usage.by_model().get(model)
        return usage.examples.get(reason, "") if usage else ""

    def fail(self, position: int, error: CallError) -> None:
        self.done[position] = error.rows if isinstance(error, RowFailed) else None
        self.failures[error.reason] += 1
        example = (position, f"row {self.items[position].row}: {shortened(str(error))}")
        self.examples[error.reason] = min(self.examples.get(error.reason, example), example)


class _Run:
    """State of one job process; all of it may be lost."""

    def __init__(self, context: Context, stage: RowStage) -> None:
        job = context.job
        self.context = context
        self.stage = stage
        self.path = stage_path(job.kind, job.inputs, job.fingerprint)
        self.ledgers = ledger_path(job.kind, job.inputs)
        self.journals = context.work_dir / "journals" / chain_of(self.path)
        self.names = shard_names(len(stage.items), stage.items_per_shard)
        self.open: dict[str, _Shard] = {}
        self.waiting: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        """Of the failures: the first that was met, by reason."""
        self.members = Members()
        """Of the rows this process made."""
        self.closed = Totals()
        """Calls of the shards that are over. A shard's own record of them, tens of MiB, goes with the shard."""
        self.spending = Spending()
        self.held: Mapping[str, int] = {}
        """Requests that wait for an endpoint's limits, by model."""
        self.asking: Counter[str] = Counter()
        """Items of the shards this process works on that may still ask a model, by model."""
        self.finished_with: list[str] = []
        self.rows_done = 0
        self.rows_total = len(stage.items)
        self.rows_failed = 0
        """The three of the shards this process works on; `failures` are the whole stage's."""
        self.rows_left = len(stage.items)
        """Of the whole stage, those that are not known to have ended."""

    async def work_on(self, shards: Sequence[int]) -> None:
        """Bring the given shards as far as the served models allow; ledgers are flushed whatever happens."""
        windows = await windows_of(self.context)
        places = [self.place_of(index) for index in shards]
        self.asking.update(dict.fromkeys(self.context.job.models, sum(place.stop - place.start for place in places)))
        async with Clients(targets(self.context)) as clients:
            telling = asyncio.create_task(self._tell(clients))
            try:
                async with asyncio.TaskGroup() as group:
                    await self._start_all(shards, group, clients, windows)
            except BaseExceptionGroup as errors:
                raise first_leaf(errors) from errors
            finally:
                telling.cancel()
                self.held = {}
                await self._drain(clients)
                await self._close_all()

    async def _tell(self, clients: Clients) -> None:
        """Say now and then which endpoints' limits are waited for (a slow stage must not look like a dead one), and
        which models are not asked any more."""
        while True:
            await asyncio.sleep(TELL_S)
            self.held = clients.held
            await self._finish_with()
            self.report()

    async def _finish_with(self) -> None:
        """Note models that no item may ask any more, once what they answered is durable: whoever works on these shards
        after this process finds it, and does not ask them either."""
        over = [model for model, items in self.asking.items() if not items and model not in self.finished_with]
        if not over:
            return
        try:
            for shard in list(self.open.values()):
                await shard.ledger.flush()
        except StoreError as error:  # a later look tries again; one that lasts ends the work elsewhere
            logger.warning("models_kept models=%s error=%s", ",".join(over), error)
            return
        self.finished_with += over
        logger.info("models_finished_with models=%s", ",".join(over))

    def place_of(self, shard: int) -> slice:
        """Of the shard's items among the stage's."""
        return shard_slice(shard, len(self.stage.items), self.stage.items_per_shard)

    async def _start_all(
        self, shards: Sequence[int], group: asyncio.TaskGroup, clients: Clients, windows: Windows
    ) -> None:
        """Start items one by one, in order."""
        pace = Pace(group, clients, most=self.context.settings.rows_in_flight)
        for index in shards:
            shard = await self._open_shard(index, clients, windows)
            for position in range(len(shard.items)):
                await pace.start(self._work(shard, position))
            if not shard.items:
                await self._end_shard(shard)

    async def _open_shard(self, index: int, clients: Clients, windows: Windows) -> _Shard:
        token = await claim(self.context.store, self.path, shard_name(index))
        ledger = await Ledger.load(
            self.context.store, self.ledgers, token, journals=self.journals, worth=worth_of(self.context)
        )
        place = self.place_of(index)
        items = await self.stage.items.read(place.start, place.stop)
        calls = Calls(
            clients=clients,
            ledger=ledger,
            digests=answering_digests(self.context),
            run_seed=self.context.resource.spec.seed,
            windows=windows,
            usage=Usage(spending=self.spending),
        )
        shard = _Shard(
            name=shard_name(index),
            items=items,
            first=place.start,
            token=token,
            ledger=ledger,
            calls=calls,
            prompts=self.context.prompts,
            windows=windows,
            started=datetime.now(UTC),
            clock=time.monotonic(),
            remaining=len(items),
            done=[None] * len(items),
        )
        self.open[shard.name] = shard
        return shard

    async def _work(self, shard: _Shard, position: int) -> None:
        await self._run_item(shard, position)
        shard.remaining -= 1
        if shard.remaining == 0:
            await self._end_shard(shard)

    async def _run_item(self, shard: _Shard, position: int) -> None:
        item = shard.items[position]
        rest = Rest(self.context.job.models, self.asking.subtract)
        try:
            rows = shard.done[position] = await item.work(shard.asker(position, rest))
            rest.only(())
            self._note_members(shard, rows)
        except CallError as error:
            if error.reason not in TRANSIENT:  # else another attempt asks again
                rest.only(())
            shard.fail(position, error)
            self._note_members(shard, shard.done[position] or {})
            self.failures[error.reason] += 1
            self.rows_failed += 1
            text = shortened(str(error))
            if error.reason in self.examples:
                logger.debug("row_failed row=%s reason=%s error=%s", item.row, error.reason, text)
            else:  # the first of each reason tells what to mend, the others only how often
                self.examples[error.reason] = f"row {item.row}: {text}"
                logger.warning("row_failed row=%s reason=%s error=%s", item.row, error.reason, text)
        except ModelAbsent as absent:
            shard.deferred += 1
            self.waiting[absent.model] += 1
        self.rows_done += 1
        self.rows_left -= 1
        self.report()
        if self.failures.total() >= LEAST_FAILED_ROWS:
            self._check_failures()

    async def _end_shard(self, shard: _Shard) -> None:
        """All items of the shard are accounted for: make its ledger durable, then publish it if none waits."""
        await shard.ledger.close()
        del self.open[shard.name]
        self.closed += shard.calls.usage.totals
        if shard.deferred:
            return
        # What is published is not tried again: too many failures must not get that far.
        self._check_failures()
        tables = {
            name: TableRows([row for rows in shard.done if rows is not None for row in rows.get(name, ())], schema)
            for name, schema in self.stage.schemas.items()
        }
        manifest = await publish_shard(
            self.context.store,
            self.path,
            shard.token,
            tables,
            main_table=self.stage.main_table,
            rows_in=len(shard.items),
            failures=shard.failures,
            examples={reason: text for reason, (_, text) in sorted(shard.examples.items())},
            usage=shard.calls.usage.by_model(),
            started=shard.started,
            seconds=time.monotonic() - shard.clock,
        )
        shard.done, shard.items = [], ()
        logger.info(
            "shard_published stage=%s shard=%s attempt=%d rows=%d failed=%d",
            self.context.job.stage,
            shard.name,
            manifest.attempt,
            manifest.rows[self.stage.main_table],
            sum(manifest.failures.values()),
        )

    async def _drain(self, clients: Clients) -> None:
        """After an error or SIGTERM: requests that are out are paid for, so their answers are waited for a little."""
        clients.stop_sending()
        out = [task for shard in self.open.values() for task in shard.calls.sending]
        if not out:
            return
        logger.info("answers_awaited calls=%d at_most_s=%.0f", len(out), self.context.settings.drain_s)
        _, late = await asyncio.wait(out, timeout=self.context.settings.drain_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*out, return_exceptions=True)
        self.report()

    async def _close_all(self) -> None:
        """After an error or SIGTERM: keep what was answered. One ledger that cannot be flushed keeps no other back."""
        for shard in list(self.open.values()):
            try:
                await shard.ledger.close()
            except StoreError as error:  # Fenced among them: a newer attempt has what counts
                logger.warning("ledger_not_flushed shard=%s error=%s", shard.name, error)
        self.open.clear()

    def forget_journals(self) -> None:
        """The stage is done: what fenced attempts left on this machine is of no use any more."""
        shutil.rmtree(self.journals, ignore_errors=True)

    def _note_members(self, shard: _Shard, rows: Rows) -> None:
        """Raises Permanent: a member failed too often to go on."""
        for trail in self.stage.trails:
            self.members.add(trail.parts(rows.get(trail.table, ())), shard.words)
        why = self.members.surely_over(self.context.resource.spec.failures.max_member_fraction)
        if why is not None:
            raise Permanent(f"{self.context.job.stage}: {why}")

    def _check_failures(self) -> None:
        """Raises Permanent, StageError as `check_failures`."""
        check_failures(self.context, len(self.stage.items), self.failures, self.examples, left=self.rows_left)

    def report(self) -> None:
        spent = sum((shard.calls.usage.totals for shard in self.open.values()), self.closed)
        self.context.progress.update(
            rows_done=self.rows_done,
            saved=self.rows_done,
            rows_total=self.rows_total,
            rows_stage=len(self.stage.items),
            failed=self.rows_failed,
            waiting=dict(self.waiting),
            calls=spent.sent,
            calls_reused=spent.from_ledger,
            prompt_tokens=spent.prompt_tokens,
            completion_tokens=spent.completion_tokens,
            prompt_spent=dict(self.spending.prompt),
            completion_spent=dict(self.spending.completion),
            held=dict(self.held),
            finished_with=[*self.finished_with],
        )


async def run_rows(context: Context, stage: RowStage) -> StageManifest | None:
    """Work on the settings' shard, or on all of them and finalise. Returns the manifest when the stage is done.

    Raises:
        Deferred: items wait for models that are not served.
        Permanent: more items failed than spec.failures.maxFraction tolerates, or a member more often than
            maxMemberFraction does.
        Fenced, StoreError, ServerError: see `moaa.errors`; ledgers are flushed as far as possible first.
    """
    run = _Run(context, stage)
    existing = await read_manifest(context.store, run.path)
    if existing is not None:
        run.forget_journals()
        return existing
    finished = await read_shards(context.store, run.path, run.names)
    wanted = range(len(run.names)) if context.settings.shard is None else [context.settings.shard]
    todo = [index for index in wanted if run.names[index] not in finished]
    mine = [finished[run.names[index]] for index in wanted if run.names[index] in finished]
    places = [run.place_of(index) for index in wanted]
    run.rows_total = sum(place.stop - place.start for place in places)
    run.rows_done = sum(shard.rows_in for shard in mine)
    run.rows_failed = sum(sum(shard.failures.values()) for shard in mine)
    for model, usage in (used for shard in mine for used in shard.usage.items()):
        run.spending.add(model, prompt=usage.prompt_tokens, completion=usage.completion_tokens)
    for shard in finished.values():
        run.rows_left -= shard.rows_in
        run.failures.update(shard.failures)
        run.examples = {**shard.examples, **run.examples}
    run.report()
    if todo:
        await run.work_on(todo)
    if run.waiting:
        run.report()
        raise Deferred(dict(run.waiting))
    if context.settings.shard is not None:
        return None
    manifest = await _finalise(run)
    run.forget_journals()
    return manifest


async def _finalise(run: _Run) -> StageManifest:
    context, metrics = run.context, {}
    doubts: Sequence[str] = ()
    if run.stage.measure is not None:
        rows = await _main_rows(run)
        metrics = dict(await asyncio.to_thread(run.stage.measure, rows))
        doubts = run.stage.doubts(rows) if run.stage.doubts is not None else ()
    metrics |= await _counts(run)

    health = await _health(run)

    def build(totals: StageTotals) -> StageManifest:
        check_failures(context, totals.rows_in, totals.failures, totals.examples, left=0)
        why = health.members.over(
            context.resource.spec.failures.max_member_fraction,
            lambda model, reason: totals.usage.get(model, TokenUsage()).examples.get(reason, ""),
        )
        if why is not None:
            raise Permanent(f"{context.job.stage}: {why}")
        warnings = fitted([*doubts, *health.warnings(totals.usage)])
        for warning in warnings:
            logger.warning("stage_warning stage=%s said=%s", context.job.stage, warning)
        return build_manifest(
            context.job,
            context.resource,
            attempt=totals.attempt,
            outputs=totals.outputs,
            tables=totals.tables,
            rows_in=totals.rows_in,
            failures=totals.failures,
            examples=totals.examples,
            usage=totals.usage,
            metrics=metrics,
            warnings=warnings,
            started=totals.started,
            seconds=totals.seconds,
        )

    return await finalise(context.store, run.path, run.names, main_table=run.stage.main_table, build=build)


async def _health(run: _Run) -> Health:
    health = Health()
    for trail in run.stage.trails:
        async for rows in _parts(run, trail.table):
            await asyncio.to_thread(health.add, trail, rows)
    return health


async def _counts(run: _Run) -> dict[str, float]:
    total: Counter[str] = Counter()
    if run.stage.count is not None:
        async for rows in _parts(run, run.stage.main_table):
            total.update(await asyncio.to_thread(run.stage.count, rows))
    return {name: float(number) for name, number in sorted(total.items())}


async def _main_rows(run: _Run) -> list[Row]:
    return [row async for rows in _parts(run, run.stage.main_table) for row in rows]


async def _parts(run: _Run, table: str) -> AsyncIterator[list[Row]]:
    """Of every shard that is finished; `finalise` refuses a stage that lacks one."""
    for shard in (await read_shards(run.context.store, run.path, run.names)).values():
        ref = shard.tables[table]
        yield await asyncio.to_thread(decode, await read_object(run.context.store, ref), source=ref.key)


def check_failures(
    context: Context, total: int, reasons: Mapping[str, int], examples: Mapping[str, str], *, left: int
) -> None:
    """Whether more rows failed than spec.failures.maxFraction tolerates. `examples` has one of each reason; `left` rows
    are not known to have ended.

    Raises:
        Permanent: those that would fail again are too many by themselves.
        StageError: too many with those that may pass (time-outs, server errors); another attempt may do better.
    """
    allowed = context.resource.spec.failures.max_fraction
    failed = sum(reasons.values())
    if failed <= allowed * total:
        return
    counts = ", ".join(f"{reason}: {count}" for reason, count in sorted(reasons.items()))
    said = [f"{reason}: {text}" for reason, text in sorted(examples.items())[:SAID]]
    message = (
        f"{context.job.stage}: {failed} of {total} rows failed ({counts})"
        + (f" when {left} were still to come" if left else "")
        + ", more than spec.failures.maxFraction "
        f"{allowed} allows; mend the cause, or raise it to accept the loss"
        + (f". The first of each: {'; '.join(said)}" if said else "")
    )
    lasting = sum(count for reason, count in reasons.items() if reason not in TRANSIENT)
    if lasting > allowed * total:
        raise Permanent(message)
    raise StageError(message)


def shortened(text: str) -> str:
    """One line of at most EXAMPLE_CHARACTERS, its end left out."""
    line = " ".join(text.split())
    return line if len(line) <= EXAMPLE_CHARACTERS else f"{line[: EXAMPLE_CHARACTERS - 3]}..."


def first_leaf(error: BaseException) -> BaseException:
    """The first exception that is no group; the others were caused by its cancellation or are like it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
