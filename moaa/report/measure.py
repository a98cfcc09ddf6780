"""Scores with intervals, and paired gains of one student over another, from the rows of evaluate stages."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from moaa.api import MoAASpec
from moaa.api.evaluation import AnyBenchmark, Evaluation
from moaa.benchmark.measure import Measure
from moaa.benchmark.measures import measure_of
from moaa.evaluate.statistics import Estimate, gain, mean_estimate, paired
from moaa.plan.ids import BASE_EVALUATE, STAGE_DATA
from moaa.plan.slices import tables
from moaa.plan.subjects import BASE, MIXTURE
from moaa.report.judges import consistency
from moaa.report.schema import DataSummary, FigureSummary, GainSummary, ScoreSummary, Use
from moaa.rows import ScoreRow
from moaa.run.students import iteration_of, promoted, scores_of, start_scores, student_label
from moaa.run.view import RunView, StageView
from moaa.scoring.figures import figures_of
from moaa.scoring.length import Judged, Subject, lc_estimate


@dataclass(frozen=True)
class Measured:
    """A benchmark of the resource, and whether the gate reads it."""

    benchmark: AnyBenchmark
    use: Use
    measure: Measure


def measured(spec: MoAASpec) -> list[Measured]:
    """Benchmarks in the order of the resource, selection first."""
    uses: list[tuple[Use, Sequence[AnyBenchmark]]] = [
        ("selection", spec.evaluation.selection),
        ("report", spec.evaluation.report),
    ]
    return [Measured(b, use, measure_of(b, student=spec.student)) for use, listed in uses for b in listed]


@dataclass(frozen=True)
class _Scored:
    """One model of one stage on one benchmark."""

    stage: StageView
    item: Measured
    model: str
    rows: Sequence[ScoreRow]
    judged: Subject | None
    """None unless every row says how long the answer was that it was compared with."""


def scores(view: RunView) -> list[ScoreSummary]:
    """Every model on every benchmark that has rows, in graph order, models in the order of the table."""
    found = list(_scored(view))
    return [_score(view, one, _others(view, one, found[:place])) for place, one in enumerate(found)]


def _scored(view: RunView) -> Iterator[_Scored]:
    for stage in view.stages:
        rows = view.scores.get(stage.stage.id, ())
        for model in dict.fromkeys(r["model"] for r in rows):
            for item in measured(view.spec_of(stage)):
                mine = [r for r in rows if r["model"] == model and r["benchmark"] == item.benchmark.name]
                if mine:
                    yield _Scored(stage, item, model, mine, _judged(mine))


def _judged(rows: Sequence[ScoreRow]) -> Subject | None:
    found = {
        r["id"]: Judged(r["score"], r["length"], other) for r in rows if (other := r.get("baseline_length")) is not None
    }
    return found if len(found) == len(rows) else None


def _others(view: RunView, one: _Scored, before: Sequence[_Scored]) -> list[Subject]:
    """What tells how hard the questions are: the models of iteration 0, as they were when the iteration was closed, and
    the students measured before. A later student changes nothing."""
    iteration = one.stage.stage.iteration
    rows = view.starts.get(iteration, view.scores.get(BASE_EVALUATE, ()))
    mine = [r for r in rows if r["benchmark"] == one.item.benchmark.name]
    starts = {
        label: _judged([r for r in mine if r["model"] == label]) for label in dict.fromkeys(r["model"] for r in mine)
    }
    if iteration == 0:
        starts.pop(one.model, None)
    students = [o.judged for o in before if o.stage.stage.iteration and o.item.benchmark == one.item.benchmark]
    return [found for found in (*starts.values(), *students) if found]


def _score(view: RunView, one: _Scored, others: Sequence[Subject]) -> ScoreSummary:
    found = _estimate(view.resource.spec.evaluation, [r["score"] for r in one.rows])
    lc = lc_estimate(one.judged, others) if one.judged else None
    baselines = [row.baseline_length for row in one.judged.values()] if one.judged else []
    return ScoreSummary(
        iteration=one.stage.stage.iteration,
        stage=one.stage.stage.id,
        model=one.model,
        benchmark=one.item.benchmark.name,
        use=one.item.use,
        metric=one.item.measure.metric,
        value=found.mean,
        low=found.low,
        high=found.high,
        n=found.rows,
        mean_length=sum(r["length"] for r in one.rows) / len(one.rows),
        baseline_length=sum(baselines) / len(baselines) if baselines else None,
        lc_estimate=lc.rate if lc else None,
        lc_others=lc.others if lc else None,
        position_consistency=consistency(view, one.stage.stage.id, benchmark=one.item.benchmark.name, model=one.model),
        figures=_figures(view.resource.spec.evaluation, one),
    )


def _figures(evaluation: Evaluation, one: _Scored) -> list[FigureSummary]:
    found = figures_of(
        one.item.benchmark, one.rows, resamples=evaluation.bootstrap, confidence=float(evaluation.confidence)
    )
    return [FigureSummary(**vars(figure)) for figure in found]


def gains(
    items: Sequence[Measured],
    baseline: Sequence[ScoreRow],
    candidate: Sequence[ScoreRow],
    *,
    names: tuple[str, str],
    evaluation: Evaluation,
) -> list[GainSummary]:
    """Candidate minus baseline on every benchmark, over the prompts that both answered. A benchmark without shared
    prompts gives no gain.

    `evaluation` says how intervals are drawn.
    """
    found = []
    for item in items:
        before, after = by_id(baseline, item.benchmark.name), by_id(candidate, item.benchmark.name)
        shared = sorted(before.keys() & after.keys())
        if not shared:
            continue
        difference = _estimate(evaluation, paired(after, before))
        found.append(
            GainSummary(
                benchmark=item.benchmark.name,
                use=item.use,
                metric=item.measure.metric,
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
    return [] if now == start else _gains_over(view, BASE, student_label(start, start), now)


def gains_over_mixture(view: RunView) -> list[GainSummary]:
    """The promoted student against the mixture that taught it."""
    return _gains_over(view, MIXTURE, "the mixture", promoted(view))


def _gains_over(view: RunView, label: str, name: str, student: str) -> list[GainSummary]:
    """The student against a label of iteration 0, on the benchmarks of the student's iteration."""
    made = view.of(student[1:]) if student.startswith("@") else None
    spec, iteration = view.spec_of(made) if made else view.resource.spec, iteration_of(student)
    scored = scores_of(view, student) if made else start_scores(view, BASE, iteration=iteration)
    baseline = start_scores(view, label, iteration=iteration)
    names = name, student_label(student, view.resource.spec.student)
    return gains(measured(spec), baseline, scored, names=names, evaluation=view.resource.spec.evaluation)


