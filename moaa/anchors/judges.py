"""Which judges of a resource are measured: those it declares, equal ones once, and each of their models alone.

A model alone is the judge that a user could declare in the mixture's place: method Single, the same criteria, the same
form of verdict. A judge that names `$student` is measured with the declared student. A benchmark that asks its judge in
a way of its own is measured in that way.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import assert_never

from moaa.api import STUDENT, MoAASpec
from moaa.api.evaluation import AlpacaEval, AnyBenchmark, ArenaHard, ExactMatch, Instructions, LmEval, MtBench, Pairwise
from moaa.api.mixture import Comparisons, CriteriaFor, Judge, JudgeMethod, JudgeModel, parts_of
from moaa.asking.load import Load
from moaa.benchmark.measure import Measure
from moaa.benchmark.measures import judging_alone, measure_of
from moaa.judge.method import Method
from moaa.judge.methods import method_of

TRAINING = "training judge"
Asking = AlpacaEval | ArenaHard | MtBench
"""Benchmarks that ask one judge in a way of their own."""


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
    asks: Asking | None = None
    """The benchmark whose own question it is asked; None: a judge's method decides."""

    @property
    def method(self) -> Method:
        """Of a judge that decides by one."""
        return method_of(self.judge)

    @property
    def measure(self) -> Measure:
        """Of a judge that is asked in a benchmark's way."""
        assert self.asks is not None, f"{self.name}: a method decides"
        return measure_of(self.asks, student="", resolved=lambda _: self.judge)

    @property
    def form(self) -> str:
        """How it decides, in the report's words: its method, or the benchmark's type."""
        return str(self.judge.method) if self.asks is None else self.asks.type

    @property
    def models(self) -> tuple[str, ...]:
        return self.method.models

    @property
    def prompts(self) -> tuple[str, ...]:
        """Names of the templates that it fills."""
        return self.method.prompts if self.asks is None else self.measure.prompts

    def loads(self, pairs: int, *, answer_tokens: int) -> Iterator[Load]:
        """Calls that decide `pairs` pairs in both orders; answers that are graded by themselves, each once."""
        match self.asks:
            case None:
                yield from self.method.duel_loads(pairs, answer_tokens=answer_tokens)
            case AlpacaEval():
                yield from self.measure.loads(pairs if self.asks.both_orders else 2 * pairs)
            case ArenaHard():
                yield from self.measure.loads(pairs)
            case MtBench():
                yield next(self.measure.loads(2 * pairs))  # of one turn
            case _:
                assert_never(self.asks)

    @property
    def manner(self) -> dict[str, str]:
        """How it decides, as far as its `judge` does not say."""
        match self.asks:
            case None | AlpacaEval():
                return {"form": self.form}
            case ArenaHard():
                return {"form": self.form, "version": self.asks.version, "judgeSystem": self.asks.judge_system or ""}
            case MtBench():
                return {"form": self.form, "judgeSystem": self.asks.judge_system or ""}
            case _:
                assert_never(self.asks)

    @property
    def key(self) -> str:
        """The same for judges that ask the same."""
        ignored = {*self.method.without_effect, "allowStudent"}
        # A field that came later is left out at its default: names of calls hang on this key.
        later = {"criteria_for"} if self.judge.criteria_for is CriteriaFor.PAIR else set()
        later |= {"reward_model"} if self.judge.reward_model is None else set()
        said = self.judge.model_dump(mode="json", by_alias=True, exclude=later)
        asked = {name: value for name, value in said.items() if name not in ignored}
        return json.dumps({**self.manner, **asked}, sort_keys=True)

    @property
    def place(self) -> str:
        """What the names of its calls begin with: the same for an equal judge under another name."""
        return sha256(self.key.encode()).hexdigest()[:12]

    @property
    def is_trainer(self) -> bool:
        return self.name == TRAINING


