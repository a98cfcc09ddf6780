"""`summary.json`: the figures of a run for programs, and the same figures the HTML report shows.

Lists are in graph order, then in the order of the resource, floats have six significant digits: the same store gives
the same bytes. A missing figure is null, never zero.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from moaa.run.view import StageStatus
from moaa.scoring.figures import Unit


def _six_digits(value: object) -> object:
    return float(f"{value:.6g}") if isinstance(value, float) else value


Figure = Annotated[float, BeforeValidator(_six_digits), Field(allow_inf_nan=False)]
Use = Literal["selection", "report"]
Role = Literal["method", "verdict", "evaluation", "criteria", "grade", "score"]
"""Of a judge; `method` is all of them together."""


class Record(BaseModel):
    """Base of every class in the summary: immutable, camelCase in the file, nothing unknown."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, use_attribute_docstrings=True
    )


class RunSummary(Record):
    name: str
    namespace: str
    run: str
    student: str
    seed: int
    storage: str
    iterations: int
    """Asked for."""
    iterations_closed: int
    """Whose promotion is done."""
    is_complete: bool
    """Every stage of the graph has its manifest."""
    started: str | None = None
    """When its first stage began, as 2026-03-02T08:00:00Z; stages that another run made are left aside. Null: none is
    done."""
    finished: str | None = None
    """When the last stage that is done ended."""
    elapsed_seconds: Figure | None = None
    """From `started` to `finished`, pauses included."""


class StageSummary(Record):
    id: str
    kind: str
    iteration: int
    status: StageStatus
    started: str | None = None
    """When work on what counts of it began, as 2026-03-02T08:00:00Z; null until it is done."""
    finished: str | None = None
    """When its manifest was written."""
    seconds: Figure | None = None
    """Work time over all attempts. Null until the stage is done."""
    wall_seconds: Figure | None = None
    """From the start of its model servers to the end of its job, over all attempts; null where no executor said."""
    rows: int | None = None
    """Rows it worked on."""
    prompt_tokens: int | None = None
    """Null: the stage asks no model."""
    completion_tokens: int | None = None
    calls: int | None = None
    reused_calls: int | None = None
    """Calls answered by the ledger of an earlier fingerprint."""
    attempts: int
    gpu_hours: Figure | None = None
    """Estimate: work time × GPUs that the stage was given; start-up and idle time are not in it."""
    usd: Figure | None = None
    """Estimate: GPU hours at spec.cost.gpuHourUsd plus tokens at endpoints' prices; null where a price is missing, and
    where nothing with a price was used."""
    warnings: list[str] = []
    """Members that failed often or whose verdicts follow something else than the answers."""
    reused_from: str | None = None
    """The other run that made it, where its manifest was found rather than made."""
    problem: str | None = None


class FigureSummary(Record):
    """A figure as the field publishes it (`moaa.scoring.figures.Figure`)."""

    name: str
    value: Figure | None
    """Null: it could not be computed; `note` says why."""
    low: Figure | None = None
    high: Figure | None = None
    unit: Unit
    is_headline: bool
    """It stands in the field's tables of this benchmark."""
    note: str = ""


class ScoreSummary(Record):
    iteration: int
    stage: str
    model: str
    """As in the `scores` table: a declared name, `base`, `mixture`, `aggregator`, `sft` or `dpo`."""
    benchmark: str
    use: Use
    metric: str
    value: Figure
    """Mean over prompts, between 0 and 1."""
    low: Figure | None
    """Ends of the interval; null with fewer than two prompts."""
    high: Figure | None
    n: int
    """Prompts."""
    mean_length: Figure
    """Of an answer, in characters."""
    baseline_length: Figure | None = None
    """Win rates only: the same of what it was compared with; null where a row does not say."""
    lc_estimate: Figure | None = None
    """Win rates only: an estimate for answers of equal length on both sides. It is not AlpacaEval's length-controlled
    win rate and differs from it by points (`moaa.scoring.length`)."""
    lc_others: int | None = None
    """Other models that the estimate takes questions' difficulty from: those of iteration 0, and students measured
    before. With 0 it takes all questions for equally hard."""
    position_consistency: Figure | None = None
    """Judged benchmarks only: part of the comparisons behind the score whose outcome the order did not change."""
    figures: list[FigureSummary] = []
    """What the field publishes of this benchmark; empty for benchmarks of our own."""


class UnchangedSummary(Record):
    """A student that answered every question of every benchmark to the letter as the one it was trained from."""

    stage: str
    student: str
    """Label of it."""
    before: str
    """Label of the other."""
    answers: int


class GainSummary(Record):
    """A paired difference of two models on the same prompts."""

    benchmark: str
    use: Use
    metric: str
    baseline: str
    """Label of the model compared with."""
    candidate: str
    baseline_value: Figure
    candidate_value: Figure
    value: Figure
    low: Figure | None
    high: Figure | None
    n: int
    """Prompts that both answered."""


