"""From what the runs of an experiment left to their comparison. No I/O, no clock, no chance: the same runs give the
same figures."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from moaa.api import MoAASpec
from moaa.api.evaluation import AnyBenchmark
from moaa.benchmark.measures import measure_of
from moaa.experiment import wording
from moaa.experiment.contrast import Level, SeedScores, difference, over_seeds
from moaa.experiment.expand import Expanded, Run
from moaa.experiment.schema import ArmScore, ArmSummary, Comparison, Cost, RunState
from moaa.experiment.subjects import LAST, Subject, subjects
from moaa.judge.methods import method_of
from moaa.plan.forecast.estimate import Estimate, total
from moaa.plan.graph import benchmarks
from moaa.plan.stage import Kind
from moaa.report.costs import counted
from moaa.report.costs import measured as measured_cost
from moaa.report.measure import Measured, measured
from moaa.report.promotion import promotion_summaries
from moaa.report.provenance import public_text
from moaa.run.view import RunView, StageView

Views = Mapping[str, RunView]
"""What each run left, by the run's name; a run that left nothing readable is not in it."""


@dataclass(frozen=True)
class _Arm:
    """One arm's runs that can be read, and the subjects of each, by seed."""

    name: str
    views: Mapping[int, RunView]
    subjects: Mapping[int, Mapping[str, Subject]]

    @property
    def spec(self) -> MoAASpec:
        return next(iter(self.views.values())).resource.spec


def compare(expanded: Expanded, views: Views, problems: Mapping[str, str]) -> Comparison:
    """`problems` says of runs by name why they could not go on."""
    first = expanded.runs[0].resource.spec
    arms = [_arm(expanded, name, views) for name in expanded.arms]
    names = list(dict.fromkeys(b.name for run in expanded.runs for b in benchmarks(run.resource.spec)))
    compared = max((len(arms) - 1) * len(names), 1)
    level = Level(float(first.evaluation.confidence), first.evaluation.bootstrap, compared)
    scores = list(_scores([arm for arm in arms if arm.views], expanded.arms[0], names, level))
    return Comparison(
        name=expanded.name,
        baseline=expanded.arms[0],
        verdict=wording.verdict(scores, expanded.arms[0], corrected=level.corrected),
        confidence=level.confidence,
        corrected_confidence=level.corrected,
        compared=compared,
        arms=[_summary(expanded, name, views, problems) for name in expanded.arms],
        scores=scores,
        missing=list(_missing(expanded, views, problems)),
    )


def _arm(expanded: Expanded, name: str, views: Views) -> _Arm:
    there = {run.seed: views[run.name] for run in expanded.of(name) if run.name in views}
    return _Arm(name, there, {seed: {s.name: s for s in subjects(view)} for seed, view in there.items()})


def _scores(arms: Sequence[_Arm], baseline: str, names: Iterable[str], level: Level) -> Iterator[ArmScore]:
    """By benchmark and subject, every arm that has both, the first arm first."""
    listed = _distinct([one for arm in arms for one in arm.subjects.values()])
    first = next((arm for arm in arms if arm.name == baseline), None)
    for benchmark in names:
        for subject in listed:
            for arm in arms:
                found = _score(arm, first, benchmark, subject, level)
                if found is not None:
                    yield found


def _distinct(runs: Sequence[Mapping[str, Subject]]) -> list[str]:
    """Names of subjects, without those that are the last trained student in every run that has them."""
    names = dict.fromkeys(name for one in runs for name in one)
    same = {
        name for name in names if all(LAST in one and one[name].rows == one[LAST].rows for one in runs if name in one)
    }
    return [name for name in names if name == LAST or name not in same]


def _score(arm: _Arm, first: _Arm | None, benchmark: str, subject: str, level: Level) -> ArmScore | None:
    """None where the arm has no scores of the subject there."""
    own = _seed_scores(arm, benchmark, subject)
    if not own:
        return None
    item = _declared(arm.spec, benchmark)
    estimate = level.estimate(over_seeds(own))
    rows = [row for seed in own for row in arm.subjects[seed][subject].rows if row["benchmark"] == benchmark]
    students = {arm.subjects[seed][subject].student for seed in own}
    score = ArmScore(
        benchmark=benchmark,
        use=item.use,
        metric=item.measure.metric,
        subject=subject,
        arm=arm.name,
        student=students.pop() if len(students) == 1 else "various",
        value=estimate.mean,
        low=estimate.low,
        high=estimate.high,
        n=estimate.rows,
        seeds=len(own),
        mean_length=sum(row["length"] for row in rows) / len(rows),
    )
    if first is arm:
        return score
    other = _seed_scores(first, benchmark, subject) if first else {}
    apart = _apart(arm, first, benchmark, other)
    found = None if apart else difference(own, other, level)
    if apart is None and found is None:
        apart = "no question has scores of both at the same seed"
    return score.model_copy(update={"difference": found, "apart": apart})


