"""The file of difficulties and gamed runs, made up: nothing of the authors' is here."""

from pathlib import Path

import pytest

from moaa.benchmark.alpaca_eval import AlpacaFacts
from moaa.data.further.alpaca_known import completion, read_known
from moaa.data.further.completion import Files
from moaa.data.reading.shapes import Use
from moaa.data.sources import SourcedRow, read_rows
from moaa.errors import DataError

HEAD = ",index,model,preference,std_delta_len,instruction_difficulty,not_gamed_baseline"
ROWS = [
    "0,0,long,0.75,-1.5,0.25,False",
    "1,1,long,,-0.5,-2.0,False",
    "2,0,short,0.125,1.5,0.25,False",
    "3,1,short,0.5,0.5,-2.0,False",
]


def made(folder: Path, *rows: str, head: str = HEAD) -> Files:
    path = folder / "df_gamed.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    return [(path, "df_gamed.csv")]


def test_the_file_is_read_by_position(tmp_path: Path) -> None:
    assert read_known(made(tmp_path, *ROWS), 2) == {
        0: AlpacaFacts(difficulty=0.25, gamed=[(0.75, -1.5), (0.125, 1.5)]),
        1: AlpacaFacts(difficulty=-2.0, gamed=[(0.5, 0.5)]),
    }


def test_every_question_gets_what_its_place_in_the_source_says(tmp_path: Path) -> None:
    questions = tmp_path / "baseline.json"
    questions.write_text(
        '[{"instruction": "first", "output": "1", "generator": "g", "dataset": "d"},'
        ' {"instruction": "second", "output": "2", "generator": "g", "dataset": "d"}]'
    )
    whole = completion(made(tmp_path, *ROWS), 2)
    found = list(read_rows([(questions, "baseline.json")], Use.COMPARED, completion=whole))
    rows = [one.row for one in found if isinstance(one, SourcedRow)]
    assert [(row["messages"][0]["content"], row["answer"]) for row in rows] == [("first", "1"), ("second", "2")]
    facts = [AlpacaFacts.model_validate_json(row["facts"] or "") for row in rows]
    assert [one.difficulty for one in facts] == [0.25, -2.0]
    without = next(read_rows([(questions, "baseline.json")], Use.COMPARED, completion=completion(None, 0)))
    assert isinstance(without, SourcedRow)
    assert "facts" not in without.row


@pytest.mark.parametrize(
    ("rows", "head", "questions", "match"),
    [
        pytest.param(ROWS, "index,model,a,b,c,d,e", 2, "no column preference, std_delta_len", id="columns"),
        pytest.param(ROWS, HEAD, 3, "difficulty of 2 questions, and the benchmark's source has 3", id="a larger set"),
        pytest.param(ROWS, HEAD, 1, "line 3: index 1; the benchmark's source has questions 0 to 0", id="a smaller set"),
        pytest.param(["0,0.5,long,0.5,1,1,False"], HEAD, 2, "line 2: index 0.5", id="half a position"),
        pytest.param(["0,0,long,1.5,1,1,False"], HEAD, 1, "line 2: preference 1.5; this", id="annotations' scale"),
        pytest.param(["0,0,long,yes,1,1,False"], HEAD, 1, "preference is 'yes', not a number", id="words"),
        pytest.param(["0,0,long,0.5,nan,1,False"], HEAD, 1, "line 2: std_delta_len is nan", id="not finite"),
        pytest.param(["0,0,long,0.5"], HEAD, 1, "every row of this file is needed", id="a short line"),
        pytest.param([ROWS[0], "1,0,short,0.5,1,0.3,False"], HEAD, 1, "difficulty 0.3, and 0.25", id="two"),
        pytest.param([ROWS[0], ROWS[0]], HEAD, 1, "line 3: long answers question 0 twice", id="twice"),
    ],
)
def test_what_is_not_this_file_is_refused(
    tmp_path: Path, rows: list[str], head: str, questions: int, match: str
) -> None:
    with pytest.raises(DataError, match=match):
        read_known(made(tmp_path, *rows, head=head), questions)