def measured_judges(spec: MoAASpec, resolved: Callable[[Judge], Judge]) -> list[MeasuredJudge]:
    """Declared judges in the order of the resource, then their models alone; empty where nothing is judged.

    `resolved` replaces `$student` among judges. A pair is one comparison, so judges that differ only in which of many
    they skip are one judge. A reward model that orders answers for others is a judge of its own.
    """
    found: dict[str, MeasuredJudge] = {}
    for one in _declared(spec, lambda judge: _comparing_all(resolved(judge))):
        known = found.setdefault(one.key, one)
        if known is not one:
            is_student = known.is_student or one.is_student
            found[one.key] = replace(known, fields=(*known.fields, *one.fields), is_student=is_student)
    for key, whole in list(found.items()):
        names = [_member(model, whole, found).name for model in _models(whole.judge)]
        found[key] = replace(whole, members=tuple(names))
    return list(found.values())


def _comparing_all(judge: Judge) -> Judge:
    """Without what is asked only to choose which pairs are compared."""
    seed = {"reward_model": None} if judge.comparisons is Comparisons.SEEDED else {}
    return judge.model_copy(update={"comparisons": Comparisons.ROUND_ROBIN, **seed})


def _member(model: JudgeModel, whole: MeasuredJudge, found: dict[str, MeasuredJudge]) -> MeasuredJudge:
    """The model alone, added to `found` unless an equal judge is there already."""
    taken = {other.name for other in found.values()}
    name = model.model if model.model not in taken else f"{model.model} as in {whole.name}"
    alone = MeasuredJudge(name, _alone(whole.judge, model))
    return found.setdefault(alone.key, alone)


def _declared(spec: MoAASpec, resolved: Callable[[Judge], Judge]) -> Iterator[MeasuredJudge]:
    chooses = spec.mixture is not None and parts_of(spec.mixture.method).has_judge
    if spec.judge is not None and (spec.training.dpo is not None or chooses):
        yield MeasuredJudge(TRAINING, resolved(spec.judge), ("spec.judge",), is_student=STUDENT in spec.judge.models)
        if spec.judge.comparisons is Comparisons.SEEDED:
            assert spec.judge.reward_model is not None, "the resource's validation asks for one"
            alone = Judge(method=JudgeMethod.REWARD_MODEL, reward_model=spec.judge.reward_model)
            yield MeasuredJudge(spec.judge.reward_model, alone, ("spec.judge.rewardModel",))
    groups: tuple[tuple[str, Sequence[AnyBenchmark]], ...] = (
        ("selection", spec.evaluation.selection),
        ("report", spec.evaluation.report),
    )
    for group, benchmarks in groups:
        for number, benchmark in enumerate(benchmarks):
            yield from _of_benchmark(benchmark, f"spec.evaluation.{group}[{number}]", resolved)


def _of_benchmark(benchmark: AnyBenchmark, field: str, resolved: Callable[[Judge], Judge]) -> Iterator[MeasuredJudge]:
    name = f"judge of {benchmark.name}"
    match benchmark:
        case ExactMatch() | LmEval() | Instructions():
            return
        case Pairwise():
            judge = benchmark.judge
            is_student = STUDENT in judge.models
            yield MeasuredJudge(name, resolved(judge), (f"{field}.judge",), is_student=is_student)
        case AlpacaEval() | ArenaHard() | MtBench():
            judge = judging_alone(benchmark.judge_model)
            yield MeasuredJudge(name, judge, (f"{field}.judgeModel",), asks=benchmark)
        case _:
            assert_never(benchmark)


def _models(judge: Judge) -> list[JudgeModel]:
    """Models of a judge to measure alone, each once; of a meta-judge that is a judge, too, as the meta-judge."""
    everybody = [*judge.judges, *([judge.aggregator] if judge.aggregator else [])]
    return list({one.model: one for one in everybody}.values()) if judge.judges else []


def _alone(judge: Judge, model: JudgeModel) -> Judge:
    """Where no aggregator chooses criteria, judges get all of them, and so does one of them alone."""
    return judge.model_copy(
        update={
            "method": JudgeMethod.SINGLE,
            "judges": [],
            "aggregator": model,
            "criteria": judge.criteria if judge.aggregator else 0,
            "min_judges": None,
        }
    )
