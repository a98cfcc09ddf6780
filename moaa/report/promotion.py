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
    spec = view.resource.spec
    gate = spec.evaluation.gate
    if not spec.evaluation.selection:
        return "No selection benchmark is declared, so the last trained student goes on without being compared."
    what = "mean gain" if gate.rule is GateRule.MEAN else "lower end of the gain's interval"
    bar = f"{100 * float(gate.min_gain):.1f} points that the gate asks for"
    compared = [c for c in candidates if c.gain is not None]
    if is_previous:
        told = "; ".join(f"{c.label}: {_told(c.gain, gate.rule)}" for c in compared if c.gain)
        return f"The previous student stays: no candidate's {what} reaches the {bar} ({told or 'none was measured'})."
    won = next((c for c in compared if c.is_promoted), None)
    if won is None or won.gain is None:
        return "The scores behind the choice could not be read, so the report cannot retrace it."
    figures = [_figure(c.gain, gate.rule) for c in compared if c.gain]
    is_best = len(figures) > 1 and _figure(won.gain, gate.rule) == max(
        figures, key=lambda f: f if f is not None else -2.0
    )
    best = ", the highest of the candidates," if is_best else ","
    text = f"Its {what} over the previous student, {_told(won.gain, gate.rule)}{best} reaches the {bar}."
    if won.gain.low is not None and won.gain.low <= 0:
        spread = wording.interval(won.gain.low, won.gain.high)
        text += f" Its interval, {spread}, holds zero: the gain may be chance, and rule {gate.rule} accepts that."
    return text


def _figure(gain: GainSummary, rule: GateRule) -> float | None:
    return gain.value if rule is GateRule.MEAN else gain.low


def _told(gain: GainSummary, rule: GateRule) -> str:
    figure = _figure(gain, rule)
    return "unknown, too few prompts" if figure is None else f"{wording.points(figure)} points"
