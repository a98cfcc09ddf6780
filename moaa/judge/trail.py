"""What judges were asked and said about one pair, with or without a verdict in the end."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from moaa.judge.reading import Verdict
from moaa.rows import JudgementRow


class Role(StrEnum):
    CRITERIA = "criteria"
    """Chooses the criteria."""
    EVALUATION = "evaluation"
    """Writes an evaluation for the meta-judge."""
    VERDICT = "verdict"
    """Says which answer is better."""
    GRADE = "grade"
    """Grades one reply by itself."""
    SCORE = "score"
    """A reward model's number for one answer."""


UNREADABLE = "unreadable"
"""Reason when nothing could be read in a reply, after its one retry."""


@dataclass(frozen=True)
class Judgement:
    """One judge's part in one pair and order."""

    order: str
    """`ab` or `ba`; empty for criteria, which are chosen once for both; of a grade which reply, `turn 2`;
    of a score in a duel `a` or `b`, else empty."""
    role: Role
    judge: str
    """The model."""
    text: str
    """Its reply; empty where the call failed."""
    verdict: Verdict | None = None
    """Of role verdict: which of the two answers as shown, not as numbered in the pair."""
    failure: str = ""
    """Why there is no reply, or `unreadable`; empty where all is well."""
    longer: Verdict | None = None
    """Of role verdict: which answer of those it was shown has more characters; None where they have as many."""
    probability: float | None = None
    """Of a verdict by log-probabilities: P(A) ÷ (P(A) + P(B)), A being the answer that stands first. `verdict` is the
    likelier letter, at ½ the first."""
    mass: float | None = None
    """P(A) + P(B): what is missing to 1 the judge would have written in place of a letter."""
    label: str | None = None
    """What was read where that is more than a side: `A>>B`, a grade, a score. At `A=B` there is neither `verdict` nor
    failure."""


def judgement_rows(
    judgements: Sequence[Judgement], *, id: str, a: int, b: int, benchmark: str = "", model: str = "", sample: int = 0
) -> list[JudgementRow]:
    """Rows of the table `judgements`. `benchmark`, `model` and `sample` are an evaluation's."""
    return [
        JudgementRow(
            id=id,
            benchmark=benchmark,
            model=model,
            sample=sample,
            a=a,
            b=b,
            order=said.order,
            role=str(said.role),
            judge=said.judge,
            verdict=said.verdict,
            text=said.text,
            failure=said.failure,
            longer=said.longer,
            probability=said.probability,
            mass=said.mass,
            label=said.label,
        )
        for said in judgements
    ]
