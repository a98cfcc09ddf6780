"""The figures that the field publishes of a benchmark, from the score rows of one subject."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from moaa.api.evaluation import AlpacaEval, AnyBenchmark, ArenaHard, ExactMatch, MtBench, Pairwise
from moaa.benchmark.alpaca_eval import AlpacaFacts
from moaa.benchmark.arena_hard import ArenaDetail
from moaa.benchmark.arena_labels import Version, games_of
from moaa.benchmark.mt_bench import MtDetail
from moaa.rows import ScoreRow
from moaa.scoring.alpaca_eval import Gamed, Known, length_controlled, win_rate
from moaa.scoring.arena_hard import score_of
from moaa.scoring.bootstrap import interval
from moaa.scoring.length import Judged
from moaa.scoring.mt_bench import Grade, mt_bench
from moaa.scoring.style import Level, Played, style_controlled


class Unit(StrEnum):
    SHARE = "Share"
    """Between 0 and 1, shown in per cent."""
    GRADE = "Grade"
    """Between 1 and 10."""
    COUNT = "Count"


@dataclass(frozen=True)
class Figure:
    name: str
    """In the field's words: `AlpacaEval 2 LC`."""
    value: float | None
    """None: it could not be computed; `note` says why."""
    low: float | None = None
    """Ends of its interval over questions; None where it has none."""
    high: float | None = None
    unit: Unit = Unit.SHARE
    is_headline: bool = False
    """What papers put into their tables of this benchmark."""
    note: str = ""
    """What a reader must know to compare it."""


def figures_of(benchmark: AnyBenchmark, rows: Sequence[ScoreRow], *, resamples: int, confidence: float) -> list[Figure]:
    """Beside the plain mean of the scores. `rows`, at least one, are of one subject; empty where the field has no
    figure of its own."""
    match benchmark:
        case ExactMatch() | Pairwise():
            return []
        case AlpacaEval():
            return _alpaca_eval(rows, resamples=resamples, confidence=confidence)
        case ArenaHard():
            return _arena_hard(Version(benchmark.version), rows, resamples=resamples, confidence=confidence)
        case MtBench():
            return _mt_bench(rows, resamples=resamples, confidence=confidence)
        case _:
            assert_never(benchmark)


def details(row: ScoreRow) -> list[object]:
    """What the measure noted of every sample of a question; empty where it notes nothing."""
    text = row.get("detail")
    found: list[object] = json.loads(text) if text else []
    return found


def _alpaca_eval(rows: Sequence[ScoreRow], *, resamples: int, confidence: float) -> list[Figure]:
    plain = win_rate([row["score"] for row in rows])
    discrete = Figure("AlpacaEval 2 discrete win rate", plain.discrete)
    known = {row["id"]: AlpacaFacts.model_validate(noted[0]) for row in rows if (noted := details(row)) and noted[0]}
    if not known:
        note = "no length-controlled rate: known is not given"
        return [Figure("AlpacaEval 2 win rate", plain.rate, is_headline=True, note=note), discrete]
    gamed = [Gamed(name, score, length) for name, facts in known.items() for score, length in facts.gamed]
    subject = {
        row["id"]: Judged(row["score"], row["length"], length)
        for row in rows
        if (length := row["baseline_length"]) is not None
    }
    try:
        found = length_controlled(subject, Known({name: facts.difficulty for name, facts in known.items()}, gamed))
    except ValueError as error:
        return [Figure("AlpacaEval 2 LC", None, is_headline=True, note=str(error)), discrete]
    parts = list(found.contributions.values())
    low, high = interval(parts, [1.0] * len(parts), resamples=resamples, confidence=confidence) or (None, None)
    note = f"over {len(subject)} questions; comparable with others' for the official 805, baseline and judge only"
    return [Figure("AlpacaEval 2 LC", found.rate, low, high, is_headline=True, note=note), discrete]


def _arena_hard(version: Version, rows: Sequence[ScoreRow], *, resamples: int, confidence: float) -> list[Figure]:
    """The published score, the same by category where there are several, and at equal style."""
    played = [(row["id"], ArenaDetail.model_validate(one)) for row in rows for one in details(row)]
    if not played:  # rows of another benchmark that had this name
        return []
    name = f"Arena-Hard {version}"

    def rate(title: str, some: Sequence[tuple[str, ArenaDetail]], note: str = "") -> tuple[Figure, int]:
        found = [games_of({question: one.labels}, version) for question, one in some]
        dropped = sum(left_out for _, left_out in found)
        games = [game for counted, _ in found for game in counted]
        score = score_of(games, dropped, resamples=resamples, confidence=confidence)
        return Figure(title, score.rate, score.low, score.high, is_headline=title == name, note=note), dropped

    note = "comparable with others' for the official questions, baseline, judge and judge's prompt only"
    whole, dropped = rate(name, played, note)
    categories = dict.fromkeys(one.category for _, one in played)
    parts = [(of, [(q, one) for q, one in played if one.category == of]) for of in categories]
    return [
        whole,
        *(rate(f"{name}, {of}", some)[0] for of, some in parts if len(parts) > 1),
        _at_equal_style(name, version, played, resamples=resamples, confidence=confidence),
        Figure(f"{name}, games without a label", float(dropped), unit=Unit.COUNT),
    ]


LEAST_WON = 50
"""Games won, and games lost, that style control needs: ten for each of its five weights (Peduzzi et al. 1996)."""


def _at_equal_style(
    name: str, version: Version, details: Sequence[tuple[str, ArenaDetail]], *, resamples: int, confidence: float
) -> Figure:
    """Fitted over the one model's own games: answers that are longer for some questions than for others show whether
    the judge pays for it."""
    games = [
        Played(game, one.style, one.baseline_style)
        for question, one in details
        for game in games_of({question: one.labels}, version)[0]
    ]
    title = f"{name}, style-controlled"
    fewest = min(sum(one.game.score > 0.5 for one in games), sum(one.game.score < 0.5 for one in games))
    if fewest < LEAST_WON:
        note = f"needs {LEAST_WON} games won and as many lost, and there are {fewest} of one"
        return Figure(title, None, note=note)
    found = style_controlled({name: games}, Level.BASELINE)
    parts = found.contributions[name]
    low, high = interval(parts, [1.0] * len(parts), resamples=resamples, confidence=confidence) or (None, None)
    note = "as if both answers had as many characters, headers, list items and bold parts"
    return Figure(title, found.rates[name], low, high, note=note)


def _mt_bench(rows: Sequence[ScoreRow], *, resamples: int, confidence: float) -> list[Figure]:
    """The published mean of all turns, by turn and by category. A turn's grade is the mean over its samples."""
    grades: list[Grade] = []
    for row in rows:
        noted = [MtDetail.model_validate(one) for one in details(row)]
        for turn, of_turn in enumerate(zip(*(one.grades for one in noted), strict=True), start=1):
            grades.append(Grade(row["id"], noted[0].category, turn, sum(of_turn) / len(of_turn)))
    if not grades:  # rows of another benchmark that had this name
        return []
    found = mt_bench(grades, resamples=resamples, confidence=confidence)
    note = "comparable with others' for the official questions, references, judge and judge's prompt only"
    return [
        Figure("MT-Bench", found.score, found.low, found.high, Unit.GRADE, is_headline=True, note=note),
        *(Figure(f"MT-Bench, turn {turn}", mean, unit=Unit.GRADE) for turn, mean in found.by_turn.items()),
        *(Figure(f"MT-Bench, {category}", mean, unit=Unit.GRADE) for category, mean in found.by_category.items()),
    ]
