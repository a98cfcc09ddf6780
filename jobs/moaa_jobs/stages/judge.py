"""judge: the student's samples compared, ranked, and the best and worst of each prompt made a preference pair."""

from typing import cast

from moaa.asking.caller import Caller
from moaa.contract.job import StageJob
from moaa.data.schemas import PAIRS, RANKINGS
from moaa.judge.row import judge_row, to_pair
from moaa.plan.graph import resolved_judge, stage_id
from moaa.plan.shards import ROWS_PER_SHARD
from moaa.plan.stage import Kind
from moaa.rows import SampleRow
from moaa_jobs.runner.context import Context
from moaa_jobs.runner.inputs import rows_of, stage_of
from moaa_jobs.runner.models import windows_of
from moaa_jobs.runner.rows import Item, Rows, RowStage, run_rows


async def run(job: StageJob, context: Context) -> None:
    """Writes `rankings`, one row a prompt, and `pairs`, those that gave a clear best and worst."""
    declared = context.resource.spec.judge
    assert declared is not None  # moaa.api.reading.check refuses dpo without a judge
    judge = resolved_judge(declared, context.resource, stage_of(job))
    samples = cast("list[SampleRow]", await rows_of(context, stage_id(job.iteration, Kind.SAMPLE), "samples"))
    windows = await windows_of(context)

    def item(row: SampleRow) -> Item:
        async def work(caller: Caller) -> Rows:
            ranking = await judge_row(row, judge, context.prompts, caller, windows=windows)
            pair = to_pair(ranking)
            return {"rankings": [ranking], "pairs": [pair] if pair else []}

        return Item(row["id"], work)

    await run_rows(
        context,
        RowStage(
            items=[item(row) for row in samples],
            items_per_shard=ROWS_PER_SHARD[Kind.JUDGE],
            schemas={"rankings": RANKINGS, "pairs": PAIRS},
            main_table="rankings",
        ),
    )
