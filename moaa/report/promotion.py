"""What every promotion saw and chose, told from the scores and the weights it left."""

from collections.abc import Sequence

from moaa.api.evaluation import GateRule
from moaa.report import wording
from moaa.report.measure import selection_gain
from moaa.report.schema import CandidateSummary, GainSummary, PromotionSummary
from moaa.report.students import origin, promotions, scores_of, student_label, winner
from moaa.report.view import RunView, StageView


def promotion_summaries(view: RunView) -> list[PromotionSummary]:
    """One for every closed iteration."""
    return [_promotion(view, stage) for stage in promotions(view)]


def _promotion(view: RunView, stage: StageView) -> PromotionSummary:
    spec = view.resource.spec
    chosen = winner(view, stage)
    students = [origin(view, c) for c in stage.stage.candidates]
    previous = students[0]
    candidates = []
    for student in students:
        gain = None
        if student is not None and previous is not None and student != previous:
            names = student_label(previous, spec.student), student_label(student, spec.student)
            gain = selection_gain(view, scores_of(view, previous), scores_of(view, student), names=names)
        candidates.append(
            CandidateSummary(
                label=student_label(student, spec.student),
                stage=student[1:] if student and student.startswith("@") else None,
                gain=gain,
                is_promoted=student is not None and student == chosen,
            )
        )
    return PromotionSummary(
        stage=stage.stage.id,
        iteration=stage.stage.iteration,
        promoted=student_label(chosen, spec.student),
        rule=str(spec.evaluation.gate.rule),
        min_gain=float(spec.evaluation.gate.min_gain),
        candidates=candidates,
        reason=_reason(view, candidates, is_previous=chosen == previous),
    )


def _reason(view: RunView, candidates: Sequence[CandidateSummary], *, is_previous: bool) -> str:
    gate = view.resource.spec.evaluation.gate
    if not view.resource.spec.evaluation.selection:
        return "No selection benchmark is declared, so the last trained student goes on without being compared."
    what = "the mean gain" if gate.rule is GateRule.MEAN else "the lower end of the gain's interval"
    bar = f"{wording.points(float(gate.min_gain))} points"
    trained = [c for c in candidates if c.gain is not None]
    if is_previous:
        told = "; ".join(f"{c.label} {_told(c.gain, gate.rule)}" for c in trained if c.gain)
        return (
            f"The previous student stays: {what} of no candidate reached {bar} ({told})."
            if told
            else ("The previous student stays: no candidate has scores to compare.")
        )
    won = next((c for c in trained if c.is_promoted), None)
    if won is None or won.gain is None:
        return "The chosen student's scores are not readable, so the report cannot retrace the decision."
    others = "" if len(trained) < 2 else ", the largest of the candidates"
    return f"{won.label} is promoted: {what} over the previous student is {_told(won.gain, gate.rule)}, which reaches {bar}{others}."


def _told(gain: GainSummary, rule: GateRule) -> str:
    figure = gain.value if rule is GateRule.MEAN else gain.low
    return "unknown (too few prompts)" if figure is None else f"{wording.points(figure)} points"
