"""Where benchmarks are registered: a declared benchmark becomes a measure that can score."""

from collections.abc import Callable
from typing import assert_never

from moaa.api.base import BASE_STUDENT, GIVEN_ANSWERS
from moaa.api.evaluation import AlpacaEval, AnyBenchmark, ArenaHard, ExactMatch, MtBench, Pairwise
from moaa.api.mixture import BenchmarkJudge, FinalSampling, Judge, JudgeMethod
from moaa.benchmark.alpaca_eval import AlpacaEvalMeasure
from moaa.benchmark.arena_hard import ArenaHardMeasure
from moaa.benchmark.exact_match import ExactMatchMeasure
from moaa.benchmark.measure import Measure
from moaa.benchmark.mt_bench import MtBenchMeasure, sampling_by_category
from moaa.benchmark.pairwise import PairwiseMeasure
from moaa.rows import PromptRow


def as_declared(judge: Judge) -> Judge:
    return judge


def judging_alone(model: BenchmarkJudge) -> Judge:
    """A benchmark's one judge, who decides by the benchmark's own prompt, as plan and report know judges."""
    return Judge(method=JudgeMethod.SINGLE, aggregator=model, criteria=0)


def measure_of(benchmark: AnyBenchmark, *, student: str, resolved: Callable[[Judge], Judge] = as_declared) -> Measure:
    """The measure of `benchmark`. `student` is the declared student, which `$base` stands for. `resolved` replaces
    `$student` among judges before they are asked."""
    match benchmark:
        case ExactMatch():
            return ExactMatchMeasure()
        case Pairwise():
            yardsticks = {BASE_STUDENT: student, GIVEN_ANSWERS: None}
            yardstick = yardsticks.get(benchmark.baseline, benchmark.baseline)
            return PairwiseMeasure(benchmark, resolved(benchmark.judge), yardstick)
        case AlpacaEval():
            return AlpacaEvalMeasure(benchmark, resolved(judging_alone(benchmark.judge_model)))
        case ArenaHard():
            return ArenaHardMeasure(benchmark, resolved(judging_alone(benchmark.judge_model)))
        case MtBench():
            return MtBenchMeasure(benchmark, resolved(judging_alone(benchmark.judge_model)))
        case _:
            assert_never(benchmark)


def sampling_of(benchmark: AnyBenchmark, row: PromptRow) -> FinalSampling:
    """How a model is asked for its answer to a row."""
    match benchmark:
        case MtBench():
            return sampling_by_category(benchmark, row)
        case ExactMatch() | Pairwise() | AlpacaEval() | ArenaHard():
            return benchmark.sampling
        case _:
            assert_never(benchmark)
