"""What verdicts on anchors say of each judge, and whether it is good enough. Pure.

The unit is a question: a question with several pairs has the mean of theirs. A pair is worth 1, ½ or 0, so a judge that
always names the same place is right in exactly half, like a coin.

**The floor.** A judge passes when the lower end of its accuracy's 95 % interval (Wilson's) is above the floor, over at
least 20 questions. With the default floor of ½ a judge that always names the same place, or the longer answer where
each of both is that in half of the pairs, never passes. A coin that is tossed anew for each order does in less than one
of 200 runs; the worst coin, whose verdict holds in both orders, in at most one of 25. A judge that is right in 70 % of
60 questions passes: its interval begins at 57 %. One that gives no verdict passes no floor.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from moaa.anchors.judges import MeasuredJudge
from moaa.anchors.pairs import PairKind
from moaa.api.anchors import Anchors
from moaa.api.evaluation import MIN_QUESTIONS
from moaa.evaluate.bounds import bounded
from moaa.rows import AnchorRow
from moaa.scoring.agreement import effective_votes, krippendorff_alpha, wilson
from moaa.scoring.reward_bench import SECTIONS, reward_bench

DEGENERATE_SOUND = 0.9
"""Accuracy on degenerate answers below which a judge is named (ours): DPO would teach them."""
PADDED_SOUND = 0.65
"""Share that an answer said twice may win from the same said once before a judge is named (ours; ½ is fair)."""
LENGTH_SOUND = 0.4
"""Accuracy where the better answer is the longer one, less that where it is the shorter, from which on a judge is named
(ours)."""
PLACE_SOUND = 0.2
"""How far the share of the verdicts that name the answer shown first may be from ½ (ours)."""


@dataclass(frozen=True)
class JudgeFigures:
    """One judge on the anchors. Every figure is None where there is nothing to compute it from."""

    judge: str
    questions: int
    """With a score: the accuracy rests on them."""
    pairs: int
    """Labelled pairs that it was asked about."""
    unjudged: int
    """Of all pairs, those without a score: a verdict failed or could not be read."""
    accuracy: float | None = None
    """Mean points of the better answer over the questions."""
    low: float | None = None
    high: float | None = None
    """Ends of the 95 % interval."""
    consistency: float | None = None
    """Part of the labelled pairs whose outcome is the same in both orders, where both have one."""
    first: float | None = None
    """Part of these verdicts that name the answer shown first; ½ is no lean."""
    length: float | None = None
    """Accuracy on labelled pairs whose better answer is the longer one, less that on the others: 0 is no lean, 1 is
    length alone."""
    padded: float | None = None
    """Share that an answer said twice wins from the same said once; ½ is fair."""
    degenerate: float | None = None
    """Accuracy against a colon, empty thoughts and the question again."""
    truncated: float | None = None
    """Accuracy against the answer's own first half."""
    same_first: float | None = None
    """Part of the verdicts on an answer against itself that name the one shown first."""
    votes: float | None = None
    """What its members are worth as independent judges (`moaa.scoring.agreement.effective_votes`)."""
    alpha: float | None = None
    """Krippendorff's alpha of its members' verdicts, each order for itself."""
    outdone_by: str | None = None
    """Its own model that alone is shown to be right more often, question by question (Student's t, one in 40 at most by
    chance for each); of several the best."""

    def metrics(self) -> dict[str, float]:
        """By the names that the manifest has: `<judge>.accuracy`; what is None is left out."""
        return {f"{self.judge}.{name}": value for name, value in vars(self).items() if isinstance(value, int | float)}


def judge_figures(rows: Sequence[AnchorRow], judges: Sequence[MeasuredJudge]) -> list[JudgeFigures]:
    """Figures of every judge, in their order."""
    by_judge: dict[str, list[AnchorRow]] = {one.name: [] for one in judges}
    for row in rows:
        by_judge[row["judge"]].append(row)
    return [_figures(one, by_judge) for one in judges]


def accuracy_by_subset(rows: Sequence[AnchorRow], judge: str) -> dict[str, float]:
    """Of the labelled pairs that name one, a question counting once."""
    mine = [row for row in rows if row["judge"] == judge and row["kind"] == PairKind.LABELLED]
    named = dict.fromkeys(row["subset"] for row in mine)
    scores = {name: _by_question([row for row in mine if row["subset"] == name]) for name in named if name is not None}
    return {name: sum(found.values()) / len(found) for name, found in scores.items() if found}


def reward_bench_sections(subsets: Mapping[str, float]) -> dict[str, float]:
    """RewardBench 1's sections and `score`, from the accuracy of its subsets; empty unless it is just these."""
    if subsets.keys() != {name for section in SECTIONS.values() for name in section}:
        return {}
    found = reward_bench(subsets)
    return {**found.sections, "score": found.score}


