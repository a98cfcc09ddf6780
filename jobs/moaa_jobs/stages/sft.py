"""Stage `sft`: the student learns the mixture's conversations, every assistant turn of them."""

from moaa.contract.job import StageJob
from moaa.plan.stage import Kind
from moaa_jobs.runner.context import Context
from moaa_jobs.training.driver.train import Recipe, train
from moaa_jobs.training.rows.table import sft_table
from moaa_jobs.training.rows.tokens import encode_conversation

RECIPE = Recipe(
    kind=Kind.SFT, source=Kind.GENERATE, table="conversations", encode=encode_conversation, to_table=sft_table
)


async def run(job: StageJob, context: Context) -> None:
    """Train and publish `model` and `curve`. Raises as `driver.train.train`."""
    await train(job, context, RECIPE)