def selection_gain(
    spec: MoAASpec, baseline: Sequence[ScoreRow], candidate: Sequence[ScoreRow], *, names: tuple[str, str]
) -> GainSummary | None:
    """Candidate minus baseline over the selection benchmarks together, as the gate sees it; None where one is missing.

    Values are means over the benchmarks, each of the same weight.
    """
    evaluation = spec.evaluation
    items = [item for item in measured(spec) if item.use == "selection"]
    found = gains(items, baseline, candidate, names=names, evaluation=evaluation)
    wanted = [b.name for b in evaluation.selection]
    if not wanted or [g.benchmark for g in found] != wanted:
        return None
    if len(found) == 1:
        return found[0]
    before = {name: by_id(baseline, name) for name in wanted}
    after = {name: by_id(candidate, name) for name in wanted}
    whole = gain(after, before, resamples=evaluation.bootstrap, confidence=float(evaluation.confidence))
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


def by_id(rows: Sequence[ScoreRow], benchmark: str) -> dict[str, float]:
    """Score of every prompt of one benchmark."""
    return {r["id"]: r["score"] for r in rows if r["benchmark"] == benchmark}


def _estimate(evaluation: Evaluation, values: Sequence[float]) -> Estimate:
    return mean_estimate(values, resamples=evaluation.bootstrap, confidence=float(evaluation.confidence))


def data(view: RunView) -> list[DataSummary]:
    """Outcomes of the rows of every source, from the metrics of stage-data; empty until that is done."""
    stage = view.of(STAGE_DATA)
    if stage is None or stage.manifest is None:
        return []
    metrics = stage.manifest.metrics
    return [
        DataSummary(
            table=table,
            read=int(metrics[f"{table}.read"]),
            failed=int(metrics.get(f"{table}.failed", 0)),  # one bad row ended the stage in releases without it
            duplicates=int(metrics[f"{table}.duplicates"]),
            contaminated=int(metrics[f"{table}.contaminated"]),
            over_limit=int(metrics[f"{table}.overLimit"]),
            unasked=int(metrics.get(f"{table}.unasked", 0)),
            rows=int(metrics[f"{table}.rows"]),
            ignored={
                name.removeprefix(f"{table}.ignored."): int(count)
                for name, count in metrics.items()
                if name.startswith(f"{table}.ignored.")
            },
        )
        for table, _ in tables(stage.resource or view.resource)
        if f"{table}.read" in metrics
    ]
