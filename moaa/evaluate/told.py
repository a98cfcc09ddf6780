"""What decided a promotion, in words: the one source for the log, the manifest, the status and the report. Pure."""

from collections.abc import Iterator, Mapping
from decimal import Decimal

from moaa.api.evaluation import FEW_QUESTIONS, MIN_QUESTIONS, Evaluation, GateRule
from moaa.evaluate.drift import drift_text
from moaa.evaluate.forgetting import loss_text
from moaa.evaluate.gate import Compared, Decision, figure_of, is_strict

ROUNDING = 1e-6
"""Percentage points that means of equal scores may differ by, since sums of floats are rounded."""


def points(value: float) -> str:
    """A difference of scores in percentage points: 0.031 is "+3.1", −0.02 is "−2.0", 0 is "0.0".

    One that would round to zero keeps its first digit, 0.0004 is "+0.04": on which side of zero it lies may decide.
    """
    exact = 100 * value
    if abs(exact) < ROUNDING:
        return "0.0"
    text = f"{exact:+.1f}"
    return (text if float(text) else f"{Decimal(f'{exact:.1g}'):+f}").replace("-", "−")


def decided(decision: Decision, evaluation: Evaluation, names: Mapping[str, str]) -> str:
    """Who is promoted and why, in a sentence or two. `names` are the candidates' for readers."""
    rule, floor = evaluation.gate.rule, float(evaluation.gate.min_gain)
    winner = decision.winner
    if winner is not None and not decision.compared:
        return f"{names[winner]} is promoted: it was trained last, and there is no selection benchmark to compare by."
    what = "mean gain" if rule is GateRule.MEAN else f"lower {sureness(decision.level)} bound of the gain"
    does = "is above" if is_strict(rule, floor) else "reaches"
    bar = f"{100 * floor:.1f} points that the gate asks for"
    if winner is None:
        seen = "; ".join(f"{names[name]}: {_seen(one, rule)}" for name, one in decision.compared.items())
        barred = " without forgetting" if any(one.forgotten for one in decision.compared.values()) else ""
        return f"The previous student stays: no candidate's {what} {does} the {bar}{barred} ({seen})."
    won = decision.compared[winner]
    best = ", the highest of the candidates" if len(decision.compared) > 1 else ""
    figure = f"{what} over the previous student, {_figure(won, rule)}{best}"
    text = f"{names[winner]} is promoted: its {figure}, {does} the {bar}."
    if won.gain.low is not None and won.gain.high is not None and won.gain.low <= 0:
        spread = f"{points(won.gain.low)} to {points(won.gain.high)}"
        text += f" Its interval, {spread}, holds zero: the gain may be chance, and rule {rule} accepts that."
    return " ".join([text, *(f"But {drift_text(drift)}." for drift in won.drifts)])


def doubts(decision: Decision, names: Mapping[str, str]) -> list[str]:
    """What a reader should know of the figures that decided: benchmarks that were too small, win rates read raw."""
    return list(dict.fromkeys((*_few(decision), *_raw(decision, names))))


def _few(decision: Decision) -> Iterator[str]:
    for one in decision.compared.values():
        for benchmark, count in one.questions.items():
            if count < MIN_QUESTIONS:
                yield f"nobody could be promoted by {benchmark}: {count} questions; {FEW_QUESTIONS}"


def _raw(decision: Decision, names: Mapping[str, str]) -> Iterator[str]:
    for name, one in decision.compared.items():
        for benchmark in one.uncontrolled:
            yield (
                f"raw win rates on {benchmark} decided over {names[name]}, not those at equal length: the lengths of "
                "the answers are not all known"
            )


def sureness(level: float) -> str:
    """How sure a bound is that chance passes with this probability, `99.5 %`."""
    return f"{100 * (1 - level):.4g} %"


def _seen(compared: Compared, rule: GateRule) -> str:
    """The figure, what bars the candidate, and what else changed about its answers."""
    losses = [loss_text(name, loss) for name, loss in compared.forgotten.items()]
    return ", ".join([_figure(compared, rule), *losses, *map(drift_text, compared.drifts)])


def _figure(compared: Compared, rule: GateRule) -> str:
    figure = figure_of(compared, rule)
    if figure is None:
        return f"unknown, fewer than {MIN_QUESTIONS} questions"
    told = f"{points(figure)} points"
    if compared.controlled:
        told += f" at equal length on {', '.join(compared.controlled)} (raw mean {points(compared.raw)})"
    if compared.uncontrolled:
        told += f", raw on {', '.join(compared.uncontrolled)}"
    return told
