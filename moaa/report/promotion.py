"""What every promotion saw and chose: who from the weights it left, gains from the scores, why in its own words."""

from moaa.report.measure import selection_gain
from moaa.report.provenance import public_text
from moaa.report.schema import CandidateSummary, PromotionSummary
from moaa.run.students import candidate_scores, origin, promotions, student_label, winner
from moaa.run.view import RunView, StageView

UNKNOWN = "The promotion did not write down what decided."


def promotion_summaries(view: RunView) -> list[PromotionSummary]:
    """One for every closed iteration."""
    return [_promotion(view, stage) for stage in promotions(view)]


def _promotion(view: RunView, stage: StageView) -> PromotionSummary:
    spec, manifest = view.spec_of(stage), stage.manifest
    chosen = winner(view, stage)
    previous = origin(view, stage.stage.candidates[0])
    before = candidate_scores(view, stage, stage.stage.candidates[0])
    candidates = []
    for candidate in stage.stage.candidates:
        student, gain = origin(view, candidate), None
        label, is_promoted = student_label(student, spec.student), student is not None and student == chosen
        if student is not None and previous is not None and student != previous:
            names = student_label(previous, spec.student), label
            gain = selection_gain(spec, before, candidate_scores(view, stage, candidate), names=names)
        name = student[1:] if student and student.startswith("@") else None
        candidates.append(CandidateSummary(label=label, stage=name, gain=gain, is_promoted=is_promoted))
    return PromotionSummary(
        stage=stage.stage.id,
        iteration=stage.stage.iteration,
        promoted=student_label(chosen, spec.student),
        rule=str(spec.evaluation.gate.rule),
        min_gain=float(spec.evaluation.gate.min_gain),
        candidates=candidates,
        reason=(manifest.decision if manifest else "") or UNKNOWN,
        doubts=[public_text(warning) for warning in manifest.warnings] if manifest else [],
    )
