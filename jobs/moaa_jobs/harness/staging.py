"""What stage-data has the harness do: make rows of tasks, and look at rules before any model is paid to follow them."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import assert_never

from moaa.api.evaluation import Instructions, LmEval
from moaa.data.further.completion import Files
from moaa.data.further.rules import rules_in
from moaa.data.reading.formats import Form, kind_of
from moaa.errors import DataError
from moaa.plan.graph import benchmarks
from moaa.plan.slices import field_of, further_name, task_files
from moaa.rows import TaskFileRow
from moaa_jobs.harness.child import harness
from moaa_jobs.harness.messages import DataFiles, TaskTold
from moaa_jobs.harness.task_files import task_file_rows, write_task_files
from moaa_jobs.runner.context import Context

SHOWN = 3
"""Rules that an error names."""

logger = logging.getLogger(__name__)


async def harnessed(
    context: Context, files: Mapping[str, Files]
) -> tuple[dict[str, Files], dict[str, list[TaskFileRow]]]:
    """The files of every source, those of LmEval benchmarks replaced by the rows of their tasks; and tables of task
    files.

    Raises:
        DataError: a task or a rule cannot be used, or the harness is not installed.
        StageError: the harness ended by itself.
    """
    found, kept = dict(files), dict[str, list[TaskFileRow]]()
    for benchmark in benchmarks(context.resource.spec):
        table = f"eval-{benchmark.name}"
        if isinstance(benchmark, LmEval):
            rows: list[TaskFileRow] = []
            if (own := task_files(benchmark)) is not None and benchmark.include is not None:
                rows = kept[own] = task_file_rows(files[own], benchmark.include, field_of(own))
            context.progress.update(message=f"building the tasks of {benchmark.name}")
            found[table] = await _task_rows(benchmark, files, rows, context.work_dir / "harness" / benchmark.name)
        elif isinstance(benchmark, Instructions):
            context.progress.update(message=f"looking at the rules of {benchmark.name}")
            await _check_rules(benchmark, files[table], context.work_dir / "harness" / benchmark.name)
    return found, kept


async def _task_rows(benchmark: LmEval, files: Mapping[str, Files], own: list[TaskFileRow], folder: Path) -> Files:
    table, fewshot = f"eval-{benchmark.name}", files.get(further_name(benchmark.name, "fewshot"))
    includes = {benchmark.name: write_task_files(own, folder / "include")} if own else {}
    reads = [path.resolve() for path, _ in (*files[table], *(fewshot or ()))]
    out = folder / "rows.jsonl"
    async with harness(folder, includes=includes, reads=reads, runs_code=benchmark.run_code) as made:
        told = await made.documents(
            benchmark,
            _data_files(files[table], field_of(table)),
            None if fewshot is None else _data_files(fewshot, f"{field_of(table)}, fewshotSplit"),
            out,
        )
    for task in told.tasks:
        _log(benchmark, task, told.harness)
    return [(out, f"tasks of {benchmark.name}, rows.jsonl")]


def _log(benchmark: LmEval, task: TaskTold, harness_version: str) -> None:
    logger.info(
        "task_read benchmark=%s task=%s version=%s documents=%d score=%s lm_eval=%s",
        benchmark.name, task.name, task.version, task.documents, task.score, harness_version,
    )  # fmt: skip
    if task.differs:
        # Every benchmark of a resource is sampled as the resource says; a reader who compares must know.
        logger.info(
            "task_sampling_unused benchmark=%s task=%s asks=%s", benchmark.name, task.name, ", ".join(task.differs)
        )


def _data_files(files: Files, field: str) -> DataFiles:
    """Raises DataError: a form that the library `datasets` does not read."""
    paths = [str(path.resolve()) for path, _ in files]
    kind = kind_of(files[0][1])
    assert kind is not None, f"{field}: resolve chooses files of one kind"
    match kind.form:
        case Form.JSON_LINES | Form.JSON:
            return DataFiles(builder="json", paths=paths)
        case Form.CSV:
            return DataFiles(builder="csv", paths=paths)
        case Form.TSV:
            return DataFiles(builder="csv", separator="\t", paths=paths)
        case Form.PARQUET:
            return DataFiles(builder="parquet", paths=paths)
        case Form.ARROW:
            return DataFiles(builder="arrow", paths=paths)
        case _:
            assert_never(kind.form)


async def _check_rules(benchmark: Instructions, files: Files, folder: Path) -> None:
    """Raises DataError: a row has a rule that cannot be checked here."""
    named = rules_in(files)
    if not named:
        return
    async with harness(folder) as made:
        refusals = await made.refusals(list(named))
    told = [f"{where}: {why}" for where, why in zip(named.values(), refusals, strict=True) if why]
    if told:
        more = f" (and {len(told) - SHOWN} more)" if len(told) > SHOWN else ""
        raise DataError(f"{field_of(f'eval-{benchmark.name}')}: {'; '.join(told[:SHOWN])}{more}")
