"""Figures of Arena-Hard and MT-Bench from score rows, by hand."""

import json
from typing import Any

import pytest

from moaa.api.evaluation import ArenaHard, MtBench
from moaa.rows import ScoreRow
from moaa.scoring.figures import LEAST_WON, Figure, Unit, figures_of

FILE = {"source": "file:///x.jsonl"}
JUDGED: dict[str, Any] = {"name": "b", "judgeModel": {"model": "j"}, **FILE}
MT = MtBench.model_validate({"type": "MtBench", **JUDGED})


def arena(version: str = "v0.1") -> ArenaHard:
    return ArenaHard.model_validate({"type": "ArenaHard", "version": version, "answers": FILE, **JUDGED})


def row(name: str, *details: dict[str, Any]) -> ScoreRow:
    return ScoreRow(
        benchmark="b", model="base", id=name, score=0.5, length=1.0, baseline_length=None, refused=0.0, repeated=0.0,
        detail=json.dumps(details),
    )  # fmt: skip


def played(first: str | None, second: str | None, category: str = "hard", length: int = 10) -> dict[str, Any]:
    styles = {"style": [length, 0, 0, 0], "baseline_style": [10, 0, 0, 0]}
    return {"category": category, "labels": [first, second], **styles}


def by_name(found: list[Figure]) -> dict[str, Figure]:
    assert len({one.name for one in found}) == len(found)
    return {one.name: one for one in found}


def test_arena_hard_is_the_weighted_mean_over_all_games() -> None:
    """Rows count by their games: 3 won and 1 won, then 1 lost, so 4 of 5 and not the mean of 1 and 0."""
    rows = [row("a", played("B>>A", "A>B")), row("b", played("A>B", None))]
    found = by_name(figures_of(arena(), rows, resamples=200, confidence=0.95))
    score = found["Arena-Hard v0.1"]
    assert (score.value, score.low, score.high, score.is_headline) == (0.8, 0.0, 1.0, True)
    assert found["Arena-Hard v0.1, games without a label"] == Figure(
        "Arena-Hard v0.1, games without a label", 1.0, unit=Unit.COUNT
    )
    styled = found["Arena-Hard v0.1, style-controlled"]
    assert (styled.value, styled.note) == (
        None,
        f"needs {LEAST_WON} games won and as many lost, and there are 1 of one",
    )
    assert set(found) == {score.name, styled.name, "Arena-Hard v0.1, games without a label"}


def test_categories_stand_beside_the_whole_and_samples_of_a_question_stay_together() -> None:
    rows = [row("a", played("B>A", "A>B"), played("A>B", "B>A")), row("b", played("B>A", "A>B", "creative"))]
    found = by_name(figures_of(arena("v2.0"), rows, resamples=200, confidence=0.95))
    assert found["Arena-Hard v2.0"].value == pytest.approx(4 / 6)
    assert found["Arena-Hard v2.0, hard"].value == 0.5
    assert (found["Arena-Hard v2.0, hard"].low, found["Arena-Hard v2.0, hard"].high) == (None, None)  # one question
    assert found["Arena-Hard v2.0, creative"].value == 1.0
    assert [one.name for one in found.values() if one.is_headline] == ["Arena-Hard v2.0"]


def test_style_control_takes_away_what_the_judge_pays_for_length() -> None:
    """The longer answer wins nine times of ten. The model is longer for three questions of four: it wins 70 % as it is,
    and half at equal length."""
    rows = []
    for number in range(200):
        longer = number % 4 != 0
        wins = (number // 4 % 10 != 0) == longer
        length = 20 if longer else 5
        rows.append(
            row(str(number), played("B>A", "A>B", length=length) if wins else played("A>B", "B>A", length=length))
        )
    found = by_name(figures_of(arena(), rows, resamples=50, confidence=0.95))
    raw, styled = found["Arena-Hard v0.1"], found["Arena-Hard v0.1, style-controlled"]
    assert raw.value == pytest.approx(0.7)
    assert styled.value == pytest.approx(0.5, abs=0.03)
    assert styled.low is not None
    assert styled.high is not None
    assert 0.3 < styled.low < 0.5 < styled.high < 0.7


def test_mt_bench_is_the_mean_of_turns() -> None:
    rows = [
        row("81", {"category": "writing", "grades": [9, 7]}, {"category": "writing", "grades": [7, 7]}),
        row("101", {"category": "math", "grades": [4]}, {"category": "math", "grades": [5]}),
    ]
    found = by_name(figures_of(MT, rows, resamples=200, confidence=0.95))
    whole = found.pop("MT-Bench")
    assert whole.value == pytest.approx((8 + 7 + 4.5) / 3)
    assert (whole.low, whole.high) == (4.5, 7.5)
    assert (whole.unit, whole.is_headline) == (Unit.GRADE, True)
    assert {name: one.value for name, one in found.items()} == {
        "MT-Bench, turn 1": 6.25,
        "MT-Bench, turn 2": 7.0,
        "MT-Bench, writing": 7.5,
        "MT-Bench, math": 4.5,
    }
    assert {one.unit for one in found.values()} == {Unit.GRADE}