def _seed_scores(arm: _Arm, benchmark: str, subject: str) -> SeedScores:
    found = {}
    for seed, one in arm.subjects.items():
        rows = one[subject].rows if subject in one else ()
        if mine := {row["id"]: row["score"] for row in rows if row["benchmark"] == benchmark}:
            found[seed] = mine
    return found


def _apart(arm: _Arm, first: _Arm | None, benchmark: str, other: SeedScores) -> str | None:
    if first is None or not other:
        return "the first arm has no such score yet"
    if _measure_of(arm.spec, benchmark) != _measure_of(first.spec, benchmark):
        return "the two arms measure it in different ways"
    both = arm.views.keys() & first.views.keys()
    if any(_rows_of(arm.views[seed], benchmark) != _rows_of(first.views[seed], benchmark) for seed in both):
        return "its rows changed between the two arms"
    return None


def _rows_of(view: RunView, benchmark: str) -> set[object]:
    """Digests of the benchmark's table, as the evaluations of a run have read it."""
    done = [s.manifest for s in view.stages if s.stage.kind is Kind.EVALUATE and s.manifest is not None]
    inputs = [manifest.document.get("inputs") for manifest in done]
    return {read[benchmark] for read in inputs if isinstance(read, Mapping) and benchmark in read}


def _declared(spec: MoAASpec, benchmark: str) -> Measured:
    return next(item for item in measured(spec) if item.benchmark.name == benchmark)


def _measure_of(spec: MoAASpec, benchmark: str) -> list[object]:
    """All that a score depends on beside the answer: the benchmark, and with a judge its models, whom it compares with
    and the prompts."""
    declared = _declared(spec, benchmark).benchmark
    return [declared, *_judged_by(spec, declared)]


def _judged_by(spec: MoAASpec, benchmark: AnyBenchmark) -> list[object]:
    measure = measure_of(benchmark, student=spec.student)
    if measure.judge is None:
        return []
    names = {*method_of(measure.judge).models, *([measure.yardstick] if measure.yardstick else [])}
    return [spec.prompts, *(model for model in spec.models if model.name in names)]


def _summary(expanded: Expanded, name: str, views: Views, problems: Mapping[str, str]) -> ArmSummary:
    runs = expanded.of(name)
    there = [views[run.name] for run in runs if run.name in views]
    made = [(view, stage) for view in there for stage in view.stages if _is_own(view, stage)]
    used = {stage.manifest.fingerprint: (view, stage) for view in there for stage in view.stages if stage.manifest}
    return ArmSummary(
        name=name,
        changes=expanded.changes(name),
        runs=[_state(run, views.get(run.name), problems.get(run.name)) for run in runs],
        made=_cost(made),
        used=_cost(used.values()),
    )


def _is_own(view: RunView, stage: StageView) -> bool:
    return stage.manifest is not None and stage.manifest.run == view.run


def _state(run: Run, view: RunView | None, problem: str | None) -> RunState:
    stages = view.stages if view else ()
    closed = promotion_summaries(view) if view else []
    return RunState(
        name=run.name,
        seed=run.seed,
        done=sum(stage.manifest is not None for stage in stages),
        stages=len(stages),
        problem=public_text(problem) if problem else None,
        promoted=closed[-1].promoted if closed else None,
        reason=closed[-1].reason if closed else None,
    )


def _cost(parts: Iterable[tuple[RunView, StageView]]) -> Cost:
    listed = [(view, stage, stage.manifest) for view, stage in parts if stage.manifest]
    whole = total(_estimate(view, stage) for view, stage, _ in listed)
    return Cost(
        stages=len(listed),
        seconds=3600 * (whole.hours or 0.0),
        calls=whole.calls or 0,
        reused_calls=sum(usage.reused for _, _, manifest in listed for usage in manifest.usage.values()),
        prompt_tokens=whole.prompt_tokens or 0,
        completion_tokens=whole.completion_tokens or 0,
        trained_tokens=whole.trained_tokens or 0,
        gpu_hours=whole.gpu_hours or 0.0,
        usd=None if whole.usd is None else float(whole.usd),
    )


def _estimate(view: RunView, stage: StageView) -> Estimate:
    assert stage.manifest is not None, "only stages that are done have a cost"
    return measured_cost(
        stage.stage,
        stage.manifest,
        made_with=stage.resource or view.resource,
        prices=view.resource.spec,
        results=counted(view),
    )


def _missing(expanded: Expanded, views: Views, problems: Mapping[str, str]) -> Iterator[str]:
    for run in expanded.runs:
        view = views.get(run.name)
        open_stages = [] if view is None else [s.stage.id for s in view.stages if s.manifest is None]
        if run.name in problems:
            yield f"{run.label}: failed: {public_text(problems[run.name])}"
        elif view is None:
            yield f"{run.label}: nothing could be read of it."
        elif open_stages:
            yield f"{run.label}: {len(open_stages)} of {len(view.stages)} stages are not done, {open_stages[0]} first."
        if view is not None:
            yield from (f"{run.label}: {public_text(sentence)}" for sentence in view.unreadable)