def shortfall(one: JudgeFigures, floor: Decimal) -> str | None:
    """Why a judge does not pass `floor`, without its name; None: it passes. A floor of 0 stops nobody."""
    is_enough = one.questions >= MIN_QUESTIONS
    if not floor or (is_enough and one.low is not None and one.low > float(floor)):
        return None
    if one.accuracy is None:
        return f"gave no verdict on any of {one.pairs} pairs"
    if not is_enough:
        return f"{told(one)}, and nothing is shown on fewer than {MIN_QUESTIONS}"
    return f"{told(one)}, which is not shown to be above {floor}"


def told(one: JudgeFigures) -> str:
    """`is right on 52.1 % of 48 questions (95 % interval 38.3 to 65.5)`, a tie counting half."""
    assert one.accuracy is not None, f"{one.judge}: told of a judge with verdicts"
    assert one.low is not None, f"{one.judge}: an accuracy has an interval"
    assert one.high is not None, f"{one.judge}: an accuracy has an interval"
    return (
        f"is right on {100 * one.accuracy:.1f} % of {one.questions} questions "
        f"(95 % interval {100 * one.low:.1f} to {100 * one.high:.1f})"
    )


def best_alone(figures: Sequence[JudgeFigures], judges: Sequence[MeasuredJudge]) -> JudgeFigures | None:
    """The most accurate judge with a single model; None where none has a figure."""
    single = {one.name for one in judges if not one.members}
    found = [one for one in figures if one.judge in single and one.accuracy is not None]
    return max(found, key=lambda one: one.accuracy or 0.0, default=None)


def floors(said: Anchors, measured: Sequence[MeasuredJudge]) -> dict[str, tuple[str, Decimal]]:
    """By judge that the resource declares: the field that sets its floor, and the floor. A judge that is both is held
    to the higher one."""
    found: dict[str, tuple[str, Decimal]] = {}
    for one in measured:
        of = [("spec.anchors.floor", said.floor)] if one.is_trainer else []
        if any(field.startswith("spec.evaluation") for field in one.fields):
            of.append(("spec.anchors.evaluationFloor", said.evaluation_floor))
        if of:
            found[one.name] = max(of, key=lambda pair: pair[1])
    return found


def failures(
    figures: Sequence[JudgeFigures], judges: Sequence[MeasuredJudge], floors: Mapping[str, tuple[str, Decimal]]
) -> list[str]:
    """A sentence for every declared judge below its floor. `floors` has, by judge, the floor and the field that sets
    it."""
    best = best_alone(figures, judges)
    found: list[str] = []
    for one, judge in zip(figures, judges, strict=True):
        if judge.name not in floors:
            continue
        field, floor = floors[judge.name]
        if (why := shortfall(one, floor)) is None:
            continue
        instead = (
            f"; of the models alone, {best.judge} {told(best)}"
            if best is not None and best.judge != judge.name and (best.accuracy or 0) > (one.accuracy or 0)
            else ""
        )
        found.append(
            f"the {judge.name} ({', '.join(judge.fields)}: {judge.form} of {', '.join(judge.models)}) "
            f"{why} ({field}){instead}. Name other judges, give more pairs if there are few, or lower the floor to go "
            "on with it"
        )
    return found


def doubts(figures: Sequence[JudgeFigures], judges: Sequence[MeasuredJudge]) -> list[str]:
    """What is wrong with declared judges that may go on, the worst first: half a sentence each."""
    return [text for one, judge in zip(figures, judges, strict=True) if judge.fields for text in _doubts(one, judge)]


def _doubts(one: JudgeFigures, judge: MeasuredJudge) -> Iterator[str]:
    name = f"the {judge.name}"
    if one.low is None or one.low <= 0.5:
        yield f"{name} {told(one) if one.accuracy is not None else 'gave no verdict'}: not shown to beat a coin"
    if one.outdone_by is not None:
        yield f"{name} is right less often than {one.outdone_by} alone, which costs less: see Judges on anchors"
    if one.first is not None and abs(one.first - 0.5) > PLACE_SOUND:
        place = "first" if one.first > 0.5 else "second"
        part = one.first if one.first > 0.5 else 1 - one.first
        yield f"{name} names the answer that stands {place} in {100 * part:.0f} % of its verdicts on anchors"
    if one.length is not None and one.length >= LENGTH_SOUND:
        yield f"{name} is right {100 * one.length:.0f} points more often where the better answer is the longer one"
    if one.padded is not None and one.padded > PADDED_SOUND:
        yield f"{name} prefers an answer said twice to the same said once: {100 * one.padded:.0f} % of the points"
    if one.degenerate is not None and one.degenerate < DEGENERATE_SOUND:
        yield (
            f"{name} prefers ':', empty thoughts or the question itself to an answer: they win "
            f"{100 * (1 - one.degenerate):.0f} % of the points"
        )
    if judge.is_student:
        yield f"{name} asks $student; it was measured with the declared student, not with the one that will judge"


