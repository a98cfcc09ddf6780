"""What the field publishes of a benchmark, from score rows."""

import json

import pytest

from moaa.api.evaluation import AlpacaEval, ExactMatch
from moaa.rows import ScoreRow
from moaa.scoring.figures import figures_of

ALPACA = AlpacaEval.model_validate(
    {"name": "e", "type": "AlpacaEval", "source": "file:///e.json", "judgeModel": {"model": "judge"}}
)
EXACT = ExactMatch.model_validate({"name": "e", "type": "ExactMatch", "source": "file:///e.json"})
SCORES = (0.9, 0.2, 0.6, 0.4, 0.8, 0.1)


def rows(*, known: bool, length: float = 40.0) -> list[ScoreRow]:
    return [
        ScoreRow(
            benchmark="e",
            model="base",
            id=str(k),
            score=score,
            length=length + 10 * (k % 3),
            baseline_length=50.0,
            refused=0.0,
            repeated=0.0,
            detail=json.dumps([{"difficulty": k - 2.5, "gamed": [[0.6, -1.0], [0.4, 1.0]]}]) if known else None,
        )
        for k, score in enumerate(SCORES)
    ]


def test_a_benchmark_of_our_own_has_none() -> None:
    assert figures_of(EXACT, rows(known=False), resamples=100, confidence=0.95) == []


def test_without_the_authors_file_there_is_no_length_control_and_that_is_said() -> None:
    [rate, discrete] = figures_of(ALPACA, rows(known=False), resamples=100, confidence=0.95)
    assert (rate.name, rate.is_headline) == ("AlpacaEval 2 win rate", True)
    assert rate.value == pytest.approx(0.5)
    assert "known is not given" in rate.note
    assert discrete.value == 0.5


def test_with_it_the_rate_is_length_controlled_and_has_an_interval() -> None:
    [controlled, _] = figures_of(ALPACA, rows(known=True), resamples=100, confidence=0.95)
    assert (controlled.name, controlled.is_headline) == ("AlpacaEval 2 LC", True)
    assert controlled.value is not None
    assert controlled.low is not None
    assert controlled.high is not None
    assert controlled.low < controlled.value < controlled.high
    assert "over 6 questions" in controlled.note


def test_what_cannot_be_controlled_is_no_number() -> None:
    alike = [ScoreRow(**{**row, "length": 50.0}) for row in rows(known=True)]
    [controlled, _] = figures_of(ALPACA, alike, resamples=100, confidence=0.95)
    assert controlled.value is None
    assert "length and skill cannot be told apart" in controlled.note
