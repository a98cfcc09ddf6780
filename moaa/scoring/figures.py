"""The figures that the field publishes of a benchmark, from the score rows of one subject."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from moaa.api.evaluation import AlpacaEval, AnyBenchmark, ExactMatch, Pairwise
from moaa.benchmark.alpaca_eval import AlpacaFacts
from moaa.rows import ScoreRow
from moaa.scoring.alpaca_eval import Gamed, Known, length_controlled, win_rate
from moaa.scoring.bootstrap import interval
from moaa.scoring.length import Judged


class Unit(StrEnum):
    SHARE = "Share"
    """Between 0 and 1, shown in per cent."""
    GRADE = "Grade"
    """Between 1 and 10."""


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
