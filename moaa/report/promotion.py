"""What every promotion saw and chose, told from the scores and the weights it left, by the gate it had."""

from collections.abc import Sequence
from dataclasses import dataclass

from moaa.api import MoAASpec
from moaa.api.evaluation import MIN_QUESTIONS, Evaluation, GateRule
from moaa.evaluate.drift import Drift, Sign, drift_text
from moaa.evaluate.forgetting import loss_text
from moaa.evaluate.gate import Compared, compare, figure_of, is_strict, student_of
from moaa.evaluate.statistics import Estimate
from moaa.plan.evidence import trial_of
from moaa.report import wording
from moaa.report.measure import selection_gain
from moaa.report.schema import CandidateSummary, PromotionSummary
from moaa.rows import ScoreRow
from moaa.run.students import candidate_scores, origin, promotions, student_label, winner
from moaa.run.view import RunView, StageView


@dataclass(frozen=True)
class _Candidate:
    """A candidate's gain over the previous student, as the gate saw it."""

    label: str
    seen: Compared
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
            seen = _written(stage, candidate)
            if seen is None and gain is not None:
                seen = _compared(spec, stage.stage.iteration, before, after)
            if seen is not None:
                figure = figure_of(seen.gain, spec.evaluation.gate.rule, fewest=seen.fewest)
                compared.append(_Candidate(label, seen, figure, is_promoted))
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


def _written(stage: StageView, candidate: str) -> Compared | None:
    """What the gate read, as the promotion wrote it down; None where it did not."""
    label = candidate.removeprefix("@")
    metrics = stage.manifest.metrics if stage.manifest else {}
    if f"gain.{label}" not in metrics or f"questions.{label}" not in metrics:
        return None
    estimate = Estimate(
        metrics[f"gain.{label}"], metrics.get(f"gain.{label}.low"), metrics.get(f"gain.{label}.high"), 0
    )
    prefix = f"lengthControlled.{label}."
    controlled = tuple(name.removeprefix(prefix) for name in metrics if name.startswith(prefix))
    losses = f"forgotten.{label}."
    forgotten = {
        name.removeprefix(losses): Estimate(loss, metrics.get(f"{name}.low"), metrics.get(f"{name}.high"), 0)
        for name, loss in metrics.items()
        if name.startswith(losses) and not name.endswith((".low", ".high"))
    }
    drifts = tuple(
        Drift(name.removeprefix(f"drift.{sign}.{label}."), sign, metrics[f"{name}.before"], after)
        for sign in Sign
        for name, after in metrics.items()
        if name.startswith(f"drift.{sign}.{label}.") and not name.endswith(".before")
    )
    fewest = int(metrics[f"questions.{label}"])
    return Compared(estimate, metrics[f"raw.{label}"], controlled, fewest, forgotten, drifts)


def _compared(spec: MoAASpec, iteration: int, before: Sequence[ScoreRow], after: Sequence[ScoreRow]) -> Compared:
    """Promotions that wrote nothing down read every question."""
    names = [benchmark.name for benchmark in spec.evaluation.selection]
    trial = trial_of(spec, iteration, sizes={})
    return compare(student_of(after, names), student_of(before, names), spec.evaluation, trial)


def _reason(evaluation: Evaluation, compared: Sequence[_Candidate], *, is_previous: bool) -> str:
    rule, floor = evaluation.gate.rule, float(evaluation.gate.min_gain)
    if not evaluation.selection:
        return "No selection benchmark is declared, so the last trained student goes on without being compared."
    what = "mean gain" if rule is GateRule.MEAN else "lower end of the gain's interval"
    does = "is above" if is_strict(rule, floor) else "reaches"
    bar = f"{100 * floor:.1f} points that the gate asks for"
    if is_previous:
        told = "; ".join(f"{c.label}: {', '.join([_told(c), *map(drift_text, c.seen.drifts)])}" for c in compared)
        return f"The previous student stays: no candidate's {what} {does} the {bar} ({told or 'none was measured'})."
    won = next((c for c in compared if c.is_promoted), None)
    if won is None:
        return "The scores behind the choice could not be read, so the report cannot retrace it."
    figures = [c.figure if c.figure is not None else -2.0 for c in compared]
    best = ", the highest of the candidates," if len(figures) > 1 and won.figure == max(figures) else ","
    text = f"Its {what} over the previous student, {_told(won)}{best} {does} the {bar}."
    if won.seen.gain.low is not None and won.seen.gain.low <= 0:
        spread = wording.interval(won.seen.gain.low, won.seen.gain.high)
        text += f" Its interval, {spread}, holds zero: the gain may be chance, and rule {rule} accepts that."
    return " ".join([text, *(f"But {drift_text(drift)}." for drift in won.seen.drifts)])


def _told(candidate: _Candidate) -> str:
    seen = candidate.seen
    if candidate.figure is None:
        return f"unknown, fewer than {MIN_QUESTIONS} prompts"
    told = f"{wording.points(candidate.figure)} points"
    if seen.controlled:
        told += f" at equal length on {', '.join(seen.controlled)} (mean of the raw scores {wording.points(seen.raw)})"
    losses = [loss_text(name, loss) for name, loss in seen.forgotten.items()]
    return ", ".join([told, *losses])
