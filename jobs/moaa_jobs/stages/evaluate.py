"""evaluate: every subject answers every evaluation prompt, and each answer is scored.

An item is one prompt for one subject. Items of the same prompt share a ledger row, so answers that another subject or
an earlier evaluation already has (a Pairwise baseline's above all) are never asked for again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from moaa.api.evaluation import AnyBenchmark, Pairwise
from moaa.api.mixture import Judge, Mixture
from moaa.asking.caller import Caller
from moaa.asking.windows import Windows
from moaa.benchmark.exact_match import score
from moaa.contract.job import StageJob
from moaa.data.schemas import ANSWERS, SCORES
from moaa.errors import CallError
from moaa.evaluate.statistics import mean_of_means
from moaa.judge.row import judge_pair
from moaa.mixture.alone import answer_alone
from moaa.mixture.row import answer_conversation
from moaa.plan.graph import STAGE_DATA, benchmarks, resolved_judge, resolved_mixture
from moaa.plan.shards import ROWS_PER_SHARD
from moaa.plan.stage import Kind, Stage
from moaa.plan.subjects import How, Subject, subjects
from moaa.rows import AnswerRow, PromptRow, ScoreRow
from moaa_jobs.runner.context import Context
from moaa_jobs.runner.inputs import rows_of, stage_of
from moaa_jobs.runner.models import windows_of
from moaa_jobs.runner.rows import Item, Rows, RowStage, run_rows

NO_VERDICT = "no-verdict"
"""Reason of a row whose comparison with the baseline could not be read."""


async def run(job: StageJob, context: Context) -> None:
    """Writes `answers` and `scores`: one score for each prompt, benchmark and subject."""
    stage = stage_of(job)
    measured = subjects(context.resource, stage)
    bench = _Bench(context, stage, await windows_of(context))
    items: list[Item] = []
    for benchmark in benchmarks(context.resource.spec):
        rows = cast("list[PromptRow]", await rows_of(context, STAGE_DATA, f"eval-{benchmark.name}"))
        # Row by row, so that a shard holds the same prompts whoever is measured.
        items += [bench.item(benchmark, row, subject) for row in rows for subject in measured]
    await run_rows(
        context,
        RowStage(
            items=items,
            items_per_shard=ROWS_PER_SHARD[Kind.EVALUATE] * len(measured),
            schemas={"answers": ANSWERS, "scores": SCORES},
            main_table="scores",
            measure=lambda rows: figures(cast("list[ScoreRow]", rows), context, measured[0].label),
        ),
    )


def figures(rows: Sequence[ScoreRow], context: Context, label: str) -> dict[str, float]:
    """`score`, `score.low` and `score.high`: one subject's mean over the selection benchmarks, between 0 and 1, with
    its interval. Empty where there is nothing to average; without an interval where a benchmark has one question."""
    evaluation = context.resource.spec.evaluation
    benchmarks = [
        [row["score"] for row in rows if row["model"] == label and row["benchmark"] == benchmark.name]
        for benchmark in evaluation.selection
    ]
    if not benchmarks or not all(benchmarks):
        return {}
    found = mean_of_means(benchmarks, resamples=evaluation.bootstrap, confidence=float(evaluation.confidence))
    ends = {} if found.low is None or found.high is None else {"score.low": found.low, "score.high": found.high}
    return {"score": found.mean, **ends}


@dataclass(frozen=True)
class _Bench:
    context: Context
    stage: Stage
    windows: Windows

    def item(self, benchmark: AnyBenchmark, row: PromptRow, subject: Subject) -> Item:
        async def work(caller: Caller) -> Rows:
            texts = [await self._answer(benchmark, row, subject, k, caller) for k in range(benchmark.samples)]
            scores = [await self._score(benchmark, row, text, k, caller) for k, text in enumerate(texts)]
            answers = [
                AnswerRow(
                    benchmark=benchmark.name,
                    model=subject.label,
                    id=row["id"],
                    sample=k,
                    prompt=row["messages"][-1]["content"],
                    text=text,
                    gold=row["answer"],
                    score=scores[k],
                )
                for k, text in enumerate(texts)
            ]
            total = ScoreRow(
                benchmark=benchmark.name,
                model=subject.label,
                id=row["id"],
                score=sum(scores) / len(scores),
                length=sum(map(len, texts)) / len(texts),
            )
            return {"answers": answers, "scores": [total]}

        return Item(f"{benchmark.name}/{row['id']}", work)

    async def _answer(
        self, benchmark: AnyBenchmark, row: PromptRow, subject: Subject, sample: int, caller: Caller
    ) -> str:
        """The last turn of the subject's answer."""
        path = f"s{sample}/"
        if subject.how is How.MIXTURE:
            answered = await answer_conversation(
                row["messages"], self._mixture, self.context.prompts, caller, windows=self.windows, path=path
            )
            return answered.messages[-1]["content"]
        messages = await answer_alone(row["messages"], subject.model, benchmark.sampling, caller, path=path)
        return messages[-1]["content"]

    async def _score(self, benchmark: AnyBenchmark, row: PromptRow, text: str, sample: int, caller: Caller) -> float:
        if not isinstance(benchmark, Pairwise):
            assert row["answer"] is not None  # stage-data refuses an ExactMatch row without one
            return score(text, row["answer"])
        spec = self.context.resource.spec
        baseline = spec.student if benchmark.baseline == "$base" else benchmark.baseline
        path = f"s{sample}/"
        messages = await answer_alone(row["messages"], baseline, benchmark.sampling, caller, path=path)
        judge: Judge = resolved_judge(benchmark.judge, self.context.resource, self.stage)
        won = await judge_pair(
            row["messages"],
            text,
            messages[-1]["content"],
            judge,
            self.context.prompts,
            caller,
            windows=self.windows,
            path=path,
        )
        if won is None:
            raise CallError(NO_VERDICT, f"row {row['id']}: no readable verdict against {baseline}")
        return won

    @property
    def _mixture(self) -> Mixture:
        return resolved_mixture(self.context.resource, self.stage)
