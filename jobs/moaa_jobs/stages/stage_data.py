"""stage-data: pinned sources to the tables every later stage reads (`moaa.data.prepare`).

One worker; the sources are read once, rows wait on disk, and the tables go out in shards of a fixed number of rows.
What was dropped is in the manifest's metrics: `<table>.read`, `.failed`, `.duplicates`, `.contaminated`, `.overLimit`,
`.rows`, `.turns`, the user turns of the rows that are kept, and by `.ignored.<column>` the rows in which a column that
nobody reads holds something; `failures` and `examples` have the bad rows by reason. The table `dropped` lists bad rows
with what is wrong and contaminated ones with the question they hold; `<table>.tooLong.<model>` and its siblings
(`moaa.plan.lengths`) are the part of the rows that is or may be too long for a model.
"""

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import cast

from moaa.api import MoAA
from moaa.api.data import Answers, DataSource, FileSource, SftSource
from moaa.api.evaluation import MIN_QUESTIONS, AnyBenchmark, Benchmark, further_files
from moaa.benchmark.measure import Measure
from moaa.benchmark.measures import measure_of
from moaa.contract.job import StageJob
from moaa.data.account import Account, check_failures, check_left
from moaa.data.further.completion import NOTHING_MORE, Completion, Files, count_of
from moaa.data.further.completions import completion_of
from moaa.data.labelled import Labelled, read_labelled
from moaa.data.pins import PinnedFileRow, pinned_file
from moaa.data.prepare import PreparedTable, TableSource, prepare
from moaa.data.reading.columns import wanted
from moaa.data.reading.shapes import Use
from moaa.data.schemas import DROPPED, LABELLED, PROMPTS
from moaa.errors import DataError
from moaa.plan.graph import benchmarks
from moaa.plan.ids import RESOLVE
from moaa.plan.slices import ANCHORED, field_of, further_name, pinned_sources, positions, slice_rows, tables
from moaa.plan.stage import Kind
from moaa.rows import PromptRow
from moaa.store.stages.shards import shard_count
from moaa.store.stages.tables import TableRows
from moaa_jobs.runner.context import Context
from moaa_jobs.runner.inputs import rows_of
from moaa_jobs.runner.models import windows_of
from moaa_jobs.runner.one_worker import finished, publish
from moaa_jobs.runner.origins import Origins
from moaa_jobs.stages.lengths import SAMPLE, check_lengths

logger = logging.getLogger(__name__)

ROWS_PER_SHARD = 8192
"""Part of the format: row digests do not depend on it, object names do."""
DROPPED_ROWS = "dropped"


async def run(job: StageJob, context: Context) -> None:  # noqa: ARG001  the entry points share one signature
    """Write the tables and the manifest of stage-data.

    Raises:
        DataError: a source changed since it was pinned, a file or too many rows are wrong, too few rows are left, or
            too many of them are too long for those who read them.
        StoreError: the Hub did not give a tokenizer.
    """
    if await finished(context):
        return
    started = datetime.now(UTC)
    origins = Origins(context.resource.spec.storage)
    try:
        files = await _fetch(context, origins)
    finally:
        await origins.close()
    sources = await asyncio.to_thread(_sources, context.resource, files)
    labelled = await asyncio.to_thread(_labelled, context.resource, files)
    with ExitStack() as stack:
        prepared = await _prepare(stack, sources, context)
        accounts = {table.name: table.account for table in prepared}
        if labelled is not None:
            accounts[ANCHORED] = labelled.account
        for name, account in accounts.items():
            _log(name, account)
        declared = [(field_of(name), account) for name, account in accounts.items()]
        check_failures(declared, Fraction(context.resource.spec.failures.max_fraction))
        check_left(declared)
        check_enough(context.resource, accounts)
        check_anchors(context.resource, accounts)
        long = await _check_lengths(prepared, context)
        await publish(
            context,
            _shards(prepared, accounts, labelled),
            main_table=prepared[0].name,
            started=started,
            rows_in=sum(account.read for account in accounts.values()),
            failures=sum((account.failed_by_reason for account in accounts.values()), Counter()),
            examples=_examples(accounts.values()),
            metrics={
                f"{table}.{name}": count
                for table, account in accounts.items()
                for name, count in account.figures().items()
            }
            | long,
        )


