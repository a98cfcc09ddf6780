"""The checker of a job that evaluates: a harness with the task files that stage-data has kept."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

from moaa.api.evaluation import Instructions, LmEval
from moaa.benchmark.checker import Checker
from moaa.plan.graph import benchmarks
from moaa.plan.ids import STAGE_DATA
from moaa.plan.slices import task_files
from moaa.rows import TaskFileRow
from moaa_jobs.harness.child import harness
from moaa_jobs.harness.task_files import write_task_files
from moaa_jobs.runner.context import Context
from moaa_jobs.runner.inputs import rows_of


@asynccontextmanager
async def checking(context: Context) -> AsyncIterator[Checker | None]:
    """None where no benchmark needs one. Its child starts with the first answer and is gone when the block is left."""
    listed = benchmarks(context.resource.spec)
    if not any(isinstance(benchmark, LmEval | Instructions) for benchmark in listed):
        yield None
        return
    folder = context.work_dir / "harness"
    includes: dict[str, Path] = {}
    for benchmark in listed:
        if (table := task_files(benchmark)) is not None:
            rows = cast("list[TaskFileRow]", await rows_of(context, STAGE_DATA, table))
            includes[benchmark.name] = write_task_files(rows, folder / table)
    runs_code = any(isinstance(benchmark, LmEval) and benchmark.run_code for benchmark in listed)
    async with harness(folder, includes=includes, runs_code=runs_code) as made:
        yield made
