"""judge: compares and ranks the student's samples, and makes the best and worst of each prompt a preference pair."""

from typing import cast

from moaa.asking.asker import Asker
from moaa.contract.job import StageJob
from moaa.data.schemas import JUDGEMENTS, PAIRS, RANKINGS
from moaa.judge.row import pair_row, ranking_row, trail
from moaa.plan.ids import stage_id
from moaa.plan.kinds.table import rows_per_shard
from moaa.plan.stage import Kind
from moaa.plan.students import judge_method
from moaa.rows import SampleRow
from moaa_jobs.runner.context import Context
from moaa_jobs.runner.inputs import rows_of, stage_of
from moaa_jobs.runner.members import JUDGEMENTS_TRAIL
from moaa_jobs.runner.rows import Item, Rows, RowStage, run_rows


async def run(job: StageJob, context: Context) -> None:
    """Writes `rankings`, one row a prompt, `pairs`, those with a clear best and worst, and `judgements`, what judges
    said."""
    method = judge_method(context.resource, stage_of(job))
    samples = cast("list[SampleRow]", await rows_of(context, stage_id(job.iteration, Kind.SAMPLE), "samples"))

    def item(row: SampleRow) -> Item:
        async def work(asker: Asker) -> Rows:
            ranked = await method.rank(row["messages"], row["samples"], asker)
            pair = pair_row(row, ranked)
            return {
                "rankings": [ranking_row(row, ranked)],
                "pairs": [pair] if pair else [],
                "judgements": trail(row["id"], ranked),
            }

        return Item(row["id"], work)

    await run_rows(
        context,
        RowStage(
            items=[item(row) for row in samples],
            items_per_shard=rows_per_shard(Kind.JUDGE),
            schemas={"rankings": RANKINGS, "pairs": PAIRS, "judgements": JUDGEMENTS},
            main_table="rankings",
            trails=(JUDGEMENTS_TRAIL,),
        ),
    )
