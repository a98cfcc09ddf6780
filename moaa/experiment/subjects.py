"""Whose scores of a run are compared: the mixture, every trained student, the last one, the one that was promoted."""

from collections.abc import Sequence
from dataclasses import dataclass

from moaa.plan.ids import made_by
from moaa.plan.stage import Kind
from moaa.plan.subjects import BASE, MIXTURE
from moaa.rows import ScoreRow
from moaa.run.students import iteration_of, promoted, promotions, scores_of, start_scores, student_label
from moaa.run.view import RunView

LAST, PROMOTED = "last", "promoted"


@dataclass(frozen=True)
class Subject:
    """One model of a run, and its scores on every benchmark."""

    name: str
    """The same in every run that has it."""
    student: str
    """For readers."""
    rows: Sequence[ScoreRow]


def subjects(view: RunView) -> list[Subject]:
    """Those that were measured: `last`, `promoted`, `mixture`, then students by the stage that trained them."""
    start = view.resource.spec.student
    trained = [
        Subject(made_by(student) or student, student_label(student, start), scores_of(view, student))
        for stage in view.stages
        if stage.stage.kind is Kind.EVALUATE and (student := stage.stage.student or start) != start
    ]
    found = [Subject(LAST, trained[-1].student, trained[-1].rows)] if trained else []
    if promotions(view):
        found.append(Subject(PROMOTED, student_label(promoted(view), start), _promoted_scores(view)))
    found.append(Subject(MIXTURE, "the mixture", start_scores(view, MIXTURE, iteration=1)))
    return [subject for subject in [*found, *trained] if subject.rows]


def _promoted_scores(view: RunView) -> list[ScoreRow]:
    now = promoted(view)
    if now.startswith("@"):
        return scores_of(view, now)
    return start_scores(view, BASE, iteration=iteration_of(now))
