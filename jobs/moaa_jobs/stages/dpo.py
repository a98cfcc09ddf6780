"""Stage `dpo`: the student learns to prefer its better samples to its worse ones (`spec.training.dpo.loss`)."""

from moaa.contract.job import StageJob
from moaa.plan.stage import Kind
from moaa_jobs.runner.context import Context
from moaa_jobs.training.driver.train import Recipe, train
from moaa_jobs.training.rows.table import pair_table
from moaa_jobs.training.rows.tokens import encode_pair

RECIPE = Recipe(kind=Kind.DPO, source=Kind.JUDGE, table="pairs", encode=encode_pair, to_table=pair_table)


async def run(job: StageJob, context: Context) -> None:
    """Train and publish `model` and `curve`. Raises as `driver.train.train`."""
    await train(job, context, RECIPE)
