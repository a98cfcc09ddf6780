"""Scores with intervals, and paired gains of one student over another, from the rows of evaluate stages."""

from collections.abc import Sequence
from dataclasses import dataclass

from moaa.api import MoAASpec
from moaa.api.evaluation import AnyBenchmark, Pairwise
from moaa.data.rows import ScoreRow
from moaa.evaluate.plan import AGGREGATOR, BASE, MIXTURE, label_of
from moaa.evaluate.statistics import Estimate, gain, lc_win_rate, mean_estimate, paired
from moaa.report.schema import GainSummary, ScoreSummary, Use
from moaa.report.students import baseline_scores, promoted, scores_of, student_label
from moaa.report.view import RunView, StageView

METRICS = {"ExactMatch": "exact match", "Pairwise": "win rate"}


@dataclass(frozen=True)
class Measured:
    """A benchmark of the resource and what reads it."""

    benchmark: AnyBenchmark
    use: Use

    @property
    def metric(self) -> str:
        return METRICS[self.benchmark.type]


def measured(spec: MoAASpec) -> list[Measured]:
    """Benchmarks in the order of the resource, selection first."""
    chosen = [Measured(b, "selection") for b in spec.evaluation.selection]
    return chosen + [Measured(b, "report") for b in spec.evaluation.report]


def scores(view: RunView) -> list[ScoreSummary]:
    """Every model on every benchmark that has rows, in graph order, models in the order of the table."""
    found = []
    for stage in view.stages:
        rows = view.scores.get(stage.stage.id, ())
        for model in dict.fromkeys(r["model"] for r in rows):
            for item in measured(view.resource.spec):
                mine = [r for r in rows if r["model"] == model and r["benchmark"] == item.benchmark.name]
                if mine:
                    found.append(_score(view, stage, item, model, mine))
    return found


def _score(view: RunView, stage: StageView, item: Measured, model: str, rows: Sequence[ScoreRow]) -> ScoreSummary:
    found = _estimate(view, [r["score"] for r in rows])
    return ScoreSummary(
        iteration=stage.stage.iteration,
        stage=stage.stage.id,
        model=model,
        benchmark=item.benchmark.name,
        use=item.use,
        metric=item.metric,
        value=found.mean,
        low=found.low,
        high=found.high,
        n=found.rows,
        mean_length=sum(r["length"] for r in rows) / len(rows),
        length_controlled=_length_controlled(view, item.benchmark, rows),
    )


def _length_controlled(view: RunView, benchmark: AnyBenchmark, rows: Sequence[ScoreRow]) -> float | None:
    """The win rate at equal length; None for other metrics and where the baseline's lengths are not there."""
    if not isinstance(benchmark, Pairwise):
        return None
    yardstick = baseline_scores(view, _baseline_label(view.resource.spec, benchmark))
    lengths = {r["id"]: r["length"] for r in yardstick if r["benchmark"] == benchmark.name}
    shared = [r for r in rows if r["id"] in lengths]
    if not shared:
        return None
    return lc_win_rate([r["score"] for r in shared], [r["length"] for r in shared], [lengths[r["id"]] for r in shared])


def _baseline_label(spec: MoAASpec, benchmark: Pairwise) -> str:
    """Under which label iteration 0 measured the yardstick of a benchmark (`moaa.evaluate.plan.subjects`)."""
    if benchmark.baseline in ("$base", spec.student):
        return BASE
    is_member = spec.evaluation.members and spec.mixture is not None
    if is_member and spec.mixture and benchmark.baseline == spec.mixture.aggregator.model:
        return AGGREGATOR
    return label_of(benchmark.baseline)


def gains(
    view: RunView, baseline: Sequence[ScoreRow], candidate: Sequence[ScoreRow], *, names: tuple[str, str]
) -> list[GainSummary]:
    """Candidate minus baseline on every benchmark, over the prompts both answered; none where they share no prompt."""
    found = []
    for item in measured(view.resource.spec):
        before, after = _by_id(baseline, item.benchmark.name), _by_id(candidate, item.benchmark.name)
        shared = sorted(before.keys() & after.keys())
        if not shared:
            continue
        difference = _estimate(view, paired(after, before))
        found.append(
            GainSummary(
                benchmark=item.benchmark.name,
                use=item.use,
                metric=item.metric,
                baseline=names[0],
                candidate=names[1],
                baseline_value=sum(before[i] for i in shared) / len(shared),
                candidate_value=sum(after[i] for i in shared) / len(shared),
                value=difference.mean,
                low=difference.low,
                high=difference.high,
                n=difference.rows,
            )
        )
    return found


def gains_of_promoted(view: RunView) -> list[GainSummary]:
    """The promoted student against the start; none while the start is all there is."""
    start, now = view.resource.spec.student, promoted(view)
    if now == start:
        return []
    names = student_label(start, start), student_label(now, start)
    return gains(view, scores_of(view, start), scores_of(view, now), names=names)


def gains_over_mixture(view: RunView) -> list[GainSummary]:
    """The promoted student against the mixture that taught it."""
    start, now = view.resource.spec.student, promoted(view)
    names = "the mixture", student_label(now, start)
    return gains(view, baseline_scores(view, MIXTURE), scores_of(view, now), names=names)


def selection_gain(
    view: RunView, baseline: Sequence[ScoreRow], candidate: Sequence[ScoreRow], *, names: tuple[str, str]
) -> GainSummary | None:
    """Candidate minus baseline over the selection benchmarks together, as the gate sees it; None where one is missing.

    Values are means over the benchmarks, each of the same weight.
    """
    spec = view.resource.spec
    found = [g for g in gains(view, baseline, candidate, names=names) if g.use == "selection"]
    wanted = [b.name for b in spec.evaluation.selection]
    if not wanted or [g.benchmark for g in found] != wanted:
        return None
    if len(found) == 1:
        return found[0]
    before = {name: _by_id(baseline, name) for name in wanted}
    after = {name: _by_id(candidate, name) for name in wanted}
    whole = gain(after, before, resamples=spec.evaluation.bootstrap, confidence=float(spec.evaluation.confidence))
    return GainSummary(
        benchmark=" and ".join(wanted),
        use="selection",
        metric="mean of benchmarks",
        baseline=names[0],
        candidate=names[1],
        baseline_value=sum(g.baseline_value for g in found) / len(found),
        candidate_value=sum(g.candidate_value for g in found) / len(found),
        value=whole.mean,
        low=whole.low,
        high=whole.high,
        n=whole.rows,
    )


def _by_id(rows: Sequence[ScoreRow], benchmark: str) -> dict[str, float]:
    return {r["id"]: r["score"] for r in rows if r["benchmark"] == benchmark}


def _estimate(view: RunView, values: Sequence[float]) -> Estimate:
    evaluation = view.resource.spec.evaluation
    return mean_estimate(values, resamples=evaluation.bootstrap, confidence=float(evaluation.confidence))
