"""Who is promoted: paired gains over the previous student, and the rule that a gain must pass. Pure.

Judges like long answers, and a student that only writes more is not better. So where the lengths of both answers are
known for every shared question, a gain of win rates is read at equal length as well, and the lower of both counts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from moaa.api.evaluation import MIN_QUESTIONS, Evaluation, GateRule
from moaa.evaluate.statistics import Estimate, Scores, gain, paired
from moaa.rows import ScoreRow
from moaa.scoring.length import JUDGE_DEVIATION, Judged, Subject, lc_estimate


@dataclass(frozen=True)
class Answered:
    """One student on one benchmark."""

    scores: Scores
    lengths: Mapping[str, tuple[float, float]]
    """By row id: characters of its answer and of what that was compared with; only where both are known."""


Student = Mapping[str, Answered]
"""By benchmark."""


@dataclass(frozen=True)
class Compared:
    """A candidate against the previous student."""

    gain: Estimate
    """What the gate reads."""
    raw: float
    """Mean gain of the scores as they are."""
    controlled: tuple[str, ...]
    """Benchmarks whose win rates were read at equal length, since that gain is the lower one."""
    fewest: int
    """Questions that both have a score for, in the benchmark that has the fewest of them."""


@dataclass(frozen=True)
class Decision:
    """`winner` is a key of the candidates, or None: the previous student stays."""

    winner: str | None
    compared: Mapping[str, Compared]
    """Every candidate; empty without selection benchmarks."""
    reason: str
    """For the log."""


def student_of(rows: Iterable[ScoreRow], benchmarks: Sequence[str]) -> Student:
    """What the gate reads of one student's rows."""
    listed = list(rows)
    return {name: _answered([row for row in listed if row["benchmark"] == name]) for name in benchmarks}


def _answered(rows: Sequence[ScoreRow]) -> Answered:
    known = [(row["id"], row["length"], row.get("baseline_length")) for row in rows]
    return Answered(
        {row["id"]: row["score"] for row in rows},
        {name: (own, other) for name, own, other in known if other is not None},
    )


def decide(previous: Student, candidates: Mapping[str, Student], evaluation: Evaluation) -> Decision:
    """Pick the candidate with the highest gain among those that pass (`passes`); ties go to the earlier.

    A gain from fewer than MIN_QUESTIONS questions of a benchmark never passes. Without selection benchmarks the last
    candidate, the last one trained, wins.

    Raises:
        ValueError: there is no candidate, or two students have no question of a benchmark in common.
    """
    if not candidates:
        raise ValueError("promotion needs at least one candidate")
    if not evaluation.selection:
        last = list(candidates)[-1]
        return Decision(last, {}, f"{last} was trained last, and there is no selection benchmark to compare by")
    compared = {name: compare(student, previous, evaluation) for name, student in candidates.items()}
    rule, floor = evaluation.gate.rule, float(evaluation.gate.min_gain)
    figures = {name: figure_of(one.gain, rule, fewest=one.fewest) for name, one in compared.items()}
    passing = {name: figure for name, figure in figures.items() if figure is not None and passes(figure, rule, floor)}
    what = "mean gain" if rule is GateRule.MEAN else "lower bound of the gain"
    does = "is above" if is_strict(rule, floor) else "reaches"
    told = {name: f"{_figure(figure)}{_how(compared[name])}" for name, figure in figures.items()}
    if not passing:
        seen = ", ".join(f"{name} {text}" for name, text in told.items())
        return Decision(None, compared, f"no {what} {does} {floor:+.4f}: {seen}")
    winner = max(passing, key=passing.__getitem__)  # the first of equals
    return Decision(winner, compared, f"{winner}: {what} {told[winner]} {does} {floor:+.4f}")


def compare(candidate: Student, previous: Student, evaluation: Evaluation) -> Compared:
    """Raises ValueError: as `moaa.evaluate.statistics.gain`."""

    def between(new: Mapping[str, Scores], old: Mapping[str, Scores]) -> Estimate:
        return gain(new, old, resamples=evaluation.bootstrap, confidence=float(evaluation.confidence))

    raw = between(_scores(candidate), _scores(previous))
    new, old, controlled = dict(_scores(candidate)), dict(_scores(previous)), []
    for name in candidate:
        shared = sorted(candidate[name].scores.keys() & previous[name].scores.keys())
        rates = _at_equal_length(candidate[name], previous[name], shared)
        if rates is not None and sum(paired(*rates)) < sum(paired(new[name], old[name])):
            new[name], old[name] = rates
            controlled.append(name)
    fewest = min(len(candidate[name].scores.keys() & previous[name].scores.keys()) for name in candidate)
    return Compared(between(new, old) if controlled else raw, raw.mean, tuple(controlled), fewest)


def _scores(student: Student) -> Mapping[str, Scores]:
    return {name: answered.scores for name, answered in student.items()}


def _at_equal_length(candidate: Answered, previous: Answered, shared: Sequence[str]) -> tuple[Scores, Scores] | None:
    """What every question contributes to the estimates of both (`moaa.scoring.length`), each telling the other how hard
    it is. None where a length is not known.

    The slope for length is the judge's own where its verdicts show one, else that of AlpacaEval's judge. Answers that
    are all short look too good by either: that is why the raw gain has to be there too.
    """
    new, old = _judged(candidate, shared), _judged(previous, shared)
    if new is None or old is None:
        return None
    return _contributions(new, old), _contributions(old, new)


def _contributions(subject: Subject, other: Subject) -> Scores:
    return lc_estimate(subject, [other], slope_deviation=JUDGE_DEVIATION).contributions


def _judged(answered: Answered, shared: Sequence[str]) -> Subject | None:
    if any(name not in answered.lengths for name in shared):
        return None
    return {name: Judged(answered.scores[name], *answered.lengths[name]) for name in shared}


def figure_of(gain: Estimate, rule: GateRule, *, fewest: int) -> float | None:
    """What the rule looks at; None where too few questions show it."""
    if fewest < MIN_QUESTIONS:
        return None
    return _rounded(gain.mean if rule is GateRule.MEAN else gain.low)


def passes(figure: float, rule: GateRule, floor: float) -> bool:
    """At least the floor, or above it where the floor itself shows no gain (`is_strict`)."""
    return figure > floor if is_strict(rule, floor) else figure >= floor


def is_strict(rule: GateRule, floor: float) -> bool:
    """Equal scores are no gain, so a floor of 0 has to be exceeded; a lower end always has to."""
    return rule is GateRule.LOWER_BOUND or floor == 0


def _rounded(figure: float | None) -> float | None:
    """Without the last digits of floats, so that 3/10 reaches 0.3 and equal gains tie whatever the order of sums."""
    return None if figure is None else round(figure, 12)


def _figure(figure: float | None) -> str:
    return f"unknown (fewer than {MIN_QUESTIONS} questions)" if figure is None else f"{figure:+.4f}"


def _how(compared: Compared) -> str:
    if not compared.controlled:
        return ""
    return f" (at equal length on {', '.join(compared.controlled)}; raw mean {compared.raw:+.4f})"
