"""MT-Bench's means by hand."""

import pytest

from moaa.benchmark.mt_bench import grade_of
from moaa.scoring.mt_bench import Grade, mt_bench

GRADES = [
    Grade("81", "writing", 1, 9.0),
    Grade("81", "writing", 2, 7.0),
    Grade("101", "math", 1, 4.0),
    Grade("101", "math", 2, None),
    Grade("102", "math", 1, 5.0),
    Grade("102", "math", 2, 3.0),
]


def test_means_by_hand() -> None:
    found = mt_bench(GRADES, resamples=300, confidence=0.95)
    assert found.score == pytest.approx(28 / 5)  # of turns, not of questions: (8 + 4 + 4) / 3 = 5.33
    assert found.by_turn == {1: 6.0, 2: 5.0}
    assert found.by_category == {"writing": 8.0, "math": 4.0}
    assert (found.turns, found.missing) == (5, 1)
    assert (found.low, found.high) == (4.0, 8.0)


def test_two_turns_of_a_question_are_one_piece_of_news() -> None:
    pairs = [Grade(str(i), "stem", turn, 10.0 if i % 2 else 1.0) for i in range(80) for turn in (1, 2)]
    single = [Grade(f"{one.question}/{one.turn}", "stem", 1, one.grade) for one in pairs]
    together, apart = (mt_bench(g, resamples=1000, confidence=0.95) for g in (pairs, single))
    assert together.score == apart.score == 5.5
    widths = [found.high - found.low for found in (together, apart) if found.high is not None and found.low is not None]
    assert widths[0] / widths[1] == pytest.approx(2**0.5, rel=0.15)


def test_one_question_has_no_interval() -> None:
    found = mt_bench(GRADES[:2], resamples=10, confidence=0.9)
    assert (found.low, found.high) == (None, None)


@pytest.mark.parametrize(
    ("grades", "match"),
    [
        pytest.param([], "none of 0 turns", id="nothing"),
        pytest.param([Grade("1", "math", 1, None)], "none of 1 turns", id="unreadable"),
        pytest.param([Grade("1", "math", 1, 11.0)], "grade 11.0 is outside 1 to 10", id="too high"),
        pytest.param([Grade("1", "math", 1, 0.0)], "outside", id="too low"),
        pytest.param([Grade("1", "math", 1, 5.0)] * 2, "question 1, turn 1: graded twice", id="twice"),
    ],
)
def test_what_cannot_be_scored_is_refused(grades: list[Grade], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        mt_bench(grades, resamples=10, confidence=0.9)


@pytest.mark.parametrize(
    ("reply", "grade"),
    [
        ("Rating: [[7]]", 7.0),
        ("[[10]], I mean [[9]]", 10.0),
        ("Rating: [7.5]", 7.5),
        ("see [1]; rating [[4]]", 4.0),
        ("Rating: 7", None),
        ("[[0]]", None),
        ("[[85]]", None),
        ("[[-3]]", None),
        ("", None),
    ],
)
def test_a_grade_is_read_or_there_is_none(reply: str, grade: float | None) -> None:
    assert grade_of(reply) == grade
