"""The figures that the field publishes of a benchmark, from the score rows of one subject."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from moaa.api.evaluation import (
    AlpacaEval,
    AnyBenchmark,
    ArenaHard,
    ExactMatch,
    Instructions,
    LmEval,
    MtBench,
    Pairwise,
)
from moaa.benchmark.alpaca_eval import AlpacaFacts
from moaa.benchmark.arena_hard import ArenaDetail
from moaa.benchmark.arena_labels import Version, games_of
from moaa.benchmark.checker import Followed
from moaa.benchmark.lm_eval import Noted
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
        case LmEval():
            return _tasks(rows, resamples=resamples, confidence=confidence)
        case Instructions():
            return _instructions(rows, resamples=resamples, confidence=confidence)
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


def _tasks(rows: Sequence[ScoreRow], *, resamples: int, confidence: float) -> list[Figure]:
    """Every metric of every task: its mean over the documents, as the harness itself gives it."""
    tasks: dict[str, list[list[Noted]]] = {}
    for row in rows:
        noted = [Noted.model_validate(one) for one in details(row)]
        tasks.setdefault(noted[0].task, []).append(noted)
    found: list[Figure] = []
    for name, documents in sorted(tasks.items()):
        version, score = documents[0][0].version, documents[0][0].score
        harness = sorted({made for noted in documents for one in noted for made in one.harness})
        metrics = list(dict.fromkeys(metric for noted in documents for one in noted for metric in one.metrics))
        for metric in sorted(metrics, key=lambda metric: metric != score):
            values = [[one.metrics[metric] for one in noted if metric in one.metrics] for noted in documents]
            mean, low, high = _clustered(values, resamples=resamples, confidence=confidence)
            note = f"task version {version} of lm-eval {' and '.join(harness)}, over {len(documents)} documents"
            found.append(Figure(f"{name} {metric}", mean, low, high, is_headline=metric == score, note=note))
    return found


def _instructions(rows: Sequence[ScoreRow], *, resamples: int, confidence: float) -> list[Figure]:
    """IFEval's four accuracies: by prompt and by instruction, strict and loose."""
    followed = [[Followed.model_validate(one) for one in details(row)] for row in rows]

    def figure(name: str, values: list[list[float]]) -> Figure:
        mean, low, high = _clustered(values, resamples=resamples, confidence=confidence)
        return Figure(f"IFEval {name}", mean, low, high, is_headline=name == "prompt strict")

    return [
        figure("prompt strict", [[float(all(one.strict)) for one in samples] for samples in followed]),
        figure("prompt loose", [[float(all(one.loose)) for one in samples] for samples in followed]),
        figure("instruction strict", [[float(held) for one in samples for held in one.strict] for samples in followed]),
        figure("instruction loose", [[float(held) for one in samples for held in one.loose] for samples in followed]),
    ]


def _clustered(
    values: Sequence[Sequence[float]], *, resamples: int, confidence: float
) -> tuple[float, float | None, float | None]:
    """Mean of all values and the ends of its interval; those of one question stay together."""
    kept = [one for one in values if one]
    sums, weights = [sum(one) for one in kept], [float(len(one)) for one in kept]
    low, high = interval(sums, weights, resamples=resamples, confidence=confidence) or (None, None)
    return sum(sums) / sum(weights), low, high
