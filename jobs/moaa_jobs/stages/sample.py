"""sample: the student answers each of an iteration's preference prompts several times."""

from moaa.api.training import Dpo
from moaa.asking.asker import Asker
from moaa.contract.job import StageJob
from moaa.data.schemas import SAMPLES
from moaa.mixture.alone import sample_answers
from moaa.mixture.turns import prompt_of
from moaa.plan.kinds.table import rows_per_shard
from moaa.plan.stage import Kind
from moaa.rows import PromptRow, SampleRow
from moaa_jobs.runner.context import Context
from moaa_jobs.runner.inputs import read_slices
from moaa_jobs.runner.rows import Item, Rows, RowStage, run_rows


async def run(job: StageJob, context: Context) -> None:
    """Writes `samples`: one row for each prompt, in the slice's order."""
    dpo = context.resource.spec.training.dpo
    assert dpo is not None
    assert job.student is not None  # the graph has sample stages for dpo only, with the student they ask
    tables = await read_slices(context, Kind.SAMPLE)
    items = [_item(row, job.student, dpo) for rows in tables for row in rows]
    await run_rows(
        context,
        RowStage(
            items=items, items_per_shard=rows_per_shard(Kind.SAMPLE), schemas={"samples": SAMPLES}, main_table="samples"
        ),
    )


def _item(row: PromptRow, student: str, dpo: Dpo) -> Item:
    async def work(asker: Asker) -> Rows:
        texts = await sample_answers(row["messages"], student, dpo, asker)
        return {"samples": [SampleRow(id=row["id"], messages=prompt_of(row["messages"]), samples=texts)]}

    return Item(row["id"], work)