def _figures(judge: MeasuredJudge, rows: Mapping[str, Sequence[AnchorRow]]) -> JudgeFigures:
    mine = rows[judge.name]
    labelled = _of(mine, PairKind.LABELLED)
    scores = _by_question(labelled)
    accuracy = sum(scores.values()) / len(scores) if scores else None
    low, high = wilson(accuracy, len(scores)) if accuracy is not None else (None, None)
    padded = _mean(_of(mine, PairKind.PADDED))
    members = {name: _of(rows[name], PairKind.LABELLED) for name in judge.members}
    return JudgeFigures(
        judge=judge.name,
        questions=len(scores),
        pairs=len(labelled),
        unjudged=sum(row["score"] is None for row in mine),
        accuracy=accuracy,
        low=low,
        high=high,
        consistency=_consistency(labelled),
        first=_first(labelled),
        length=_length(labelled),
        padded=None if padded is None else 1 - padded,
        degenerate=_mean(_of(mine, PairKind.DEGENERATE)),
        truncated=_mean(_of(mine, PairKind.TRUNCATED)),
        same_first=_first(_of(mine, PairKind.SAME)),
        votes=_votes([found for found in members.values() if _by_question(found)]),
        alpha=_alpha(list(members.values())),
        outdone_by=_outdone_by(scores, members),
    )


def _outdone_by(scores: Mapping[str, float], members: Mapping[str, Sequence[AnchorRow]]) -> str | None:
    gains: dict[str, float] = {}
    for name, rows in members.items():
        alone = _by_question(rows)
        differences = [alone[question] - scores[question] for question in scores if question in alone]
        if differences and (gain := bounded([differences], 0.025)).low is not None and gain.low > 0:
            gains[name] = gain.mean
    return max(gains, key=lambda name: gains[name], default=None)


def _of(rows: Sequence[AnchorRow], kind: PairKind) -> list[AnchorRow]:
    return [row for row in rows if row["kind"] == kind]


def _by_question(rows: Sequence[AnchorRow]) -> dict[str, float]:
    """Mean points of every question that has a score."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row["score"] is not None:
            found.setdefault(row["question_id"], []).append(row["score"])
    return {question: sum(scores) / len(scores) for question, scores in found.items()}


def _mean(rows: Sequence[AnchorRow]) -> float | None:
    scores = [row["score"] for row in rows if row["score"] is not None]
    return sum(scores) / len(scores) if scores else None


def _both(rows: Sequence[AnchorRow]) -> list[tuple[int, int]]:
    return [(f, b) for row in rows if (f := row["forward"]) is not None and (b := row["backward"]) is not None]


def _consistency(rows: Sequence[AnchorRow]) -> float | None:
    both = _both(rows)
    return sum(f == b for f, b in both) / len(both) if both else None


def _first(rows: Sequence[AnchorRow]) -> float | None:
    """An outcome of 1 names the first answer where the better one stands first, and the second where it does not."""
    both = _both(rows)
    return sum(f + (1 - b) for f, b in both) / (2 * len(both)) if both else None


def _length(rows: Sequence[AnchorRow]) -> float | None:
    longer, shorter = (_mean([row for row in rows if row["longer"] == side]) for side in (1, 0))
    return None if longer is None or shorter is None else longer - shorter


def _votes(members: Sequence[Sequence[AnchorRow]]) -> float | None:
    """Errors by pair, as far as every member was asked about it."""
    ids = [row["id"] for row in members[0]] if members else []
    scores = [{row["id"]: row["score"] for row in rows} for rows in members]
    errors = [[None if (s := one.get(i)) is None else 1 - s for i in ids] for one in scores]
    return effective_votes(errors)


def _alpha(members: Sequence[Sequence[AnchorRow]]) -> float | None:
    """Of the places they name: the better answer stands first in one order and second in the other, so that agreement
    on what is right and agreement on a place are told apart from chance."""
    if len(members) < 2:
        return None
    by_id = [{row["id"]: row for row in rows} for rows in members]
    units: list[list[str | None]] = []
    for i in by_id[0]:
        said = [one.get(i) for one in by_id]
        units.append([_place(row["forward"] if row else None, "AB") for row in said])
        units.append([_place(row["backward"] if row else None, "BA") for row in said])
    return krippendorff_alpha(units)


def _place(outcome: int | None, letters: str) -> str | None:
    """The place of the answer that won; `letters` are those of the better and of the other."""
    return None if outcome is None else letters[0] if outcome else letters[1]
