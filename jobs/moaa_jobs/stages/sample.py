"""sample: several answers to each of an iteration's preference prompts, of the student or of the mixture."""

from collections.abc import Awaitable, Callable
from typing import assert_never

from moaa.api.training import SamplesFrom
from moaa.asking.asker import Asker
from moaa.contract.job import StageJob
from moaa.data.schemas import SAMPLES
from moaa.mixture.alone import sample_answers
from moaa.mixture.samples import sample_mixture
from moaa.mixture.turns import prompt_of
from moaa.plan.kinds.table import rows_per_shard
from moaa.plan.stage import Kind
from moaa.plan.students import declared_dpo, mixture_method
from moaa.rows import PromptRow, SampleRow
from moaa_jobs.runner.context import Context
from moaa_jobs.runner.inputs import slices_of, stage_of
from moaa_jobs.runner.items import Chained, Item, OfRows, Rows
from moaa_jobs.runner.rows import RowStage, run_rows

Draw = Callable[[PromptRow, Asker], Awaitable[list[str]]]
"""The answers to a prompt."""


async def run(job: StageJob, context: Context) -> None:
    """Writes `samples`: one row for each prompt, in the slice's order."""
    draw = _drawing(job, context)
    items = [OfRows(rows, lambda row: [_item(row, draw)]) for rows in await slices_of(context, Kind.SAMPLE)]
    await run_rows(
        context,
        RowStage(
            items=Chained(items),
            items_per_shard=rows_per_shard(Kind.SAMPLE),
            schemas={"samples": SAMPLES},
            main_table="samples",
        ),
    )


def _drawing(job: StageJob, context: Context) -> Draw:
    dpo = declared_dpo(context.resource)
    match dpo.samples_from:
        case SamplesFrom.STUDENT:
            student = job.student
            assert student is not None  # the graph names the one that is asked
            return lambda row, asker: sample_answers(row["messages"], student, dpo, asker)
        case SamplesFrom.MIXTURE:
            method = mixture_method(context.resource, stage_of(job))
            return lambda row, asker: sample_mixture(row["messages"], method, row["id"], dpo.samples, asker)
        case _:
            assert_never(dpo.samples_from)


def _item(row: PromptRow, draw: Draw) -> Item:
    async def work(asker: Asker) -> Rows:
        texts = await draw(row, asker)
        return {"samples": [SampleRow(id=row["id"], messages=prompt_of(row["messages"]), samples=texts)]}

    return Item(row["id"], work)
