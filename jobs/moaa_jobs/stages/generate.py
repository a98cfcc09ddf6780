"""generate: the mixture answers an iteration's SFT prompts turn by turn; `Given` rows pass through."""

from collections import Counter
from collections.abc import Sequence
from typing import assert_never, cast

from moaa.api.data import Answers
from moaa.api.mixture import parts_of
from moaa.asking.asker import Asker
from moaa.contract.job import StageJob
from moaa.data.schemas import CONVERSATIONS, JUDGEMENTS
from moaa.judge.method import Ranked
from moaa.judge.row import trail
from moaa.mixture.best_of_n import Unranked
from moaa.mixture.method import Method, row_id
from moaa.mixture.row import answer_conversation
from moaa.plan.graph import uses_mixture
from moaa.plan.kinds.generate import WROTE
from moaa.plan.kinds.table import rows_per_shard
from moaa.plan.stage import Kind
from moaa.plan.students import mixture_method
from moaa.rows import ConversationRow, JudgementRow, PromptRow
from moaa.store.stages.tables import Row
from moaa_jobs.runner.context import Context
from moaa_jobs.runner.inputs import slices_of, stage_of
from moaa_jobs.runner.items import Chained, Item, Items, OfRows, Reader, Rows
from moaa_jobs.runner.members import JUDGEMENTS_TRAIL, PROPOSALS_TRAIL
from moaa_jobs.runner.rows import RowFailed, RowStage, run_rows


async def run(job: StageJob, context: Context) -> None:
    """Writes `conversations`, in the slice's order one row for each answer to a prompt, and `judgements`, what judges
    said where one chose the answer."""
    resource = context.resource
    prompts = await slices_of(context, Kind.GENERATE)
    method = mixture_method(resource, stage_of(job)) if uses_mixture(resource.spec) else None
    is_judged = resource.spec.mixture is not None and parts_of(resource.spec.mixture.method).has_judge
    items = [_items(source.answers, rows, method) for source, rows in zip(resource.spec.data.sft, prompts, strict=True)]
    await run_rows(
        context,
        RowStage(
            items=Chained(items),
            items_per_shard=rows_per_shard(Kind.GENERATE),
            schemas={"conversations": CONVERSATIONS} | ({"judgements": JUDGEMENTS} if is_judged else {}),
            main_table="conversations",
            trails=(PROPOSALS_TRAIL, JUDGEMENTS_TRAIL) if is_judged else (PROPOSALS_TRAIL,),
            count=wrote,
        ),
    )


def wrote(rows: Sequence[Row]) -> dict[str, int]:
    """Assistant turns by the model that wrote them, as metrics of the manifest."""
    models = Counter(model for row in cast("Sequence[ConversationRow]", rows) for model in row.get("wrote") or ())
    return {f"{WROTE}{model}": turns for model, turns in models.items()}


def _items(answers: Answers, prompts: Reader[PromptRow], method: Method | None) -> Items:
    match answers:
        case Answers.GIVEN:
            return OfRows(prompts, lambda row: [_given(row)])
        case Answers.MIXTURE:
            assert method is not None  # moaa.api.reading.check refuses answers: Mixture without one
            names = list(method.names)
            return OfRows(prompts, lambda row: [_mixed(row, method, name) for name in names], per_row=len(names))
        case _:
            assert_never(answers)


def _given(row: PromptRow) -> Item:
    async def work(_asker: Asker) -> Rows:
        conversation = ConversationRow(
            id=row["id"], messages=row["messages"], proposals=[], missing=0, absent=[], shortened=0, wrote=[]
        )
        return {"conversations": [conversation]}

    return Item(row["id"], work)


def _mixed(row: PromptRow, method: Method, name: str) -> Item:
    writer, id = method.writer(row["id"], name), row_id(row["id"], name)

    async def work(asker: Asker) -> Rows:
        try:
            answered = await answer_conversation(row["messages"], writer, asker, then=frozenset())
        except Unranked as error:
            raise RowFailed(error, {"judgements": _said(id, {error.turn: error.ranked})}) from error
        return {"conversations": [answered.row(id)], "judgements": _said(id, answered.ranked)}

    return Item(row["id"], work)


def _said(id: str, ranked: dict[int, Ranked]) -> list[JudgementRow]:
    return [said for turn, one in sorted(ranked.items()) for said in trail(id, one, sample=turn)]
