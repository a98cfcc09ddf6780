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
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import cast

from moaa.api import MoAA
from moaa.api.data import Answers, DataSource, FileSource, SftSource
from moaa.api.evaluation import AnyBenchmark, Benchmark, further_files
from moaa.benchmark.measure import Measure
from moaa.benchmark.measures import measure_of
from moaa.contract.job import StageJob
from moaa.data.account import Account, check_failures, check_left
from moaa.data.further.completion import NOTHING_MORE, Completion, Files, count_of
from moaa.data.further.completions import completion_of
from moaa.data.pins import PinnedFileRow, pinned_file
from moaa.data.prepare import PreparedTable, TableSource, prepare
from moaa.data.reading.columns import wanted
from moaa.data.reading.shapes import Use
from moaa.data.schemas import DROPPED, PROMPTS, TASK_FILES
from moaa.errors import DataError
from moaa.plan.graph import benchmarks
from moaa.plan.ids import RESOLVE
from moaa.plan.slices import field_of, further_name, pinned_sources, positions, slice_rows, tables
from moaa.plan.stage import Kind
from moaa.rows import PromptRow, TaskFileRow
from moaa.store.stages.shards import shard_count
from moaa.store.stages.tables import TableRows
from moaa_jobs.harness.staging import harnessed
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
        sources, task_tables = await _fetch(context, origins)
    finally:
        await origins.close()
    with ExitStack() as stack:
        prepared = await _prepare(stack, sources, context)
        accounts = [(field_of(table.name), table.account) for table in prepared]
        for table in prepared:
            _log(table)
        check_failures(accounts, Fraction(context.resource.spec.failures.max_fraction))
        check_left(accounts)
        check_enough(context.resource, {table.name: table.account for table in prepared})
        long = await _check_lengths(prepared, context)
        await publish(
            context,
            _shards(prepared, task_tables),
            main_table=prepared[0].name,
            started=started,
            rows_in=sum(table.account.read for table in prepared),
            failures=sum((table.account.failed_by_reason for table in prepared), Counter()),
            examples=_examples(prepared),
            metrics={
                f"{table.name}.{name}": count for table in prepared for name, count in table.account.figures().items()
            }
            | long,
        )


def _examples(prepared: list[PreparedTable]) -> dict[str, str]:
    """The first bad row of each reason, of the first table that has one."""
    found: dict[str, str] = {}
    for table in prepared:
        for why in table.account.failed_by_reason:
            found.setdefault(str(why), table.account.examples[why])
    return found


def _log(table: PreparedTable) -> None:
    account = table.account
    logger.info(
        "table_prepared table=%s read=%d failed=%d duplicates=%d contaminated=%d over_limit=%d kept=%d",
        table.name, account.read, account.failed, account.duplicates, account.contaminated, account.over_limit,
        account.kept,
    )  # fmt: skip
    if account.ignored:
        columns = ", ".join(f"{name} ({count} rows)" for name, count in sorted(account.ignored.items()))
        logger.info("columns_ignored table=%s columns=%s", table.name, columns)
    for reason, example in account.examples.items():
        logger.warning("rows_dropped table=%s reason=%s first=%s", table.name, reason, example)


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


async def _fetch(context: Context, origins: Origins) -> tuple[list[TableSource], dict[str, list[TaskFileRow]]]:
    """Every table to be, with its files and what further files say of its rows; and the tables of task files."""
    fetched: list[TableSource] = []
    spec = context.resource.spec
    measured = {f"eval-{b.name}": measure_of(b, student=spec.student) for b in benchmarks(spec)}
    files = {name: await _files(name, source, context, origins) for name, source in pinned_sources(context.resource)}
    files, task_tables = await harnessed(context, files)
    completions = {
        f"eval-{benchmark.name}": await asyncio.to_thread(_completion, benchmark, files)
        for benchmark in benchmarks(spec)
    }
    for name, source in tables(context.resource):
        limit = source.limit if isinstance(source, Benchmark) else None
        completion = completions.get(name, NOTHING_MORE)
        use = _use(source, measured.get(name))
        fetched.append(TableSource(name, use, tuple(files[name]), limit, source.columns, completion))
    return fetched, task_tables


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


def _shards(
    prepared: list[PreparedTable], task_tables: Mapping[str, list[TaskFileRow]]
) -> Iterator[dict[str, TableRows]]:
    """Shard i holds rows [i * ROWS_PER_SHARD, (i + 1) * ROWS_PER_SHARD) of every table that reaches that far."""
    task_files = {name: iter(rows) for name, rows in task_tables.items()}
    rows: dict[str, Iterator[PromptRow]] = {table.name: table.rows() for table in prepared}
    dropped = chain.from_iterable(table.account.rows(table.name) for table in prepared)
    longest = max(
        *(table.account.kept for table in prepared),
        sum(len(table.account.dropped) for table in prepared),
        *map(len, task_tables.values()),
    )
    for _ in range(shard_count(longest, ROWS_PER_SHARD)):
        shard = {name: TableRows(list(islice(rest, ROWS_PER_SHARD)), PROMPTS) for name, rest in rows.items()}
        shard |= {name: TableRows(list(islice(rest, ROWS_PER_SHARD)), TASK_FILES) for name, rest in task_files.items()}
        yield {**shard, DROPPED_ROWS: TableRows(list(islice(dropped, ROWS_PER_SHARD)), DROPPED)}
