"""Who is promoted: paired gains over the previous student, and the rule that a gain must pass. Pure.

`moaa.evaluate.told` says in words what decided.

Every bound is so low that noise passes in at most 1 - confidence of all runs (`moaa.plan.evidence.level_of`). Whatever
is gained elsewhere, a candidate that forgets is not promoted (`moaa.evaluate.forgetting`). Judges like long answers,
and a student that only writes more is not better. So where the lengths of both answers are known for every shared
question, a gain of win rates is read at equal length as well, by the difference of the lengths and by their ratio, and
the lowest of these counts.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from moaa.api.evaluation import MIN_QUESTIONS, Evaluation, GateRule
from moaa.evaluate.bounds import bounded
from moaa.evaluate.drift import Drift, Signs, drifts, signs_of
from moaa.evaluate.forgetting import forgotten
from moaa.evaluate.statistics import Estimate, Scores, paired
from moaa.plan.evidence import Trial
from moaa.rows import ScoreRow
from moaa.scoring.length import JUDGE_DEVIATION, Judged, Subject, Taste, lc_estimate


@dataclass(frozen=True)
class Answered:
    """One student on one benchmark."""

    scores: Scores
    lengths: Mapping[str, tuple[float, float]]
    """By row id: characters of its answer and of what that was compared with; only where both are known."""
    signs: Mapping[str, Signs]
    """By row id: what its answer looks like, where that is known."""


Student = Mapping[str, Answered]
"""By benchmark."""


@dataclass(frozen=True)
class Compared:
    """A candidate against the previous student."""

    gain: Estimate
    """What the gate reads; each end is passed by chance with the trial's level."""
    raw: float
    """Mean gain of the scores as they are."""
    controlled: tuple[str, ...]
    """Benchmarks whose win rates were read at equal length, since that gain is the lower one."""
    uncontrolled: tuple[str, ...]
    """Benchmarks whose win rates could be read raw only: not all lengths are known."""
    questions: Mapping[str, int]
    """Of every benchmark, those that the gate reads and both have a score for."""
    forgotten: Mapping[str, Estimate]
    """Losses that bar it from promotion, by benchmark."""
    drifts: tuple[Drift, ...]
    """What else changed about its answers; bars nobody."""

    @property
    def fewest(self) -> int:
        return min(self.questions.values())


@dataclass(frozen=True)
class Decision:
    """`winner` is a key of the candidates, or None: the previous student stays."""

    winner: str | None
    compared: Mapping[str, Compared]
    """Every candidate; empty without selection benchmarks."""
    level: float
    """Error rate of each bound."""


def student_of(rows: Iterable[ScoreRow], benchmarks: Sequence[str]) -> Student:
    """What the gate reads of one student's rows."""
    listed = list(rows)
    return {name: _answered([row for row in listed if row["benchmark"] == name]) for name in benchmarks}


def _answered(rows: Sequence[ScoreRow]) -> Answered:
    known = [(row["id"], row["length"], row.get("baseline_length")) for row in rows]
    return Answered(
        {row["id"]: row["score"] for row in rows},
        {name: (own, other) for name, own, other in known if other is not None},
        {row["id"]: signs_of(row) for row in rows},
    )


def decide(previous: Student, candidates: Mapping[str, Student], evaluation: Evaluation, trial: Trial) -> Decision:
    """Pick the candidate with the highest gain among those that pass (`passes`) and forget nothing; ties go to the
    earlier.

    A gain from fewer than MIN_QUESTIONS questions of a benchmark never passes. Without selection benchmarks the last
    candidate, the last one trained, wins.

    Raises:
        ValueError: there is no candidate, or two students have no question of a benchmark in common.
    """
    if not candidates:
        raise ValueError("promotion needs at least one candidate")
    if not evaluation.selection:
        return Decision(list(candidates)[-1], {}, trial.level)
    compared = {name: compare(student, previous, evaluation, trial) for name, student in candidates.items()}
    rule, floor = evaluation.gate.rule, float(evaluation.gate.min_gain)
    figures = {name: figure_of(one, rule) for name, one in compared.items()}
    passing = {
        name: figure
        for name, figure in figures.items()
        if figure is not None and passes(figure, rule, floor) and not compared[name].forgotten
    }
    winner = max(passing, key=passing.__getitem__, default=None)  # the first of equals
    return Decision(winner, compared, trial.level)


