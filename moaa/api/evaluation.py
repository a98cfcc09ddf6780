"""What is measured, and what a new student must show to be promoted."""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from moaa.api.addresses import FolderUri
from moaa.api.base import ModelName, NonNegative, Number, Spec
from moaa.api.data import DataSource, FileSource
from moaa.api.mixture import BenchmarkJudge, FinalSampling, Judge
from moaa.api.prompts import Template

QuestionCategory = Annotated[str, StringConstraints(min_length=1, max_length=64)]
BenchmarkName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=32)]


class Benchmark(DataSource):
    """What benchmarks share. Rows need `messages` (or `prompt`); `limit` caps the rows read."""

    name: BenchmarkName
    """What reports call it."""
    sampling: FinalSampling = FinalSampling(temperature=Decimal(0), max_tokens=2048)
    samples: Annotated[int, Field(ge=1, le=64)] = 1
    """Answers a prompt; the row's score is their mean."""
    type: str


class ExactMatch(Benchmark):
    """1 when the answer equals the row's `answer`, outer white space aside, else 0."""

    type: Literal["ExactMatch"]


class Pairwise(Benchmark):
    """Win rate against a baseline, judged in both orders: win 1, tie or order-dependent ½, loss 0."""

    type: Literal["Pairwise"]
    baseline: ModelName | Literal["$base", "$given"] = "$base"
    """Whose answers are the yardstick; $base: the untrained student; $given: the rows' own answers."""
    judge: Judge


class AlpacaEval(Benchmark):
    """AlpacaEval 2: win rate against fixed answers. `source`: the baseline's outputs, with columns `instruction` and
    `output`, in AlpacaEval's order."""

    type: Literal["AlpacaEval"]
    judge_model: BenchmarkJudge
    """AlpacaEval: weighs the two answers by the log-probabilities of one token."""
    known: FileSource | None = None
    """AlpacaEval's df_gamed.csv (hf://datasets/tatsu-lab/alpaca_eval, split df_gamed): its length-controlled win rate
    needs it, and holds for the official questions, baseline and judge only."""
    both_orders: bool = False
    """Ask for each pair in both orders. False: in one, which follows from the question, as published."""


class ArenaHard(Benchmark):
    """Arena-Hard: win rate against fixed answers, judged in two games with five labels. `source`: its question.jsonl.
    As published: maxTokens 4096 for answers and judge."""

    type: Literal["ArenaHard"]
    version: Literal["v0.1", "v2.0"]
    """v0.1 or v2.0: whose rules for labels count. v0.1: a judge that stops without one is asked to go on; two different
    ones are none; a game without one is left out. v2.0: the last one counts; a question with a game without one is left
    out."""
    category: QuestionCategory | None = None
    """Ask questions of this category only: v2.0 has two, each with a baseline of its own. None: all."""
    answers: FileSource
    """The baseline's answers, a file of model_answer; with MtBench the references, reference_answer/gpt-4.jsonl, which
    questions of math, reasoning and coding need. Joined by uid or question_id."""
    judge_model: BenchmarkJudge
    judge_system: Template | None = None
    """System message of the judge, such as the published one; None: none."""


class MtBench(Benchmark):
    """MT-Bench: every turn graded from 1 to 10; the score is a tenth of the mean. `source`: its question.jsonl. As
    published: maxTokens 1024 and whenCut Use for answers."""

    type: Literal["MtBench"]
    answers: FileSource | None = None
    by_category: bool = True
    """Ask for answers at temperature 0 in extraction, math, coding and reasoning, 0.1 in stem and humanities, else 0.7,
    as published. False: at `sampling.temperature`."""
    judge_model: BenchmarkJudge
    judge_system: Template | None = None


class TaskFiles(FileSource):
    """A folder of task files: YAML, the functions they name, all it holds."""


