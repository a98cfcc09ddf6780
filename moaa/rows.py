"""The shapes of rows between stages: plain JSON objects, written to Parquet in a fixed column order.

| table | stage → stage | columns |
|---|---|---|
| `sft-<k>`, `preference-<k>`, `eval-<benchmark>` | stage-data → all | PromptRow |
| `eval-<benchmark>.include` | stage-data → evaluate | TaskFileRow |
| `anchors` | stage-data → anchors | LabelledRow |
| `dropped` | stage-data → people | DroppedRow |
| `conversations` | generate → sft | ConversationRow |
| `samples` | sample → judge | SampleRow |
| `pairs`, `rankings` | judge → dpo, report | PairRow, RankingRow |
| `judgements` | generate (BestOfN), judge, evaluate, anchors → report | JudgementRow |
| `verdicts` | anchors → report | AnchorRow |
| `answers` | evaluate → report | AnswerRow |
| `scores` | evaluate → promote, report | ScoreRow |
"""

from typing import NotRequired, TypedDict

from moaa.conversation import Message


class PromptRow(TypedDict):
    id: str
    """Unique in the table: the source's own id where it has one, else a digest of the messages."""
    messages: list[Message]
    answer: str | None
    """Evaluation tables only, None elsewhere: the right answer, or the one that answers are compared with ($given)."""
    facts: NotRequired[str | None]
    """Evaluation tables only: JSON of what else a benchmark's files say of the question; its measure owns the shape."""


class TaskFileRow(TypedDict):
    """A file of the folder that an LmEval benchmark names in `include`."""

    name: str
    """Within the folder, parts joined by /."""
    body: str
    """Its bytes in base 64."""


class LabelledRow(TypedDict):
    """Two answers to one question, and which is better."""

    id: str
    question_id: str
    """Rows of one question share it: several answers may be right or wrong."""
    question: str
    """The conversation as judges see it (`moaa.judge.prompts.question_text`)."""
    right: str
    wrong: str
    subset: str | None


class AnchorRow(TypedDict):
    """What one judge made of one pair whose better answer is known (`moaa.anchors.pairs.AnchorPair`)."""

    id: str
    kind: str
    """`labelled`, or the rule by which the pair was made."""
    question_id: str
    subset: str | None
    judge: str
    """`moaa.anchors.judges.MeasuredJudge.name`."""
    score: float | None
    """Points of the better answer, as `Comparison.score`."""
    forward: int | None
    """Outcome when the better answer stood first: 1 if it won."""
    backward: int | None
    """The same when it stood second."""
    longer: int | None
    """1: the better answer has more characters; 0: the other has; None: both have as many."""


class DroppedRow(TypedDict):
    """A row of a source that is in no table; duplicates and rows over a limit are counted and not listed."""

    table: str
    where: str
    """Source, file and line or row."""
    reason: str
    """`contaminated`, or one of `moaa.data.reading.bad_rows.Why`."""
    detail: str
    """What was found and what to do, or the evaluation question that the row holds."""


class ProposalRecord(TypedDict):
    path: str
    model: str
    text: str


class AbsentProposal(TypedDict):
    """A proposal that failed for good."""

    path: str
    model: str
    reason: str


class ConversationRow(TypedDict):
    id: str
    messages: list[Message]
    """Ends with an assistant turn."""
    proposals: list[ProposalRecord]
    """What the aggregator read, or the judge chose from, all turns and layers."""
    missing: int
    """Proposals that failed: the length of `absent`."""
    absent: list[AbsentProposal]
    """Who failed, and why; with `proposals` all who were asked."""
    shortened: int
    """Proposals cut to fit a reader's context window, counted once a reader."""
    wrote: list[str] | None
    """Who wrote each assistant turn; empty where the data gave them, None in rows of an earlier release."""


class SampleRow(TypedDict):
    id: str
    messages: list[Message]
    samples: list[str]
    """Answers to the last user turn, in sample order: of the student, or of the mixture (`dpo.samplesFrom`)."""


class Comparison(TypedDict):
    """One unordered pair a < b judged in both orders. Outcomes are 1 (a), 0 (b), None when no verdict could be had."""

    a: int
    b: int
    criteria: list[str]
    chosen: bool
    """The judge chose these criteria; False: they are all there are, since none were to be chosen or no choice could be
    read."""
    score: float | None
    """Points of a: 1, 0, or ½ where the orders or the panel disagree; of verdicts by log-probabilities any share
    between. None without a valid comparison, or where an order was skipped."""
    forward: int | None
    """Outcome when a stood first."""
    backward: int | None
    """Outcome when b stood first, in terms of a."""
    votes: list[list[int | None]]
    """Panel: [forward, backward] of every judge; else empty, also where an order was skipped."""
    skipped: NotRequired[list[str] | None]
    """Orders, `ab` or `ba`, that were not asked, since they would hardly change best and worst (`judge.comparisons`:
    Adaptive, Seeded). Missing or None: none."""


class RankingRow(TypedDict):
    id: str
    messages: list[Message]
    samples: list[str]
    points: list[float | None]
    """Points ÷ valid comparisons of each sample; None where too few were valid. Where some were skipped, by the orders
    that were asked, and None where none was. By a reward model alone: mean probability to be preferred to another."""
    comparisons: list[Comparison]
    """Empty where a reward model ranks alone."""
    outcome: str
    """`pair`, or why there is none: `tie`, `equal-texts`, `too-few-verdicts`, `unscored`, `seed-contradicted`; where a
    rule of `dpo.pairs` dropped it, `none-to-reject`, `orders-disagree`, `small-margin`, `lengths-differ`."""
    scores: NotRequired[list[float | None] | None]
    """A reward model's number for each sample, on its own scale; None: it gave none. Missing: none was asked."""


class JudgementRow(TypedDict):
    """What one judge said of one pair in one order (`moaa.judge.trail.Judgement`)."""

    id: str
    benchmark: str
    """Evaluations only, like `model`: empty in generate and judge stages."""
    model: str
    """Whose answer is the pair's a; its b is the baseline's."""
    sample: int
    """Of an evaluation; in generate the turn, 0 in a judge stage."""
    a: int
    b: int
    order: str
    role: str
    judge: str
    verdict: str | None
    text: str
    failure: str
    longer: str | None
    probability: float | None
    mass: float | None
    label: NotRequired[str | None]
    """Missing in rows of an earlier release."""


class PairRow(TypedDict):
    id: str
    messages: list[Message]
    """The prompt; ends with a user turn."""
    chosen: str
    rejected: str
    chosen_points: float
    rejected_points: float


class AnswerRow(TypedDict):
    benchmark: str
    model: str
    """Who answered: a declared name, `base`, `mixture`, `aggregator`, `sft`, `dpo`."""
    id: str
    sample: int
    prompt: str
    text: str
    gold: str | None
    score: float | None


class ScoreRow(TypedDict):
    """One row's score; intervals are computed from these, paired by (benchmark, id)."""

    benchmark: str
    model: str
    id: str
    score: float
    """In [0, 1], mean over samples."""
    length: float
    """Mean answer length in characters."""
    baseline_length: float | None
    """The same of the answers it was compared with; None where answers stand alone."""
    refused: float | None
    """Part of the samples that refuse (`moaa.benchmark.style`); None in rows of an earlier release."""
    repeated: float | None
    """Mean repetition of the samples; None as above."""
    detail: NotRequired[str | None]
    """JSON: a list with what the measure notes of each sample beside its score (`Scored.detail`); None: nothing."""
