"""The file of difficulties and gamed runs, made up: nothing of the authors' is here."""

import pytest

from moaa.scoring.alpaca_eval import Gamed
from moaa.scoring.alpaca_file import read_known

HEAD = ",index,model,preference,std_delta_len,instruction_difficulty,not_gamed_baseline"
ROWS = [
    "0,0,long,0.75,-1.5,0.25,False",
    "1,1,long,,-0.5,-2.0,False",
    "2,0,short,0.125,1.5,0.25,False",
    "3,1,short,0.5,0.5,-2.0,False",
]


def text(*rows: str, head: str = HEAD) -> str:
    return "\n".join([head, *rows]) + "\n"


def test_the_file_is_read_by_position() -> None:
    found = read_known(text(*ROWS), ["first", "second"])
    assert found.known.difficulty == {"first": 0.25, "second": -2.0}
    assert found.known.gamed == [
        Gamed("first", 0.75, -1.5),
        Gamed("first", 0.125, 1.5),
        Gamed("second", 0.5, 0.5),
    ]
    assert found.left_out == 1


@pytest.mark.parametrize(
    ("file", "questions", "match"),
    [
        pytest.param(text(*ROWS, head="index,model"), 2, "no column preference, std_delta_len", id="columns"),
        pytest.param("", 2, "found are none", id="empty"),
        pytest.param(text(), 2, "difficulty of 0 questions, and there are 2", id="no rows"),
        pytest.param(text(*ROWS), 3, "difficulty of 2 questions, and there are 3", id="a larger set"),
        pytest.param(text(*ROWS), 1, "line 3: index 1; the set has questions 0 to 0", id="a smaller set"),
        pytest.param(text("0,0.5,long,0.5,1,1,False"), 2, "line 2: index 0.5", id="half a position"),
        pytest.param(text("0,0,long,1.5,1,1,False"), 1, "line 2: preference 1.5; this file", id="annotations' scale"),
        pytest.param(text("0,0,long,yes,1,1,False"), 1, "line 2: preference is 'yes', not a number", id="words"),
        pytest.param(text("0,0,long,0.5,nan,1,False"), 1, "line 2: std_delta_len is nan", id="not finite"),
        pytest.param(text("0,0,long,0.5"), 1, "line 2: instruction_difficulty is None", id="a short line"),
        pytest.param(
            text(ROWS[0], "1,0,short,0.5,1,0.3,False"), 1, "has difficulty 0.3 and 0.25", id="two difficulties"
        ),
        pytest.param(text(ROWS[0], ROWS[0]), 1, "line 3: long answers question first twice", id="twice"),
    ],
)
def test_what_is_not_this_file_is_refused(file: str, questions: int, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        read_known(file, ["first", "second", "third"][:questions])