class Headline(Record):
    conclusion: Literal["Better", "Worse", "WithinNoise", "Mixed", "NotPromoted", "NotMeasured", "Open"]
    """`Mixed`: benchmarks disagree beyond noise. `NotPromoted`: the start was kept. `NotMeasured`: no benchmark has
    scores of both. `Open`: no promotion is done yet."""
    verdict: str
    promoted: str
    """Label of the student the last closed iteration left."""
    weights: str | None = None
    """Its folder in the store, relative to the root; null while it is the declared student."""
    gains: list[GainSummary] = []
    """The promoted student against the start, every benchmark that has both."""
    against_mixture: list[GainSummary] = []


class OrderSummary(Record):
    """Comparisons of two answers, each judged in both orders."""

    comparisons: int
    agreed: int
    first_place_won: int
    second_place_won: int
    no_verdict: int
    position_consistency: Figure | None
    """agreed ÷ (comparisons − no verdict)."""
    first_place_share: Figure | None
    """Part of the verdicts that name the answer shown first, where both orders have one; ½ is no lean to a place."""


class JudgeSummary(Record):
    """What one judge did in one role in a stage, or all of them together."""

    stage: str
    iteration: int
    benchmark: str | None
    """Of an evaluation; null: the judging of training pairs."""
    judge: str
    """A model's name; of role `method` the method's."""
    role: Role
    """`method`: the verdicts that rank and score answers. `verdict`: those of one judge. `evaluation`: what a judge
    wrote for the meta-judge. `criteria`: the choice of criteria."""
    asked: int | None
    """Times it should have said something; null for a method."""
    failures: dict[str, int]
    """Of those, by reason."""
    orders: OrderSummary | None
    """Of verdicts only."""
    order_bias: Figure | None = None
    """Of verdicts by log-probabilities: mean of P(the answer that stands first) − ½."""
    mass: Figure | None = None
    """Of the same: mean of P(A) + P(B); what is missing to 1 the judge would have written in place of a letter."""
    agreement: Figure | None = None
    """Panel of a judge stage only. For a judge: how often it agrees with the panel when both are certain. For the
    panel: how often two of its judges agree when both are certain."""


class AnchorSummary(Record):
    """One judge on pairs whose better answer is known, before anything rested on it."""

    stage: str
    judge: str
    """`training judge`, `judge of <benchmark>`, or the model that was measured alone."""
    method: str
    declared: list[str]
    """Fields of the resource that declare it; empty: measured for comparison only."""
    members: list[str]
    """Rows of its models alone."""
    pairs: int
    """Labelled ones."""
    questions: int
    """Of these pairs, with a score: the accuracy rests on them."""
    unjudged: int
    """Of all pairs, those without a score."""
    accuracy: Figure | None
    low: Figure | None
    """Ends of the 95 % interval (Wilson)."""
    high: Figure | None
    floor: Figure | None = None
    """What `low` had to be above; null where nothing was asked."""
    shortfall: str | None = None
    """Why it does not pass its floor, which ended the run here; null where it passes."""
    is_whole: bool = True
    """False: the stage is not done, and the figures are of the pairs that it published."""
    consistency: Figure | None
    first: Figure | None
    length: Figure | None
    """Accuracy where the better answer is the longer one, less that where it is the shorter one."""
    padded: Figure | None
    """Share that an answer said twice wins from the same said once; ½ is fair."""
    degenerate: Figure | None
    truncated: Figure | None
    same_first: Figure | None
    """Part of the verdicts on an answer against itself that name the one shown first."""
    votes: Figure | None
    """What its members are worth as independent judges."""
    alpha: Figure | None
    """Krippendorff's, of its members' verdicts."""
    outdone_by: str | None
    """Its own model that alone is shown to be right more often."""
    subsets: dict[str, Figure] = {}
    """Accuracy by subset of the source."""
    sections: dict[str, Figure] = {}
    """RewardBench's, where the source has all of its subsets; `score` is their mean."""


class PairSummary(Record):
    stage: str
    iteration: int
    prompts: int
    kept: int
    dropped: dict[str, int]
    """By reason, as `moaa.rows.RankingRow.outcome`."""
    failed_rows: int
    failed_verdicts: int
    verdicts: int
    """Asked for: of each comparison one an order."""
    skipped_verdicts: int = 0
    """Not asked for, since they would hardly change best and worst (`judge.comparisons`: Adaptive, Seeded)."""
    seeds: int = 0
    """Comparisons that judges decided and that a reward model, asked for the order of the answers, does not see as a
    draw."""
    seed_correlation: Figure | None = None
    """Kendall's, of judges and reward model on these: 1 for one order, 0 for chance, -1 for the opposite. They stand at
    the ends of the reward model's order and are no sample of all pairs."""
    mean_margin: Figure | None
    """Chosen minus rejected points, between 0 and 1."""
    chosen_length: Figure | None
    """Mean, in characters."""
    rejected_length: Figure | None
    longer_chosen: Figure | None
    """Part of the pairs whose chosen answer is the longer one; far above ½ hints at a judge that likes length."""
    criteria: dict[str, int] = {}