def _examples(accounts: Iterable[Account]) -> dict[str, str]:
    """The first bad row of each reason, of the first table that has one."""
    found: dict[str, str] = {}
    for account in accounts:
        for why in account.failed_by_reason:
            found.setdefault(str(why), account.examples[why])
    return found


def _log(table: str, account: Account) -> None:
    logger.info(
        "table_prepared table=%s read=%d failed=%d duplicates=%d contaminated=%d over_limit=%d kept=%d",
        table, account.read, account.failed, account.duplicates, account.contaminated, account.over_limit,
        account.kept,
    )  # fmt: skip
    if account.ignored:
        columns = ", ".join(f"{name} ({count} rows)" for name, count in sorted(account.ignored.items()))
        logger.info("columns_ignored table=%s columns=%s", table, columns)
    for reason, example in account.examples.items():
        logger.warning("rows_dropped table=%s reason=%s first=%s", table, reason, example)


async def _check_lengths(prepared: list[PreparedTable], context: Context) -> dict[str, float]:
    """Raises DataError, StoreError: as `check_lengths` and `windows_of`."""
    context.progress.update(message="counting tokens")
    windows = await windows_of(context)

    def count() -> dict[str, float]:
        sampled = {table.name: [row["messages"] for row in islice(table.rows(), SAMPLE)] for table in prepared}
        return check_lengths(context.resource, sampled, windows)

    return await asyncio.to_thread(count)


async def _prepare(stack: ExitStack, sources: list[TableSource], context: Context) -> list[PreparedTable]:
    """Reads in a thread; a cancelled stage stops it at the next report instead of at the last row."""
    spec = context.resource.spec
    stop = threading.Event()

    def on_rows(rows: int) -> None:
        if stop.is_set():
            raise InterruptedError("the stage was stopped")
        context.progress.update(rows_done=rows)

    reading = prepare(
        sources,
        seed=spec.seed,
        ngram=spec.data.decontamination_ngram,
        folder=context.work_dir,
        on_rows=on_rows,
    )
    try:
        return await asyncio.to_thread(stack.enter_context, reading)
    finally:
        stop.set()


async def _fetch(context: Context, origins: Origins) -> dict[str, Files]:
    """The files of every pinned source on this machine."""
    return {name: await _files(name, source, context, origins) for name, source in pinned_sources(context.resource)}


def _sources(resource: MoAA, files: Mapping[str, Files]) -> list[TableSource]:
    """Every table of prompts to be, with its files and what further files say of its rows.

    Raises:
        DataError: a further file is wrong or does not belong to the questions.
    """
    found: list[TableSource] = []
    spec = resource.spec
    measured = {f"eval-{b.name}": measure_of(b, student=spec.student) for b in benchmarks(spec)}
    completions = {f"eval-{benchmark.name}": _completion(benchmark, files) for benchmark in benchmarks(spec)}
    for name, source in tables(resource):
        if name != ANCHORED:
            limit = source.limit if isinstance(source, Benchmark) else None
            completion = completions.get(name, NOTHING_MORE)
            use = _use(source, measured.get(name))
            found.append(TableSource(name, use, tuple(files[name]), limit, source.columns, completion))
    return found


def _labelled(resource: MoAA, files: Mapping[str, Files]) -> Labelled | None:
    """The labelled pairs that the resource names; None where it names none. Raises DataError: a file is wrong."""
    source = resource.spec.anchors.source if resource.spec.anchors is not None else None
    if source is None:
        return None
    return read_labelled(files[ANCHORED], limit=source.limit, seed=resource.spec.seed, table=ANCHORED)


