"""What every promotion saw and chose, told from the scores and the weights it left, by the gate it had."""

from collections.abc import Sequence
from dataclasses import dataclass

from moaa.api.evaluation import Evaluation, GateRule
from moaa.evaluate.gate import MIN_QUESTIONS, fewest_questions, figure_of
from moaa.evaluate.statistics import Estimate
from moaa.report import wording
from moaa.report.measure import by_id, selection_gain
from moaa.report.schema import CandidateSummary, GainSummary, PromotionSummary
from moaa.rows import ScoreRow
from moaa.run.students import candidate_scores, origin, promotions, student_label, winner
from moaa.run.view import RunView, StageView


@dataclass(frozen=True)
class _Compared:
    """A candidate's gain over the previous student, as the gate saw it."""

    label: str
    estimate: Estimate
    figure: float | None
    """What the rule looks at; None where too few prompts show it."""
    is_promoted: bool


def promotion_summaries(view: RunView) -> list[PromotionSummary]:
    """One for every closed iteration."""
    return [_promotion(view, stage) for stage in promotions(view)]


def _promotion(view: RunView, stage: StageView) -> PromotionSummary:
    spec = view.spec_of(stage)
    chosen = winner(view, stage)
    previous = origin(view, stage.stage.candidates[0])
    before = candidate_scores(view, stage, stage.stage.candidates[0])
    candidates, compared = [], []
    for candidate in stage.stage.candidates:
        student, gain = origin(view, candidate), None
        label, is_promoted = student_label(student, spec.student), student is not None and student == chosen
        if student is not None and previous is not None and student != previous:
            after = candidate_scores(view, stage, candidate)
            names = student_label(previous, spec.student), label
            gain = selection_gain(spec, before, after, names=names)
            seen = _seen(stage, candidate, gain)
            if seen is not None:
                questions = _fewest(spec.evaluation, before, after) if gain is not None else MIN_QUESTIONS
                figure = figure_of(seen, spec.evaluation.gate.rule, fewest=questions)
                compared.append(_Compared(label, seen, figure, is_promoted))
        name = student[1:] if student and student.startswith("@") else None
        candidates.append(CandidateSummary(label=label, stage=name, gain=gain, is_promoted=is_promoted))
    return PromotionSummary(
        stage=stage.stage.id,
        iteration=stage.stage.iteration,
        promoted=student_label(chosen, spec.student),
        rule=str(spec.evaluation.gate.rule),
        min_gain=float(spec.evaluation.gate.min_gain),
        candidates=candidates,
        reason=_reason(spec.evaluation, compared, is_previous=chosen == previous),
    )


def _seen(stage: StageView, candidate: str, gain: GainSummary | None) -> Estimate | None:
    """The gain as the promotion wrote it down, else from the scores; None when neither is there."""
    label = candidate.removeprefix("@")
    metrics = stage.manifest.metrics if stage.manifest else {}
    if f"gain.{label}" in metrics:
        low, high = metrics.get(f"gain.{label}.low"), metrics.get(f"gain.{label}.high")
        return Estimate(metrics[f"gain.{label}"], low, high, gain.n if gain else 0)
    return Estimate(gain.value, gain.low, gain.high, gain.n) if gain else None


def _fewest(evaluation: Evaluation, before: Sequence[ScoreRow], after: Sequence[ScoreRow]) -> int:
    names = [benchmark.name for benchmark in evaluation.selection]
    return fewest_questions({name: by_id(after, name) for name in names}, {name: by_id(before, name) for name in names})


def _reason(evaluation: Evaluation, compared: Sequence[_Compared], *, is_previous: bool) -> str:
    rule, floor = evaluation.gate.rule, float(evaluation.gate.min_gain)
    if not evaluation.selection:
        return "No selection benchmark is declared, so the last trained student goes on without being compared."
    what = "mean gain" if rule is GateRule.MEAN else "lower end of the gain's interval"
    does = "reaches" if rule is GateRule.MEAN else "is above"
    bar = f"{100 * floor:.1f} points that the gate asks for"
    if is_previous:
        told = "; ".join(f"{c.label}: {_told(c.figure)}" for c in compared)
        return f"The previous student stays: no candidate's {what} {does} the {bar} ({told or 'none was measured'})."
    won = next((c for c in compared if c.is_promoted), None)
    if won is None:
        return "The scores behind the choice could not be read, so the report cannot retrace it."
    figures = [c.figure if c.figure is not None else -2.0 for c in compared]
    best = ", the highest of the candidates," if len(figures) > 1 and won.figure == max(figures) else ","
    text = f"Its {what} over the previous student, {_told(won.figure)}{best} {does} the {bar}."
    if won.estimate.low is not None and won.estimate.low <= 0:
        spread = wording.interval(won.estimate.low, won.estimate.high)
        text += f" Its interval, {spread}, holds zero: the gain may be chance, and rule {rule} accepts that."
    return text


def _told(figure: float | None) -> str:
    return f"unknown, fewer than {MIN_QUESTIONS} prompts" if figure is None else f"{wording.points(figure)} points"