class TrainingSummary(Record):
    stage: str
    iteration: int
    kind: Literal["sft", "dpo"]
    steps: int
    lost_steps: int
    """Whose loss or gradient was not finite. They taught nothing, and no figure here is of them."""
    first_loss: Figure
    last_loss: Figure
    tokens: int
    reward_accuracy: Figure | None = None
    reward_margin: Figure | None = None


class CandidateSummary(Record):
    label: str
    stage: str | None
    """None: a declared model."""
    gain: GainSummary | None = None
    """Against the previous student over the selection benchmarks together."""
    is_promoted: bool


class PromotionSummary(Record):
    stage: str
    iteration: int
    promoted: str
    rule: str
    min_gain: Figure
    candidates: list[CandidateSummary]
    reason: str
    """What decided, as the promotion wrote it down."""
    doubts: list[str] = []
    """What is doubtful about the figures that decided: too few questions, win rates that were read raw."""


class ModelSummary(Record):
    name: str
    roles: list[str]
    origin: str
    revision: str | None
    license: str | None
    digest: str | None
    """Of the pinned content; null until resolve is done."""


class LineageSummary(Record):
    """What one trained student inherits; terms of use follow from it."""

    student: str
    stage: str
    parent: str
    teachers: list[str]
    """Models whose answers or verdicts it learned from; empty when the data's own answers were used."""
    data: list[str]
    """Sources of the prompts."""
    licenses: list[str]
    """Of the parent and the teachers, as the resource states them; "not stated" where it does not."""


class DataSummary(Record):
    """Outcomes of the rows of one source: read = failed + unasked + duplicates + contaminated + overLimit +
    rows."""

    table: str
    """`sft-<k>`, `preference-<k>` or `eval-<benchmark>`."""
    read: int
    failed: int
    duplicates: int
    contaminated: int
    """Training rows that hold an evaluation question."""
    over_limit: int
    unasked: int = 0
    """Of categories that the benchmark does not ask."""
    rows: int
    """Kept."""
    ignored: dict[str, int]
    """Columns that are not read, with the number of rows in which they hold something."""


class FailureSummary(Record):
    stage: str
    iteration: int
    reason: str
    rows: int
    example: str | None
    """The first such row and what was said about it, in the server's own words where it was a server."""


class CallFailure(Record):
    reason: str
    calls: int
    example: str | None
    """The first one, in the server's own words."""


class CallsSummary(Record):
    """Calls of one model in one stage."""

    stage: str
    iteration: int
    model: str
    calls: int
    reused: int
    prompt_tokens: int
    completion_tokens: int
    """Thoughts included."""
    uncounted: int
    """Calls whose server did not say how many tokens they took; the two numbers above lack these."""
    thoughts: int
    """Answers before which the model thought."""
    lowered: int
    """Calls that were allowed fewer completion tokens than declared because the prompt filled the window."""
    cut: dict[str, int]
    """Answers that ended at their limit of tokens, by role."""
    failures: list[CallFailure]
    """Calls that failed permanently; a row may have done without them."""


class BudgetSummary(Record):
    """One limit of spec.budget and what is spent of it, by attempts and finished stages of this run."""

    scope: str
    """`run` or `iteration <n>`."""
    unit: Literal["dollars", "gpuHours", "tokens"]
    limit: Figure
    spent: Figure


class Summary(Record):
    format: Literal["moaa.dev/summary/v1"] = "moaa.dev/summary/v1"
    run: RunSummary
    headline: Headline
    stages: list[StageSummary]
    data: list[DataSummary]
    scores: list[ScoreSummary]
    unchanged: list[UnchangedSummary] = []
    pairs: list[PairSummary]
    anchors: list[AnchorSummary] = []
    """Every judge that was measured, the declared ones first."""
    judges: list[JudgeSummary]
    training: list[TrainingSummary]
    promotions: list[PromotionSummary]
    models: list[ModelSummary]
    lineage: list[LineageSummary]
    failures: list[FailureSummary]
    calls: list[CallsSummary]
    budget: Annotated[list[BudgetSummary], Field(exclude_if=lambda value: not value)] = []
    """Without spec.budget it is left out."""
    notes: list[str]
    """Sentences: where the run differed from what the resource asks for, without losing a row."""
    versions: dict[str, list[str]]
    """Software that ran; every version of it."""
    missing: list[str]
    """Sentences: what the report cannot show, and why."""

    def to_json(self) -> str:
        """The text of summary.json."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"
