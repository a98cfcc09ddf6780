"""judge: compares and ranks the samples of each prompt, and makes the best and one that lost a preference pair."""

import logging
from collections import Counter
from collections.abc import Sequence
from typing import cast

from moaa.asking.asker import Asker
from moaa.contract.job import StageJob
from moaa.data.schemas import JUDGEMENTS, PAIRS, RANKINGS
from moaa.judge.keep import keep
from moaa.judge.ranking import skipped
from moaa.judge.row import pair_row, ranking_row, trail
from moaa.judge.scalar.ranking import seconded
from moaa.plan.ids import stage_id
from moaa.plan.kinds.judge import OPPOSED, OUTCOME, SECONDED, SKIPPED
from moaa.plan.kinds.table import rows_per_shard
from moaa.plan.stage import Kind
from moaa.plan.students import declared_dpo, judge_method
from moaa.rows import RankingRow, SampleRow
from moaa.store.stages.tables import Row
from moaa_jobs.runner.context import Context
from moaa_jobs.runner.inputs import stage_of, table_of
from moaa_jobs.runner.items import Item, OfRows, Rows
from moaa_jobs.runner.members import JUDGEMENTS_TRAIL
from moaa_jobs.runner.rows import RowStage, run_rows

logger = logging.getLogger(__name__)


async def run(job: StageJob, context: Context) -> None:
    """Writes `rankings`, one row a prompt, `pairs`, those that `dpo.pairs` keeps, and `judgements`, what judges
    said."""
    rules, seed = declared_dpo(context.resource).pairs, context.resource.spec.seed
    method = judge_method(context.resource, stage_of(job))
    samples = await table_of(context, stage_id(job.iteration, Kind.SAMPLE), "samples")

    def item(row: SampleRow) -> Item:
        async def work(asker: Asker) -> Rows:
            made = await method.rank(row["messages"], row["samples"], asker, confirms=rules.consistent)
            ranked = keep(made, row, rules, seed=seed)
            pair = pair_row(row, ranked)
            return {
                "rankings": [ranking_row(row, ranked)],
                "pairs": [pair] if pair else [],
                "judgements": trail(row["id"], ranked),
            }

        return Item(row["id"], work)

    manifest = await run_rows(
        context,
        RowStage(
            items=OfRows(samples, lambda row: [item(cast("SampleRow", row))]),
            items_per_shard=rows_per_shard(Kind.JUDGE),
            schemas={"rankings": RANKINGS, "pairs": PAIRS, "judgements": JUDGEMENTS},
            main_table="rankings",
            trails=(JUDGEMENTS_TRAIL,),
            count=counts,
        ),
    )
    if manifest is not None:
        found = [(name.removeprefix(OUTCOME), value) for name, value in manifest.metrics.items()]
        logger.info("prompts_ranked stage=%s %s", job.stage, " ".join(f"{name}={value:.0f}" for name, value in found))


def counts(rows: Sequence[Row]) -> dict[str, int]:
    """Metrics of the manifest: prompts by what became of them, orders of comparisons that were skipped, and comparisons
    by whether a reward model agrees."""
    rankings = cast("Sequence[RankingRow]", rows)
    found = Counter(f"{OUTCOME}{row['outcome']}" for row in rankings)
    for row in rankings:
        agreed, opposed = seconded(row)
        found[SECONDED] += agreed
        found[OPPOSED] += opposed
    found[SKIPPED] = sum(len(skipped(comparison)) for row in rankings for comparison in row["comparisons"])
    return {name: number for name, number in found.items() if number}