TaskName = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class LmEval(Benchmark):
    """Tasks of lm-evaluation-harness that generate text, over the rows of their own data set."""

    type: Literal["LmEval"]
    tasks: Annotated[list[TaskName], Field(min_length=1, max_length=64)]
    """Names of its tasks, groups or tags, or of those in `include`; all over the rows of `source`."""
    metric: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    """Which of a task's is the score: exact_match, or exact_match,strict-match with its filter. None: its first."""
    num_fewshot: Annotated[int, Field(ge=0, le=64)] | None = None
    """Examples before each question. None: as the task says."""
    fewshot_split: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    """Split of `source` that a task draws examples from."""
    include: FolderUri | None = None
    """A folder of your own task files: s3://bucket/folder/ or file:///folder/."""
    run_code: bool = False
    """Run code that models wrote (HumanEval), without network, secrets and other files."""

    @property
    def fewshot(self) -> FileSource | None:
        """The rows that examples are drawn from."""
        if self.fewshot_split is None:
            return None
        return FileSource(
            source=self.source, split=self.fewshot_split, revision=self.revision, token_secret=self.token_secret
        )

    @property
    def task_files(self) -> TaskFiles | None:
        return None if self.include is None else TaskFiles(source=self.include)


class Instructions(Benchmark):
    """Rules that a program can check: 1 when the answer follows all of a question's. Rows have IFEval's columns
    `prompt`, `instruction_id_list` and `kwargs`."""

    type: Literal["Instructions"]


AnyBenchmark = Annotated[
    ExactMatch | Pairwise | AlpacaEval | ArenaHard | MtBench | LmEval | Instructions, Field(discriminator="type")
]


def further_files(benchmark: Benchmark) -> dict[str, FileSource]:
    """What a benchmark reads beside its questions, by the field's name in the resource."""
    found = {info.alias or name: getattr(benchmark, name) for name, info in type(benchmark).model_fields.items()}
    if isinstance(benchmark, LmEval):
        found |= {"fewshot": benchmark.fewshot, "include": benchmark.task_files}
    return {name: value for name, value in found.items() if isinstance(value, FileSource)}


FURTHER_FILES = ("known", "answers")
"""Names of all fields that are sources of their own; a test compares them with the classes."""


MIN_QUESTIONS = 20
"""Of each selection benchmark, whatever the gate's rule: a handful that happen to agree show no spread and no gain."""

FEW_QUESTIONS = (
    f"no student is promoted on fewer than {MIN_QUESTIONS}, so the present one stays. Give more, or move the benchmark "
    "to report"
)
"""Of a smaller one."""


class GateRule(StrEnum):
    """What decides whether a student is better."""

    MEAN = "Mean"
    """The mean paired gain decides: noise passes, and with it a student that is no better."""
    LOWER_BOUND = "LowerBound"
    """The lower end of the gain's interval decides: promote only what is shown to be better. All candidates of all
    iterations share one error rate, 1 - confidence."""


class Gate(Spec):
    """A new student is promoted only if its gain on the selection benchmarks passes, and it is not shown to lose more
    than 3 points on one that no judge scores."""

    rule: GateRule = GateRule.LOWER_BOUND
    min_gain: Number = Decimal(0)
    """Least gain in points of score, from -1 to 1; negative: a loss is tolerated. It needs 20 questions of a
    benchmark."""


class Evaluation(Spec):
    """What students are measured on, and what promotes one."""

    selection: Annotated[list[AnyBenchmark], Field(max_length=16)] = []
    """Decides promotion. Without any, the last trained student is promoted."""
    report: Annotated[list[AnyBenchmark], Field(max_length=16)] = []
    """Never read by any decision."""
    gate: Gate = Gate()
    members: bool = True
    """Measure the mixture and each of its models alone before the first iteration."""
    bootstrap: Annotated[int, Field(ge=100, le=100000)] = 2000
    """Resamples behind each interval of a score; the gate draws none."""
    confidence: Annotated[NonNegative, Field(gt=0, lt=1)] = Decimal("0.95")
    """Of every interval, and of the gate over a whole run."""
