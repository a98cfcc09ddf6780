"""anchors: every judge of the resource decides pairs whose better answer is known, and so does each of its models
alone.

An item is one pair for one judge, asked as it will be asked later (`moaa.anchors.ask`). The stage fails for good where
a judge is not shown to be above its floor: nothing that rests on its verdicts is paid for then.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from moaa.anchors.ask import Decided, decide
from moaa.anchors.judges import MeasuredJudge
from moaa.anchors.own import own_pairs
from moaa.anchors.pairs import AnchorPair, anchor_pairs
from moaa.api.anchors import Anchors
from moaa.asking.asker import Asker
from moaa.contract.job import StageJob
from moaa.data.schemas import JUDGEMENTS, VERDICTS
from moaa.evaluate.anchors import doubts, failures, floors, judge_figures
from moaa.judge.trail import judgement_rows
from moaa.plan.graph import anchored_judges
from moaa.plan.ids import ANCHORS, STAGE_DATA
from moaa.plan.kinds.anchors import declared
from moaa.plan.slices import ANCHORED
from moaa.rows import AnchorRow, JudgementRow, LabelledRow
from moaa_jobs.runner.context import Context, Permanent
from moaa_jobs.runner.inputs import rows_of
from moaa_jobs.runner.items import Item, Listed, Rows
from moaa_jobs.runner.members import Part, Trail, judges
from moaa_jobs.runner.rows import RowStage, run_rows

PAIRS_PER_SHARD = 64
"""Part of the format, like other stages' rows of a shard."""


async def run(job: StageJob, context: Context) -> None:  # noqa: ARG001  the entry points share one signature
    """Writes `verdicts`, one row for each pair and judge, and `judgements`, what judges said; `benchmark` is there the
    judge's name. The manifest's metrics are the figures of every judge.

    Raises:
        Permanent: a judge is below its floor.
    """
    said, measured = declared(context.resource), anchored_judges(context.resource)
    items = [item(pair, one) for pair in anchor_pairs(await _labelled(said, context)) for one in measured]
    await run_rows(
        context,
        RowStage(
            items=Listed(items),
            items_per_shard=PAIRS_PER_SHARD * len(measured),
            schemas={"verdicts": VERDICTS, "judgements": JUDGEMENTS},
            main_table="verdicts",
            trails=(Trail("judgements", lambda rows: _parts(rows, measured)),),
            measure=lambda rows: _measured(cast("list[AnchorRow]", rows), said, measured),
            doubts=lambda rows: doubts(judge_figures(cast("list[AnchorRow]", rows), measured), measured),
        ),
    )


async def _labelled(said: Anchors, context: Context) -> Sequence[LabelledRow]:
    if said.source is None:
        return own_pairs()
    return cast("list[LabelledRow]", await rows_of(context, STAGE_DATA, ANCHORED))


def item(pair: AnchorPair, judge: MeasuredJudge) -> Item:
    async def work(asker: Asker) -> Rows:
        decided = await decide(judge, pair, asker)
        return {
            "verdicts": [_verdict(pair, judge, decided)],
            "judgements": judgement_rows(decided.said, id=pair.id, a=0, b=1, benchmark=judge.name),
        }

    return Item(pair.id, work)


def _verdict(pair: AnchorPair, judge: MeasuredJudge, decided: Decided) -> AnchorRow:
    right, wrong = len(pair.right), len(pair.wrong)
    return AnchorRow(
        id=pair.id,
        kind=str(pair.kind),
        question_id=pair.row["question_id"],
        subset=pair.row["subset"],
        judge=judge.name,
        score=decided.score,
        forward=decided.forward,
        backward=decided.backward,
        longer=None if right == wrong else int(right > wrong),
    )


def _parts(rows: Sequence[Mapping[str, object]], measured: Sequence[MeasuredJudge]) -> Iterable[Part]:
    """Of judges that the resource declares. A model that cannot judge alone may still do its part in a mixture."""
    names = {one.name for one in measured if one.fields}
    return judges([row for row in cast("Sequence[JudgementRow]", rows) if row["benchmark"] in names])


def _measured(rows: Sequence[AnchorRow], said: Anchors, measured: Sequence[MeasuredJudge]) -> Mapping[str, float]:
    """Metrics of the manifest. Raises Permanent: a judge is below its floor."""
    figures = judge_figures(rows, measured)
    if found := failures(figures, measured, floors(said, measured)):
        raise Permanent(f"{ANCHORS}: {'. '.join(found)}")
    return {name: value for one in figures for name, value in one.metrics().items()}
