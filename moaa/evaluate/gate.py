"""Who is promoted: paired gains over the previous student, and the rule that a gain must pass. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from moaa.api.evaluation import Evaluation, GateRule
from moaa.evaluate.statistics import Estimate, Scores, gain


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
    gain or the lower end of its interval, is at least `gate.minGain`; a lower end that does not exist (fewer than two
    questions) never passes. Without selection benchmarks the last candidate, the last one trained, wins.

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
    figures = {
        name: _rounded(estimate.mean if evaluation.gate.rule is GateRule.MEAN else estimate.low)
        for name, estimate in gains.items()
    }
    floor = float(evaluation.gate.min_gain)
    passing = {name: figure for name, figure in figures.items() if figure is not None and figure >= floor}
    what = "mean gain" if evaluation.gate.rule is GateRule.MEAN else "lower bound of the gain"
    if not passing:
        seen = ", ".join(f"{name} {_figure(figure)}" for name, figure in figures.items())
        return Decision(None, gains, f"no {what} reaches {floor:+.4f}: {seen}")
    winner = max(passing, key=passing.__getitem__)  # the first of equals
    return Decision(winner, gains, f"{winner}: {what} {passing[winner]:+.4f} reaches {floor:+.4f}")


def _rounded(figure: float | None) -> float | None:
    """Without the last digits of floats, so that 3/10 reaches 0.3 and equal gains tie whatever the order of sums."""
    return None if figure is None else round(figure, 12)


def _figure(figure: float | None) -> str:
    return "unknown" if figure is None else f"{figure:+.4f}"
