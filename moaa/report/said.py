"""Comparisons drawn at random, with all that judges said of them: plain values for the template, without markup."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from moaa.judge.pairwise import outcome_of
from moaa.judge.prompts import Order
from moaa.judge.reading import Verdict
from moaa.judge.trail import Role
from moaa.plan.ids import BASE_EVALUATE
from moaa.report.page import points_of
from moaa.rows import JudgementRow
from moaa.run.read_trail import baseline_label
from moaa.run.students import model_label
from moaa.run.trail import KEPT, Compared
from moaa.run.view import RunView, StageView

MOST = 24
"""Comparisons on a page, so that it can be mailed; each has up to a dozen texts."""
SAID_CHARS = 10_000
"""Characters of one reply that are shown; the tables hold the rest."""
ENDING_CHARS = 160
"""Of a reply that is folded: a verdict stands at its end."""
_PARTS = {
    Role.CRITERIA: "choice of criteria",
    Role.EVALUATION: "evaluation",
    Role.VERDICT: "verdict",
    Role.GRADE: "grade",
    Role.SCORE: "score",
}
_NOTHING = {
    Role.CRITERIA: "failed",
    Role.EVALUATION: "failed",
    Role.VERDICT: "no verdict",
    Role.GRADE: "no grade",
    Role.SCORE: "no score",
}


@dataclass(frozen=True)
class Said:
    judge: str
    part: str
    order: str
    """Which answer it was shown first, or which reply it graded; empty for criteria."""
    told: str
    """Its verdict, or why there is none; empty for a reply without a verdict."""
    ending: str
    text: str


@dataclass(frozen=True)
class Shown:
    """One comparison."""

    id: str
    prompt: str | None
    answers: list[tuple[str, str | None]]
    """Name and text of a and b, of a only where it was graded by itself; None: the text is not in the tables."""
    outcome: str
    criteria: list[str]
    is_chosen: bool
    said: list[Said]


@dataclass(frozen=True)
class Group:
    """Comparisons of one stage, and of one benchmark where it evaluates."""

    title: str
    total: int
    """Comparisons that were made, or answers that were graded."""
    what: str
    """One of them: `comparison`, `graded answer`."""
    shown: list[Shown]


def groups(view: RunView) -> list[Group]:
    """Every stage and benchmark that judges were asked in; the newest have comparisons where they are too many."""
    found = [
        (stage, benchmark, total)
        for stage in view.stages
        if (trail := view.trails.get(stage.stage.id)) is not None
        for benchmark, total in trail.comparisons.items()
    ]
    each = max(1, min(KEPT, MOST // len(found))) if found else 0
    first = max(0, len(found) - MOST // each) if each else 0
    return [
        _group(view, stage, benchmark, total, each if number >= first else 0)
        for number, (stage, benchmark, total) in enumerate(found)
    ]


def _group(view: RunView, stage: StageView, benchmark: str, total: int, count: int) -> Group:
    mine = [c for c in view.compared.get(stage.stage.id, ()) if c.drawn.place.benchmark == benchmark]
    title = f"{stage.stage.id}, {benchmark}" if benchmark else stage.stage.id
    what = "graded answer" if any(map(_is_graded, mine)) else "comparison"
    return Group(title, total, what, [shown(view, stage, one) for one in mine[:count]])


def shown(view: RunView, stage: StageView, compared: Compared) -> Shown:
    """One comparison with all that judges said of it, in words."""
    place, names = compared.drawn.place, _names(view, stage, compared)
    return Shown(
        id=place.id if place.sample == 0 else f"{place.id}, answer {place.sample + 1}",
        prompt=compared.prompt,
        answers=list(zip(names, compared.answers, strict=True))[: 1 if _is_graded(compared) else 2],
        outcome=_outcome(compared.score, names),
        criteria=list(compared.criteria),
        is_chosen=compared.is_chosen,
        said=[_said(row, names) for row in compared.drawn.said],
    )


def _is_graded(compared: Compared) -> bool:
    """Whether judges graded the answer by itself."""
    return any(row["role"] == Role.GRADE for row in compared.drawn.said)


def _names(view: RunView, stage: StageView, compared: Compared) -> tuple[str, str]:
    place = compared.drawn.place
    if not place.benchmark:
        return f"sample {place.a + 1}", f"sample {place.b + 1}"
    label = baseline_label(place.benchmark, stage.resource or view.resource, stage.stage)
    base = view.of(BASE_EVALUATE)
    other = "the row's own answer" if label is None else model_label(view, base, label) if base else label
    return model_label(view, stage, place.model), other


def _outcome(score: float | None, names: Sequence[str]) -> str:
    if score is None:
        return "no result"
    if score == 0.5:
        return "a draw"
    return f"{names[score < 0.5]} won" if score in (0, 1) else f"{points_of(score)} points for {names[0]}"


def _said(row: JudgementRow, names: Sequence[str]) -> Said:
    line = " ".join(row["text"].split())
    return Said(
        judge=row["judge"],
        part=_PARTS[Role(row["role"])],
        order=_order(row, names),
        told=_told(row, names),
        ending=line if len(line) <= ENDING_CHARS else f"…{line[-ENDING_CHARS:]}",
        text=row["text"],
    )


def _order(row: JudgementRow, names: Sequence[str]) -> str:
    if row["role"] == Role.SCORE:
        return "" if not row["order"] else names[row["order"] == "b"]
    if row["role"] == Role.GRADE or not row["order"]:
        return row["order"]
    return f"{names[row['order'] == 'ba']} shown first"


def _told(row: JudgementRow, names: Sequence[str]) -> str:
    label = row.get("label")
    outcome = outcome_of(cast("Verdict | None", row["verdict"]), cast(Order, row["order"]))
    if outcome is not None:
        return f"prefers {names[outcome == 0]}{f' ({label})' if label else ''}{_weight(row)}"
    if label:
        is_number = row["role"] in (Role.GRADE, Role.SCORE)
        return f"{row['role']} {label}" if is_number else f"finds them equal ({label})"
    return f"{_NOTHING[Role(row['role'])]}: {row['failure']}" if row["failure"] else ""


def _weight(row: JudgementRow) -> str:
    """How sure a verdict by log-probabilities is, and of how much of its probability that speaks."""
    if row["probability"] is None or row["mass"] is None:
        return ""
    return f" (first {100 * row['probability']:.0f} %, letters {100 * row['mass']:.0f} %)"
