"""The static graph of a run: which stages there are, what each reads, which models must answer while it runs.

`build` is a function of the resource alone. Its invariants: every stage comes after those it needs; `$student` and
`start` are resolved, so that a stage names its models by declared name or by the stage that made them; the first stages
of an iteration need the promotion that closed the one before. So one iteration at a time is open, and an edit acts in
one place.

Outputs by which stages read one another: stage-data writes the tables of `moaa.plan.slices`, generate
`conversations`, sample `samples`, judge `pairs` (and `rankings`), evaluate `answers` and `scores`, sft, dpo and
average the folder `model`, promote `model` (the winner's) and `scores` (the winner's rows).
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import assert_never

from moaa.anchors.judges import MeasuredJudge, measured_judges
from moaa.api import MoAA, MoAASpec
from moaa.api.data import Answers
from moaa.api.evaluation import AnyBenchmark
from moaa.api.resource import Start
from moaa.api.training import RefModel, SamplesFrom
from moaa.errors import UsageError
from moaa.judge.methods import method_of
from moaa.plan.ids import ANCHORS, BASE_EVALUATE, RESOLVE, STAGE_DATA, made_by, stage_id
from moaa.plan.stage import Graph, Kind, Stage
from moaa.plan.students import declared_dpo, judge_method, measure, mixture_method, promoted, resolved_judge


def benchmarks(spec: MoAASpec) -> list[AnyBenchmark]:
    """Selection benchmarks, then those that are only reported."""
    return [*spec.evaluation.selection, *spec.evaluation.report]


def uses_mixture(spec: MoAASpec) -> bool:
    """Whether generate asks the mixture at all. False when every source is trained on its own answers."""
    return any(source.answers is Answers.MIXTURE for source in spec.data.sft)


def build(resource: MoAA) -> Graph:
    """The graph of a checked resource."""
    spec = resource.spec
    stages = [
        Stage(RESOLVE, Kind.RESOLVE, 0),
        Stage(STAGE_DATA, Kind.STAGE_DATA, 0, needs=(RESOLVE,)),
    ]
    if benchmarks(spec):
        stages.append(_base_evaluate(resource))
    if spec.anchors is not None:
        names = [name for one in anchored_judges(resource) for name in one.models]
        stages.append(Stage(ANCHORS, Kind.ANCHORS, 0, needs=(RESOLVE, STAGE_DATA), serves=tuple(_once(names))))
    for iteration in range(1, spec.iterations + 1):
        stages += (_measured_first(stage, spec) for stage in _iteration(resource, iteration))
    return Graph({stage.id: stage for stage in stages})


def anchored_judges(resource: MoAA) -> list[MeasuredJudge]:
    """The judges that stage anchors measures; none where the resource has none."""
    stage = Stage(ANCHORS, Kind.ANCHORS, 0)
    return measured_judges(resource.spec, lambda judge: resolved_judge(judge, resource, stage))


def wanted(graph: Graph, until: str | None) -> Graph:
    """The graph up to and including stage `until`. Raises UsageError: there is no such stage."""
    if until is None:
        return graph
    if until not in graph.stages:
        raise UsageError(f"--until {until}: there is no such stage; the stages are {', '.join(graph.stages)}")
    needed = {until}
    for stage in reversed(list(graph.stages.values())):
        if stage.id in needed:
            needed.update(stage.after)
    return Graph({name: stage for name, stage in graph.stages.items() if name in needed})


def _iteration(resource: MoAA, i: int) -> Iterator[Stage]:
    spec = resource.spec
    opening = (RESOLVE, STAGE_DATA) if i == 1 else (RESOLVE, STAGE_DATA, stage_id(i - 1, Kind.PROMOTE))
    base = spec.student
    first = promoted(spec, i) if spec.start is Start.PROMOTED else base
    candidates = [promoted(spec, i)]
    closes: list[str] = []
    student = first
    if spec.training.sft is not None:
        yield _generate(resource, i, opening)
        yield _stage(i, Kind.SFT, needs=[*opening, stage_id(i, Kind.GENERATE)], student=student)
        student = f"@{stage_id(i, Kind.SFT)}"
        candidates.append(student)
        if evaluate := _evaluate(resource, i, student):
            closes.append(evaluate.id)
            yield evaluate
    if spec.training.dpo is not None:
        ref_model = {RefModel.STAGE_START: student, RefModel.ITERATION_START: first, RefModel.BASE: base}
        yield _sample(resource, i, opening, student)
        yield _judge(resource, i, opening)
        yield _stage(
            i,
            Kind.DPO,
            needs=[*opening, *_makers(student), stage_id(i, Kind.JUDGE)],
            student=student,
            ref_model=ref_model[spec.training.dpo.ref_model],
        )
        student = f"@{stage_id(i, Kind.DPO)}"
        candidates.append(student)
        if evaluate := _evaluate(resource, i, student):
            closes.append(evaluate.id)
            yield evaluate
    if spec.training.average is not None:
        before = promoted(spec, i)
        yield _stage(
            i, Kind.AVERAGE, needs=[*opening, *_makers(before), *_makers(student)], candidates=(before, student)
        )
        candidates.append(f"@{stage_id(i, Kind.AVERAGE)}")
        if evaluate := _evaluate(resource, i, candidates[-1]):
            closes.append(evaluate.id)
            yield evaluate
    previous = [BASE_EVALUATE] if benchmarks(spec) and i == 1 else []
    yield _stage(
        i,
        Kind.PROMOTE,
        needs=[*opening, *previous, *(m for c in candidates for m in _makers(c)), *closes],
        candidates=tuple(candidates),
    )


def _measured_first(stage: Stage, spec: MoAASpec) -> Stage:
    """What is paid for to learn from judges, in whichever iteration, waits until they are measured: an edit may bring
    another one."""
    pays = stage.kind in (Kind.GENERATE, Kind.SAMPLE, Kind.JUDGE, Kind.DPO)
    return replace(stage, waits=(ANCHORS,)) if pays and spec.anchors is not None else stage


def _generate(resource: MoAA, i: int, opening: tuple[str, ...]) -> Stage:
    stage = _stage(i, Kind.GENERATE, needs=[*opening])
    if not uses_mixture(resource.spec):
        return stage
    return _mixed(resource, stage)


def _sample(resource: MoAA, i: int, opening: tuple[str, ...], student: str) -> Stage:
    """`student` is the one that DPO starts from."""
    match declared_dpo(resource).samples_from:
        case SamplesFrom.STUDENT:
            return _stage(i, Kind.SAMPLE, needs=[*opening, *_makers(student)], student=student, serves=(student,))
        case SamplesFrom.MIXTURE:
            return _mixed(resource, _stage(i, Kind.SAMPLE, needs=[*opening]))
        case other:
            assert_never(other)


def _mixed(resource: MoAA, stage: Stage) -> Stage:
    """A stage whose rows the mixture answers."""
    names = mixture_method(resource, stage).models
    student = promoted(resource.spec, stage.iteration)
    return replace(stage, serves=names, student=student if student in names else None)


def _judge(resource: MoAA, i: int, opening: tuple[str, ...]) -> Stage:
    stage = _stage(i, Kind.JUDGE, needs=[*opening, stage_id(i, Kind.SAMPLE)])
    return replace(stage, serves=judge_method(resource, stage).models)


def _base_evaluate(resource: MoAA) -> Stage:
    """Iteration 0: the base student, the baselines, and with `members` every model of the mixture and the mixture."""
    spec = resource.spec
    stage = _stage(0, Kind.EVALUATE, needs=[RESOLVE, STAGE_DATA], student=spec.student)
    yardsticks = [measure(benchmark, resource, stage).yardstick for benchmark in benchmarks(spec)]
    names = [spec.student, *(name for name in yardsticks if name is not None)]
    if spec.evaluation.members and spec.mixture is not None:
        names += mixture_method(resource, stage).models
    return replace(stage, serves=tuple(_once([*names, *_evaluation_judges(resource, stage)])))


def _evaluate(resource: MoAA, i: int, student: str) -> Stage | None:
    """One student on every benchmark. Baselines' answers are read from iteration 0, so only judges serve beside it."""
    if not benchmarks(resource.spec):
        return None
    kind = (made_by(student) or "").rpartition("-")[2]
    opening = [RESOLVE, STAGE_DATA, *_makers(promoted(resource.spec, i)), BASE_EVALUATE]
    stage = _stage(i, Kind.EVALUATE, suffix=kind, needs=[*opening, *_makers(student)], student=student)
    return replace(stage, serves=tuple(_once([student, *_evaluation_judges(resource, stage)])))


def _evaluation_judges(resource: MoAA, stage: Stage) -> list[str]:
    judges = [measure(benchmark, resource, stage).judge for benchmark in benchmarks(resource.spec)]
    return [name for judge in judges if judge is not None for name in method_of(judge).models]


def _stage(
    i: int,
    kind: Kind,
    *,
    needs: Iterable[str],
    suffix: str = "",
    student: str | None = None,
    ref_model: str | None = None,
    serves: tuple[str, ...] = (),
    candidates: tuple[str, ...] = (),
) -> Stage:
    name = stage_id(i, kind, suffix)
    return Stage(name, kind, i, tuple(_once(needs)), serves, student, ref_model, candidates)


def _makers(student: str) -> list[str]:
    maker = made_by(student)
    return [maker] if maker else []


def _once(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
