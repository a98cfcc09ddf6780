"""generate: the mixture answers an iteration's SFT prompts turn by turn; `Given` rows pass through."""

from moaa.api.data import Answers
from moaa.api.mixture import Mixture
from moaa.asking.asker import Asker
from moaa.contract.job import StageJob
from moaa.data.schemas import CONVERSATIONS
from moaa.mixture.row import answer_conversation
from moaa.plan.graph import uses_mixture
from moaa.plan.kinds.table import rows_per_shard
from moaa.plan.stage import Kind
from moaa.plan.students import resolved_mixture
from moaa.rows import ConversationRow, PromptRow
from moaa_jobs.runner.context import Context
from moaa_jobs.runner.inputs import read_slices, stage_of
from moaa_jobs.runner.members import PROPOSALS_TRAIL
from moaa_jobs.runner.rows import Item, Rows, RowStage, run_rows


async def run(job: StageJob, context: Context) -> None:
    """Writes `conversations`: one row for each prompt, in the slice's order."""
    resource = context.resource
    tables = await read_slices(context, Kind.GENERATE)
    mixture = resolved_mixture(resource, stage_of(job)) if uses_mixture(resource.spec) else None
    items = [
        _given(row) if source.answers is Answers.GIVEN else _mixed(row, _declared(mixture))
        for source, rows in zip(resource.spec.data.sft, tables, strict=True)
        for row in rows
    ]
    await run_rows(
        context,
        RowStage(
            items=items,
            items_per_shard=rows_per_shard(Kind.GENERATE),
            schemas={"conversations": CONVERSATIONS},
            main_table="conversations",
            trail=PROPOSALS_TRAIL,
        ),
    )


def _declared(mixture: Mixture | None) -> Mixture:
    assert mixture is not None  # moaa.api.reading.check refuses answers: Mixture without one
    return mixture


def _given(row: PromptRow) -> Item:
    async def work(_asker: Asker) -> Rows:
        conversation = ConversationRow(
            id=row["id"], messages=row["messages"], proposals=[], missing=0, absent=[], shortened=0
        )
        return {"conversations": [conversation]}

    return Item(row["id"], work)


def _mixed(row: PromptRow, mixture: Mixture) -> Item:
    async def work(asker: Asker) -> Rows:
        answered = await answer_conversation(row["messages"], mixture, asker)
        return {"conversations": [answered.row(row["id"])]}

    return Item(row["id"], work)
