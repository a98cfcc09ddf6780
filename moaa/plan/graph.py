"""The static graph of a run: which stages there are, what each reads, which models must answer while it runs.

`build` is a function of the resource alone. Its invariants: every stage comes after those it needs; `$student` and
`start` are resolved, so that a stage names its models by declared name or by the stage that made them; the first
stages of an iteration need the promotion that closed the one before, so that one iteration at a time is open and an
edit has one place to act.

Outputs by which stages read one another: stage-data writes the tables of `moaa.plan.slices`, generate
`conversations`, sample `samples`, judge `pairs` (and `rankings`), evaluate `answers` and `scores`, sft and dpo the
folder `model`, promote `model` (the winner's) and `scores` (the winner's rows).
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

from moaa.api import STUDENT, MoAA, MoAASpec
from moaa.api.data import Answers
from moaa.api.evaluation import AnyBenchmark, Pairwise
from moaa.api.mixture import Aggregator, Judge, JudgeModel, Mixture, Proposer
from moaa.api.resource import Start
from moaa.api.training import RefModel
from moaa.plan.stage import Graph, Kind, Stage

RESOLVE = "i0-resolve"
STAGE_DATA = "i0-stage-data"
BASE_EVALUATE = "i0-evaluate"

PartT = TypeVar("PartT", Proposer, Aggregator, JudgeModel)


def stage_id(iteration: int, kind: Kind, suffix: str = "") -> str:
    return f"i{iteration}-{kind}{'-' + suffix if suffix else ''}"


def made_by(student: str) -> str | None:
    """The stage that made a student (`@i1-sft` gives `i1-sft`), or None for a declared model."""
    return student[1:] if student.startswith("@") else None


def benchmarks(spec: MoAASpec) -> list[AnyBenchmark]:
    """Selection benchmarks, then those that are only reported."""
    return [*spec.evaluation.selection, *spec.evaluation.report]


def uses_mixture(spec: MoAASpec) -> bool:
    """Whether generate asks the mixture at all; False when every source trains on the answers that are there."""
    return any(source.answers is Answers.MIXTURE for source in spec.data.sft)


def promoted(spec: MoAASpec, iteration: int) -> str:
    """`$student` in an iteration: the declared student in the first, then whom the iteration before promoted."""
    return spec.student if iteration <= 1 else f"@{stage_id(iteration - 1, Kind.PROMOTE)}"


def resolved_mixture(resource: MoAA, stage: Stage) -> Mixture:
    """The mixture a stage asks, with `$student` replaced and, from the second iteration on, added where asked for.

    Names may be `@stage` afterwards, which the resource itself does not allow.

    Raises:
        ValueError: the resource has no mixture (a checked resource that needs one does).
    """
    mixture = resource.spec.mixture
    if mixture is None:
        raise ValueError(f"spec.mixture: {stage.id} needs one and there is none; declare it")
    student = promoted(resource.spec, stage.iteration)
    layers = [[_as_student(p, student) for p in layer.proposers] for layer in mixture.layers]
    if mixture.add_student and stage.iteration > 1:
        joined = Proposer.model_validate({"model": STUDENT, **dict(mixture.student_sampling)})
        layers[0].append(_as_student(joined, student))
    return mixture.model_copy(
        update={
            "layers": [
                layer.model_copy(update={"proposers": p}) for layer, p in zip(mixture.layers, layers, strict=True)
            ],
            "aggregator": _as_student(mixture.aggregator, student),
        }
    )


def resolved_judge(judge: Judge, resource: MoAA, stage: Stage) -> Judge:
    """A judge with `$student` replaced by the student that the stage's iteration started with."""
    student = promoted(resource.spec, stage.iteration)
    return judge.model_copy(
        update={
            "judges": [_as_student(j, student) for j in judge.judges],
            "aggregator": _as_student(judge.aggregator, student) if judge.aggregator else None,
        }
    )


def mixture_models(mixture: Mixture) -> list[str]:
    """Models of a mixture, each once, in the order in which a row needs them."""
    names = [p.model for layer in mixture.layers for p in layer.proposers]
    return _once([*names, mixture.aggregator.model])


def build(resource: MoAA) -> Graph:
    """The graph of a checked resource."""
    spec = resource.spec
    stages = [
        Stage(RESOLVE, Kind.RESOLVE, 0),
        Stage(STAGE_DATA, Kind.STAGE_DATA, 0, needs=(RESOLVE,)),
    ]
    if benchmarks(spec):
        stages.append(_base_evaluate(resource))
    for iteration in range(1, spec.iterations + 1):
        stages += _iteration(resource, iteration)
    return Graph({stage.id: stage for stage in stages})


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
        yield _stage(i, Kind.SAMPLE, needs=[*opening, *_makers(student)], student=student, serves=(student,))
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
    previous = [BASE_EVALUATE] if benchmarks(spec) and i == 1 else []
    yield _stage(
        i,
        Kind.PROMOTE,
        needs=[*opening, *previous, *(m for c in candidates for m in _makers(c)), *closes],
        candidates=tuple(candidates),
    )


def _generate(resource: MoAA, i: int, opening: tuple[str, ...]) -> Stage:
    stage = _stage(i, Kind.GENERATE, needs=[*opening])
    if not uses_mixture(resource.spec):
        return stage
    names = mixture_models(resolved_mixture(resource, stage))
    student = promoted(resource.spec, i)
    return replace(stage, serves=tuple(names), student=student if student in names else None)


def _judge(resource: MoAA, i: int, opening: tuple[str, ...]) -> Stage:
    stage = _stage(i, Kind.JUDGE, needs=[*opening, stage_id(i, Kind.SAMPLE)])
    if resource.spec.judge is None:
        raise ValueError("spec.judge: dpo needs one and there is none; declare it")
    return replace(stage, serves=tuple(resolved_judge(resource.spec.judge, resource, stage).models))


def _base_evaluate(resource: MoAA) -> Stage:
    """Iteration 0: the base student, the baselines, and with `members` every model of the mixture and the mixture."""
    spec = resource.spec
    stage = _stage(0, Kind.EVALUATE, needs=[RESOLVE, STAGE_DATA], student=spec.student)
    names = [spec.student, *(b.baseline for b in benchmarks(spec) if isinstance(b, Pairwise) and b.baseline != "$base")]
    if spec.evaluation.members and spec.mixture is not None:
        names += mixture_models(resolved_mixture(resource, stage))
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
    judges = [b.judge for b in benchmarks(resource.spec) if isinstance(b, Pairwise)]
    return [name for judge in judges for name in resolved_judge(judge, resource, stage).models]


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


def _as_student(part: PartT, student: str) -> PartT:
    return part.model_copy(update={"model": student}) if part.model == STUDENT else part
