"""evaluate: every subject answers every evaluation prompt, and each answer is scored.

An item is one prompt for one subject. Items of the same prompt share a ledger row, so answers that another subject or
an earlier evaluation already has (a Pairwise baseline's above all) are never asked for again.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never, cast

from moaa.api import MoAA
from moaa.api.evaluation import AnyBenchmark
from moaa.asking.asker import Asker
from moaa.benchmark.checker import Checker
from moaa.benchmark.measure import NoVerdict, Scored
from moaa.benchmark.measures import sampling_of, turns_of
from moaa.benchmark.style import refuses, repetition
from moaa.contract.job import StageJob
from moaa.conversation import Message
from moaa.data.schemas import ANSWERS, JUDGEMENTS, SCORES
from moaa.evaluate.statistics import mean_of_means
from moaa.judge.trail import Judgement, judgement_rows
from moaa.mixture.alone import answer_alone
from moaa.mixture.row import answer_conversation
from moaa.plan.graph import benchmarks
from moaa.plan.ids import STAGE_DATA
from moaa.plan.kinds.table import rows_per_shard
from moaa.plan.stage import Kind, Stage
from moaa.plan.students import measure, mixture_method
from moaa.plan.subjects import How, Subject, subjects
from moaa.rows import AnswerRow, JudgementRow, PromptRow, ScoreRow
from moaa_jobs.harness.checking import checking
from moaa_jobs.runner.context import Context
from moaa_jobs.runner.inputs import rows_of, stage_of
from moaa_jobs.runner.items import Item, Listed, Rows
from moaa_jobs.runner.members import JUDGEMENTS_TRAIL
from moaa_jobs.runner.rows import RowFailed, RowStage, run_rows


async def run(job: StageJob, context: Context) -> None:
    """Writes `answers`, `scores` (one for each prompt, benchmark and subject) and `judgements`, what judges said."""
    stage = stage_of(job)
    measured = subjects(context.resource, stage)
    async with checking(context) as checker:
        bench = _Bench(context.resource, stage, checker)
        items: list[Item] = []
        for benchmark in benchmarks(context.resource.spec):
            rows = cast("list[PromptRow]", await rows_of(context, STAGE_DATA, f"eval-{benchmark.name}"))
            # Row by row, so that a shard holds the same prompts whichever models are measured.
            items += [bench.item(benchmark, row, subject) for row in rows for subject in measured]
        await run_rows(
            context,
            RowStage(
                items=Listed(items),
                items_per_shard=rows_per_shard(Kind.EVALUATE) * len(measured),
                schemas={"answers": ANSWERS, "scores": SCORES, "judgements": JUDGEMENTS},
                main_table="scores",
                trails=(JUDGEMENTS_TRAIL,),
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


def _mean_baseline(scores: Sequence[Scored]) -> float | None:
    """Over the samples of one prompt; None where answers stand alone."""
    lengths = [one.baseline_length for one in scores if one.baseline_length is not None]
    return sum(lengths) / len(lengths) if lengths else None


def _detail(scores: Sequence[Scored]) -> str | None:
    """As `ScoreRow.detail`."""
    noted = [one.detail for one in scores]
    return json.dumps(noted, sort_keys=True) if any(one is not None for one in noted) else None


@dataclass
class _Told:
    """Answers of one subject to one prompt, their scores so far, and what judges said of them."""

    benchmark: str
    model: str
    row: PromptRow
    texts: Sequence[str]
    scores: list[Scored] = field(default_factory=list)
    said: list[JudgementRow] = field(default_factory=list)

    def add(self, scored: Scored) -> None:
        self.note(scored.said)
        self.scores.append(scored)

    def note(self, said: Sequence[Judgement]) -> None:
        """What judges said of the answer that is scored next."""
        self.said += judgement_rows(
            said, id=self.row["id"], a=0, b=1, benchmark=self.benchmark, model=self.model, sample=len(self.scores)
        )

    def rows(self) -> Rows:
        """Of `answers`, those without a score included, and of `judgements`."""
        answers = [
            AnswerRow(
                benchmark=self.benchmark,
                model=self.model,
                id=self.row["id"],
                sample=k,
                prompt=self.row["messages"][-1]["content"],
                text=text,
                gold=self.row["answer"],
                score=self.scores[k].value if k < len(self.scores) else None,
            )
            for k, text in enumerate(self.texts)
        ]
        return {"answers": answers, "judgements": self.said}


@dataclass(frozen=True)
class _Bench:
    resource: MoAA
    stage: Stage
    checker: Checker | None

    def item(self, benchmark: AnyBenchmark, row: PromptRow, subject: Subject) -> Item:
        scored = measure(benchmark, self.resource, self.stage, self.checker)

        async def work(asker: Asker) -> Rows:
            samples = [asker.at(f"s{k}") for k in range(benchmark.samples)]
            answered = [await self._answer(benchmark, row, subject, here) for here in samples]
            texts = [messages[-1]["content"] for messages in answered]
            told = _Told(benchmark.name, subject.label, row, texts)
            for messages, here in zip(answered, samples, strict=True):
                try:
                    told.add(await scored.score(row, messages, here))
                except NoVerdict as error:
                    told.note(error.said)
                    raise RowFailed(error, told.rows()) from error
            scores = told.scores
            total = ScoreRow(
                benchmark=benchmark.name,
                model=subject.label,
                id=row["id"],
                score=sum(one.value for one in scores) / len(scores),
                length=sum(map(len, texts)) / len(texts),
                baseline_length=_mean_baseline(scores),
                refused=sum(map(refuses, texts)) / len(texts),
                repeated=sum(map(repetition, texts)) / len(texts),
                detail=_detail(scores),
            )
            return {**told.rows(), "scores": [total]}

        return Item(f"{benchmark.name}/{row['id']}", work)

    async def _answer(
        self, benchmark: AnyBenchmark, row: PromptRow, subject: Subject, asker: Asker
    ) -> Sequence[Message]:
        """The row's conversation as the subject answers it; ends with its last turn."""
        turns = turns_of(benchmark, row)
        match subject.how:
            case How.MIXTURE:
                method = mixture_method(self.resource, self.stage)
                writer = method.writer(f"{benchmark.name}/{row['id']}/{asker.path}", method.names[0])
                return (await answer_conversation(row["messages"], writer, asker, turns)).messages
            case How.ALONE:
                return await answer_alone(row["messages"], subject.model, sampling_of(benchmark, row), asker, turns)
            case _:
                assert_never(subject.how)
