"""What the gate will be able to see: questions of each iteration, and the least gain that they show."""

from collections.abc import Iterator, Mapping

from moaa.api import MoAA
from moaa.api.evaluation import MIN_QUESTIONS, AnyBenchmark, GateRule
from moaa.plan.evidence import (
    FRESH_QUESTIONS,
    POWER,
    candidates_of,
    least_gain,
    level_of,
    questions_for,
    shares_of,
)

GAIN = 0.03
"""The gain whose questions are counted where there are too few for it."""


def gate_sentences(resource: MoAA, counts: Mapping[str, int]) -> Iterator[str]:
    """Sentences on every selection benchmark whose questions are known and enough for any gain to count, under the rule
    that asks for evidence. `counts` are rows of stage-data's tables, as far as they are known."""
    spec = resource.spec
    sizes = {benchmark.name: _questions(benchmark, counts) for benchmark in spec.evaluation.selection}
    if not sizes or spec.evaluation.gate.rule is not GateRule.LOWER_BOUND:
        return
    level, comparisons = level_of(spec), candidates_of(spec) * spec.iterations
    error = (1 - float(spec.evaluation.confidence)) / 2
    yield (
        f"{_counted(comparisons, 'comparison')} ({_counted(candidates_of(spec), 'candidate')} × "
        f"{_counted(spec.iterations, 'iteration')}) at a lower bound of {_percent(1 - level)} each: at most "
        f"{_percent(error)} of such runs promote a student that is no better"
    )
    for benchmark in spec.evaluation.selection:
        size = sizes[benchmark.name]
        if size is not None and size >= MIN_QUESTIONS:
            yield f"{benchmark.name}: {_told(benchmark, size, spec.iterations, level)}"


def _told(benchmark: AnyBenchmark, size: int, iterations: int, level: float) -> str:
    shares = shares_of(size, iterations)
    questions = size // shares
    found = least_gain(questions, level, samples=benchmark.samples)
    text = (
        f"{questions:,} questions an iteration{_whose(shares, iterations)}: a gain of {100 * found:.1f} points shows "
        f"in {_percent(POWER)} of cases, with an assumed spread"
    )
    if found > GAIN:
        needed = questions_for(GAIN, level, samples=benchmark.samples)
        text += f"; {100 * GAIN:.0f} points take {needed:,} questions an iteration"
        text += ", or several samples of each" if benchmark.samples == 1 else ""
    return text


def _whose(shares: int, iterations: int) -> str:
    if iterations == 1:
        return ""
    if shares > 1:
        return " of its own"
    return f", the same in all (there are fewer than {iterations} × {FRESH_QUESTIONS:,})"


def _questions(benchmark: AnyBenchmark, counts: Mapping[str, int]) -> int | None:
    """None while they are unknown; a source may have fewer than its `limit`."""
    sizes = [size for size in (benchmark.limit, counts.get(f"eval-{benchmark.name}")) if size is not None]
    return min(sizes) if sizes else None


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' if count != 1 else ''}"
