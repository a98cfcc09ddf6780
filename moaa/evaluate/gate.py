"""Who is promoted: paired gains over the previous student, and the rule that a gain must pass. Pure.

`moaa.evaluate.told` says in words what decided.

Win rates are read at equal length wherever the lengths tell length and skill apart: judges like long answers, and a
student that only writes more is not better.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from moaa.api.evaluation import MIN_QUESTIONS, Evaluation, GateRule
from moaa.evaluate.statistics import Estimate, Scores, gain, lc_scores
from moaa.rows import ScoreRow


@dataclass(frozen=True)
class Answered:
    """One student on one benchmark."""

    scores: Scores
    lengths: Mapping[str, tuple[float, float]]
    """By row id: characters of its answer and of what that was compared with; only where both are known."""


Student = Mapping[str, Answered]
"""By benchmark."""


class WhyRaw(StrEnum):
    """Why a win rate was not read at equal length."""

    UNKNOWN = "Unknown"
    """The length of an answer, or of what it was compared with, is not known."""
    CONSTANT = "Constant"
    """One student's answers differ in length from what they were compared with by the same everywhere."""


@dataclass(frozen=True)
class Compared:
    """A candidate against the previous student."""

    gain: Estimate
    """What the gate reads."""
    raw: float
    """Mean gain of the scores as they are."""
    controlled: tuple[str, ...]
    """Benchmarks whose win rates were read at equal length."""
    uncontrolled: Mapping[str, WhyRaw]
    """Benchmarks whose win rates were read as they are."""
    questions: Mapping[str, int]
    """Of every benchmark, those that both have a score for."""

    @property
    def fewest(self) -> int:
        return min(self.questions.values())


@dataclass(frozen=True)
class Decision:
    """`winner` is a key of the candidates, or None: the previous student stays."""

    winner: str | None
    compared: Mapping[str, Compared]
    """Every candidate; empty without selection benchmarks."""


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
        return Decision(list(candidates)[-1], {})
    compared = {name: compare(student, previous, evaluation) for name, student in candidates.items()}
    rule, floor = evaluation.gate.rule, float(evaluation.gate.min_gain)
    figures = {name: figure_of(one, rule) for name, one in compared.items()}
    passing = {name: figure for name, figure in figures.items() if figure is not None and passes(figure, rule, floor)}
    winner = max(passing, key=passing.__getitem__) if passing else None  # the first of equals
    return Decision(winner, compared)


def compare(candidate: Student, previous: Student, evaluation: Evaluation) -> Compared:
    """Raises ValueError: as `moaa.evaluate.statistics.gain`."""

    def between(new: Mapping[str, Scores], old: Mapping[str, Scores]) -> Estimate:
        return gain(new, old, resamples=evaluation.bootstrap, confidence=float(evaluation.confidence))

    raw = between(_scores(candidate), _scores(previous))
    new, old = dict(_scores(candidate)), dict(_scores(previous))
    shared = {name: sorted(candidate[name].scores.keys() & previous[name].scores.keys()) for name in candidate}
    uncontrolled: dict[str, WhyRaw] = {}
    # Known only where answers were compared with others.
    win_rates = [name for name in candidate if candidate[name].lengths or previous[name].lengths]
    for name in win_rates:
        after, before = _at_equal_length(candidate[name], shared[name]), _at_equal_length(previous[name], shared[name])
        if isinstance(after, WhyRaw):
            uncontrolled[name] = after
        elif isinstance(before, WhyRaw):
            uncontrolled[name] = before
        else:
            new[name], old[name] = after, before
    controlled = tuple(name for name in win_rates if name not in uncontrolled)
    questions = {name: len(found) for name, found in shared.items()}
    return Compared(between(new, old) if controlled else raw, raw.mean, controlled, uncontrolled, questions)


def _scores(student: Student) -> Mapping[str, Scores]:
    return {name: answered.scores for name, answered in student.items()}


def _at_equal_length(answered: Answered, shared: Sequence[str]) -> Scores | WhyRaw:
    if any(name not in answered.lengths for name in shared):
        return WhyRaw.UNKNOWN
    own, other = zip(*(answered.lengths[name] for name in shared), strict=True)
    values = lc_scores([answered.scores[name] for name in shared], own, other)
    return WhyRaw.CONSTANT if values is None else dict(zip(shared, values, strict=True))


def figure_of(compared: Compared, rule: GateRule) -> float | None:
    """What the rule looks at; None where too few questions show it."""
    if compared.fewest < MIN_QUESTIONS:
        return None
    return _rounded(compared.gain.mean if rule is GateRule.MEAN else compared.gain.low)


def passes(figure: float, rule: GateRule, floor: float) -> bool:
    """At least the floor, or above it where the floor itself shows no gain (`is_strict`)."""
    return figure > floor if is_strict(rule, floor) else figure >= floor


def is_strict(rule: GateRule, floor: float) -> bool:
    """Equal scores are no gain, so a floor of 0 has to be exceeded; a lower end always has to."""
    return rule is GateRule.LOWER_BOUND or floor == 0


def _rounded(figure: float | None) -> float | None:
    """Without the last digits of floats, so that 3/10 reaches 0.3 and equal gains tie whatever the order of sums."""
    return None if figure is None else round(figure, 12)
