"""Which judges of a resource are measured: those it declares, equal ones once, and each of their models alone.

A model alone is the judge that a user could declare in the mixture's place: method Single, the same criteria, the same
form of verdict. A judge that names `$student` is measured with the declared student.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import assert_never

from moaa.api import STUDENT, MoAASpec
from moaa.api.mixture import Judge, JudgeMethod, JudgeModel
from moaa.benchmark.measures import measure_of
from moaa.judge.method import Method
from moaa.judge.methods import method_of

TRAINING = "training judge"


@dataclass(frozen=True)
class MeasuredJudge:
    name: str
    """`training judge`, `judge of <benchmark>`, or the model that is measured alone; unique."""
    judge: Judge
    """With the declared student in place of `$student`."""
    fields: tuple[str, ...] = ()
    """Where the resource declares it; empty of a model that is measured alone for comparison."""
    members: tuple[str, ...] = ()
    """Names of its judges, each measured alone; empty where one model gives the verdict by itself."""
    is_student: bool = False
    """It names `$student`."""

    @property
    def method(self) -> Method:
        return method_of(self.judge)

    @property
    def place(self) -> str:
        """What the names of its calls begin with: the same for an equal judge under another name."""
        return sha256(_key(self.judge).encode()).hexdigest()[:12]

    @property
    def is_trainer(self) -> bool:
        return self.name == TRAINING


@dataclass(frozen=True)
class _Declared:
    name: str
    field: str
    judge: Judge
    is_student: bool


def measured_judges(spec: MoAASpec, resolved: Callable[[Judge], Judge]) -> list[MeasuredJudge]:
    """Declared judges in the order of the resource, then their models alone; empty where nothing is judged.

    `resolved` replaces `$student` among judges.
    """
    found: dict[str, MeasuredJudge] = {}
    for one in _declared(spec, resolved):
        known = found.get(_key(one.judge))
        fields, name = ((*known.fields, one.field), known.name) if known else ((one.field,), one.name)
        is_student = one.is_student or (known is not None and known.is_student)
        found[_key(one.judge)] = MeasuredJudge(name, one.judge, fields, is_student=is_student)
    for key, whole in list(found.items()):
        names = [_member(model, whole, found).name for model in _models(whole.judge)]
        found[key] = replace(whole, members=tuple(names))
    return list(found.values())


def _member(model: JudgeModel, whole: MeasuredJudge, found: dict[str, MeasuredJudge]) -> MeasuredJudge:
    """The model alone, added to `found` unless an equal judge is there already."""
    alone = _alone(whole.judge, model)
    taken = {other.name for other in found.values()}
    name = model.model if model.model not in taken else f"{model.model} as in {whole.name}"
    return found.setdefault(_key(alone), MeasuredJudge(name, alone))


def _declared(spec: MoAASpec, resolved: Callable[[Judge], Judge]) -> Iterator[_Declared]:
    if spec.judge is not None and spec.training.dpo is not None:
        yield _Declared(TRAINING, "spec.judge", resolved(spec.judge), STUDENT in spec.judge.models)
    for group, benchmarks in (("selection", spec.evaluation.selection), ("report", spec.evaluation.report)):
        for number, benchmark in enumerate(benchmarks):
            given = measure_of(benchmark, student=spec.student).judge
            if given is not None:
                field = f"spec.evaluation.{group}[{number}].judge"
                yield _Declared(f"judge of {benchmark.name}", field, resolved(given), STUDENT in given.models)


def _models(judge: Judge) -> list[JudgeModel]:
    """Models of a judge to measure alone, each once; of a meta-judge that is a judge, too, as the meta-judge."""
    match judge.method:
        case JudgeMethod.MIXTURE:
            assert judge.aggregator is not None, "the resource's validation asks for one"
            return list({one.model: one for one in (*judge.judges, judge.aggregator)}.values())
        case JudgeMethod.PANEL:
            return list({one.model: one for one in judge.judges}.values())
        case JudgeMethod.SINGLE:
            return []
        case _:
            assert_never(judge.method)


def _alone(judge: Judge, model: JudgeModel) -> Judge:
    """The panel's judges get all criteria, and so does one of them alone."""
    is_panel = judge.method is JudgeMethod.PANEL
    return judge.model_copy(
        update={
            "method": JudgeMethod.SINGLE,
            "judges": [],
            "aggregator": model,
            "criteria": 0 if is_panel else judge.criteria,
            "min_judges": None,
        }
    )


def _key(judge: Judge) -> str:
    """The same for judges that ask the same."""
    ignored = {*method_of(judge).without_effect, "allowStudent"}
    said = judge.model_dump(mode="json", by_alias=True)
    return json.dumps({name: value for name, value in said.items() if name not in ignored}, sort_keys=True)