async def _files(name: str, source: FileSource, context: Context, origins: Origins) -> Files:
    """The pinned files of one source on this machine."""
    context.progress.update(message=f"fetching {source.source}")
    field = field_of(name)
    origin = origins.open(source.source, revision=source.revision, secret=source.token_secret, field=field)
    folder = context.work_dir / name
    folder.mkdir(exist_ok=True)
    files: list[tuple[Path, str]] = []
    for row in cast(list[PinnedFileRow], await rows_of(context, RESOLVE, name)):
        local = await origin.fetch(pinned_file(row), row["revision"], folder)
        files.append((local, _name(source.source, row["name"])))
    return files


def _completion(benchmark: AnyBenchmark, files: Mapping[str, Files]) -> Completion:
    """Raises DataError: a further file is wrong or does not belong to the questions."""
    further = {field: files[further_name(benchmark.name, field)] for field in further_files(benchmark)}
    questions = count_of(files[f"eval-{benchmark.name}"], wanted(benchmark.columns)) if further else 0
    return completion_of(benchmark, further, questions)


def _name(source: str, file: str) -> str:
    """What errors call a file: the source, and the file within it where that is a folder."""
    return source if source.endswith(f"/{file}") else f"{source.rstrip('/')}/{file}"


def _use(source: DataSource, measured: Measure | None) -> Use:
    if measured is not None:
        return Use.EXACT_MATCH if measured.needs_gold else Use.COMPARED if measured.needs_given else Use.PAIRWISE
    match source:
        case SftSource():
            return Use.GIVEN if source.answers is Answers.GIVEN else Use.MIXTURE
    return Use.PREFERENCE


def check_enough(resource: MoAA, accounts: Mapping[str, Account]) -> None:
    """Find out now, not in iteration 7, that a source has too few rows. Raises DataError.

    The stages that take the rows check again: an edit may raise limit or iterations later.
    """
    training = resource.spec.training
    for kind, part in ((Kind.GENERATE, training.sft), (Kind.SAMPLE, training.dpo)):
        if part is None:
            continue
        for iteration in range(1, resource.spec.iterations + 1):
            for taken in slice_rows(resource, kind, iteration):
                account = accounts[taken.table]
                try:
                    positions(taken, account.kept)
                except DataError as error:
                    told = account.told()
                    raise DataError(f"{error} (of {account.read} rows, {told})" if told else str(error)) from error


def check_anchors(resource: MoAA, accounts: Mapping[str, Account]) -> None:
    """Whether a judge can pass its floor at all. Raises DataError: there are too few labelled questions."""
    said, account = resource.spec.anchors, accounts.get(ANCHORED)
    if said is None or account is None or account.kept >= MIN_QUESTIONS:
        return
    if said.floor or said.evaluation_floor:
        raise DataError(
            f"{field_of(ANCHORED)}: {account.kept} questions, and no judge is shown to be good on fewer than "
            f"{MIN_QUESTIONS}; give more, or set spec.anchors.floor and evaluationFloor to 0"
        )


def _shards(
    prepared: list[PreparedTable], accounts: Mapping[str, Account], labelled: Labelled | None
) -> Iterator[dict[str, TableRows]]:
    """Shard i holds rows [i * ROWS_PER_SHARD, (i + 1) * ROWS_PER_SHARD) of every table that reaches that far."""
    rows: dict[str, Iterator[PromptRow]] = {table.name: table.rows() for table in prepared}
    pairs = iter(labelled.rows if labelled else ())
    dropped = chain.from_iterable(account.rows(name) for name, account in accounts.items())
    sizes = [*(table.account.kept for table in prepared), sum(len(account.dropped) for account in accounts.values())]
    for _ in range(shard_count(max(*sizes, len(labelled.rows) if labelled else 0), ROWS_PER_SHARD)):
        shard = {name: TableRows(list(islice(rest, ROWS_PER_SHARD)), PROMPTS) for name, rest in rows.items()}
        if labelled is not None:
            shard[ANCHORED] = TableRows(list(islice(pairs, ROWS_PER_SHARD)), LABELLED)
        yield {**shard, DROPPED_ROWS: TableRows(list(islice(dropped, ROWS_PER_SHARD)), DROPPED)}
