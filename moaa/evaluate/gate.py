"""Who is promoted: paired gains over the previous student, and the rule that a gain must pass. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from moaa.api.evaluation import Evaluation, GateRule
from moaa.evaluate.statistics import Estimate, Scores, gain, paired

MIN_QUESTIONS = 20
"""Of each selection benchmark, for LowerBound: a bootstrap sees no more spread than its questions show, and a handful
that happen to agree show none."""


@dataclass(frozen=True)
class Decision:
    """`winner` is a key of the candidates, or None: the previous student stays."""

    winner: str | None
    gains: Mapping[str, Estimate]
    """Of every candidate over the previous student; empty without selection benchmarks."""
    reason: str
    """For the log and the report."""


def decide(
    previous: Mapping[str, Scores], candidates: Mapping[str, Mapping[str, Scores]], evaluation: Evaluation
) -> Decision:
    """Pick the candidate with the highest gain among those that pass; ties go to the earlier.

    Scores are by selection benchmark and row id. A candidate passes when the figure that `gate.rule` names, the mean
    gain or the lower end of its interval, is enough: a mean of at least `gate.minGain`, a lower end above it. A lower
    end from fewer than MIN_QUESTIONS questions of a benchmark never passes. Without selection benchmarks the last
    candidate, the last one trained, wins.

    Raises:
        ValueError: there is no candidate, or two students have no question of a benchmark in common.
    """
    if not candidates:
        raise ValueError("promotion needs at least one candidate")
    if not evaluation.selection:
        last = list(candidates)[-1]
        return Decision(last, {}, f"{last} was trained last, and there is no selection benchmark to compare by")
    gains = {
        name: gain(scores, previous, resamples=evaluation.bootstrap, confidence=float(evaluation.confidence))
        for name, scores in candidates.items()
    }
    rule, floor = evaluation.gate.rule, float(evaluation.gate.min_gain)
    figures = {
        name: figure_of(estimate, rule, fewest=fewest_questions(candidates[name], previous))
        for name, estimate in gains.items()
    }
    passing = {name: figure for name, figure in figures.items() if figure is not None and passes(figure, rule, floor)}
    what, does = ("mean gain", "reaches") if rule is GateRule.MEAN else ("lower bound of the gain", "is above")
    if not passing:
        seen = ", ".join(f"{name} {_figure(figure)}" for name, figure in figures.items())
        return Decision(None, gains, f"no {what} {does} {floor:+.4f}: {seen}")
    winner = max(passing, key=passing.__getitem__)  # the first of equals
    return Decision(winner, gains, f"{winner}: {what} {passing[winner]:+.4f} {does} {floor:+.4f}")


def fewest_questions(candidate: Mapping[str, Scores], previous: Mapping[str, Scores]) -> int:
    """Questions that both have a score for, in the benchmark that has the fewest of them."""
    return min(len(paired(scores, previous[name])) for name, scores in candidate.items())


def figure_of(gain: Estimate, rule: GateRule, *, fewest: int) -> float | None:
    """What the rule looks at; None where too few questions show it."""
    if rule is GateRule.MEAN:
        return _rounded(gain.mean)
    return _rounded(gain.low) if fewest >= MIN_QUESTIONS else None


def passes(figure: float, rule: GateRule, floor: float) -> bool:
    """A lower end of 0 does not show a gain, so that it has to be above the floor."""
    return figure >= floor if rule is GateRule.MEAN else figure > floor


def _rounded(figure: float | None) -> float | None:
    """Without the last digits of floats, so that 3/10 reaches 0.3 and equal gains tie whatever the order of sums."""
    return None if figure is None else round(figure, 12)


def _figure(figure: float | None) -> str:
    return f"unknown (fewer than {MIN_QUESTIONS} questions)" if figure is None else f"{figure:+.4f}"