def compare(candidate: Student, previous: Student, evaluation: Evaluation, trial: Trial) -> Compared:
    """Over the questions that the trial reads and both students have a score for.

    Raises:
        ValueError: the benchmarks differ, or one has no such question.
    """
    shared = _shared(candidate, previous, trial)
    raw, controlled = {}, {}
    uncontrolled = []
    for name, questions in shared.items():
        new, old = candidate[name], previous[name]
        raw[name] = [new.scores[one] - old.scores[one] for one in questions]
        lowest = min([raw[name], *_at_equal_length(new, old, questions)], key=sum)
        if lowest is not raw[name]:
            controlled[name] = lowest
        if not _has_lengths(new, questions) or not _has_lengths(old, questions):
            uncontrolled += [name] if new.lengths or old.lengths else []  # known only where answers were compared
    objective, floor = {name: raw[name] for name in trial.objective}, float(evaluation.gate.min_gain)
    return Compared(
        gain=bounded(list({**raw, **controlled}.values()), trial.level),
        raw=bounded(list(raw.values()), trial.level).mean,
        controlled=tuple(controlled),
        uncontrolled=tuple(uncontrolled),
        questions={name: len(questions) for name, questions in shared.items()},
        forgotten=forgotten(objective, trial.level, floor),
        drifts=tuple(one for name in shared for one in _drifts(name, candidate, previous, shared[name])),
    )


def _drifts(name: str, candidate: Student, previous: Student, questions: Sequence[str]) -> Iterator[Drift]:
    before, after = ([student[name].signs.get(one, {}) for one in questions] for student in (previous, candidate))
    return drifts(name, before, after)


def _shared(candidate: Student, previous: Student, trial: Trial) -> dict[str, list[str]]:
    if candidate.keys() != previous.keys():
        raise ValueError(f"benchmarks differ: {sorted(candidate)} and {sorted(previous)}")
    both = {name: candidate[name].scores.keys() & previous[name].scores.keys() for name in sorted(candidate)}
    shared = {name: sorted(one for one in found if trial.reads(name, one)) for name, found in both.items()}
    if lone := [name for name, questions in shared.items() if not questions]:
        raise ValueError(f"benchmark {lone[0]}: no question has a score for both students")
    return shared


def _at_equal_length(candidate: Answered, previous: Answered, shared: Sequence[str]) -> Iterator[list[float]]:
    """Differences of what every question contributes to the estimates of both (`moaa.scoring.length`), by each of the
    judge's possible tastes, each student telling the other how hard the questions are. Nothing where a length is not
    known.

    The slope for length is the judge's own where its verdicts show one, else that of AlpacaEval's judge. Answers that
    are all short look too good by either: that is why the raw gain has to be there too.
    """
    if _has_lengths(candidate, shared) and _has_lengths(previous, shared):
        new, old = _judged(candidate, shared), _judged(previous, shared)
        for taste in Taste:
            yield paired(_contributions(new, old, taste), _contributions(old, new, taste))


def _contributions(subject: Subject, other: Subject, taste: Taste) -> Scores:
    return lc_estimate(subject, [other], slope_deviation=JUDGE_DEVIATION, taste=taste).contributions


def _has_lengths(answered: Answered, shared: Sequence[str]) -> bool:
    return all(name in answered.lengths for name in shared)


def _judged(answered: Answered, shared: Sequence[str]) -> Subject:
    return {name: Judged(answered.scores[name], *answered.lengths[name]) for name in shared}


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
