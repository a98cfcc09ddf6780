"""Which model `$student` is in a stage, and mixtures, judges and benchmarks with it replaced."""

from typing import TypeVar

from moaa.api import STUDENT, MoAA, MoAASpec
from moaa.api.evaluation import AnyBenchmark
from moaa.api.mixture import Aggregator, Judge, JudgeModel, Mixture, Proposer
from moaa.api.training import Dpo
from moaa.benchmark.measure import Measure
from moaa.benchmark.measures import measure_of
from moaa.judge.method import Method
from moaa.judge.methods import method_of
from moaa.mixture import methods as answers
from moaa.mixture.method import Method as AnswerMethod
from moaa.plan.ids import stage_id
from moaa.plan.stage import Kind, Stage

PartT = TypeVar("PartT", Proposer, Aggregator, JudgeModel)


def promoted(spec: MoAASpec, iteration: int) -> str:
    """`$student` in an iteration: the declared student in the first, then the one that the iteration before
    promoted."""
    return spec.student if iteration <= 1 else f"@{stage_id(iteration - 1, Kind.PROMOTE)}"


def resolved_mixture(resource: MoAA, stage: Stage) -> Mixture:
    """The mixture that a stage asks, with `$student` replaced and, from the second iteration on, added if the resource
    says so.

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
            "aggregator": _as_student(mixture.aggregator, student) if mixture.aggregator else None,
        }
    )


def declared_dpo(resource: MoAA) -> Dpo:
    """Raises ValueError: the resource has none (one whose graph has stages of DPO does)."""
    dpo = resource.spec.training.dpo
    if dpo is None:
        raise ValueError("spec.training.dpo: its stages belong to it and there is none")
    return dpo


def mixture_method(resource: MoAA, stage: Stage) -> AnswerMethod:
    """The method by which a stage's mixture answers.

    Raises:
        ValueError: the resource has no mixture (a checked resource that needs one does).
    """
    judge = resource.spec.judge
    return answers.method_of(
        resolved_mixture(resource, stage),
        judge=None if judge is None else resolved_judge(judge, resource, stage),
        seed=resource.spec.seed,
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


def judge_method(resource: MoAA, stage: Stage) -> Method:
    """The method by which a stage ranks the student's samples.

    Raises:
        ValueError: the resource has no judge (a checked resource that needs one does).
    """
    if resource.spec.judge is None:
        raise ValueError("spec.judge: dpo needs one and there is none; declare it")
    return method_of(resolved_judge(resource.spec.judge, resource, stage))


def measure(benchmark: AnyBenchmark, resource: MoAA, stage: Stage) -> Measure:
    """How a stage scores the answers to a benchmark."""
    return measure_of(
        benchmark, student=resource.spec.student, resolved=lambda judge: resolved_judge(judge, resource, stage)
    )


def _as_student(part: PartT, student: str) -> PartT:
    return part.model_copy(update={"model": student}) if part.model == STUDENT else part
