"""`df_gamed.csv` of AlpacaEval's authors: what length control needs to know of the official questions. Pure.

The user brings the file (data set `tatsu-lab/alpaca_eval` on the Hub, CC BY-NC 4.0). It names questions by their
position in the official set and holds no text. So nothing can tell whether other questions are meant, or the same ones
in another order: both would give a wrong figure without a sign. The caller names the questions in official order, and
their number has to be the file's.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moaa.scoring.alpaca_eval import Gamed, Known

COLUMNS = ("index", "model", "preference", "std_delta_len", "instruction_difficulty")


@dataclass(frozen=True)
class KnownFile:
    known: Known
    left_out: int
    """Gamed rows without a verdict, as in the authors' fit."""


def read_known(text: str, questions: Sequence[str]) -> KnownFile:
    """The file's text, for `questions` by id in the order of the official set.

    Raises:
        ValueError: a column is missing, a value is no number or out of range, a question has two difficulties or none,
            a run answers one twice, or the file is about another number of questions.
    """
    reader = csv.DictReader(io.StringIO(text))
    if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
        raise ValueError(f"no column {', '.join(missing)}; found are {', '.join(reader.fieldnames or ()) or 'none'}")
    difficulty: dict[str, float] = {}
    gamed: dict[tuple[str, str], Gamed] = {}
    left_out = 0
    for line, row in enumerate(reader, start=2):
        question = _question(row, questions, line)
        gamma = _number(row, "instruction_difficulty", line)
        if difficulty.setdefault(question, gamma) != gamma:
            raise ValueError(f"line {line}: question {question} has difficulty {gamma} and {difficulty[question]}")
        if (row["model"], question) in gamed:
            raise ValueError(f"line {line}: {row['model']} answers question {question} twice")
        if not row["preference"]:
            left_out += 1
            continue
        score = _number(row, "preference", line)
        if not 0 <= score <= 1:
            raise ValueError(f"line {line}: preference {score}; this file has them between 0 and 1")
        gamed[row["model"], question] = Gamed(question, score, _number(row, "std_delta_len", line))
    if len(difficulty) != len(questions):
        raise ValueError(f"difficulty of {len(difficulty)} questions, and there are {len(questions)}: not this set")
    return KnownFile(Known(difficulty, list(gamed.values())), left_out)


def _question(row: Mapping[str, str], questions: Sequence[str], line: int) -> str:
    place = _number(row, "index", line)
    if place != int(place) or not 0 <= place < len(questions):
        raise ValueError(f"line {line}: index {row['index']}; the set has questions 0 to {len(questions) - 1}")
    return questions[int(place)]


def _number(row: Mapping[str, str], column: str, line: int) -> float:
    try:
        value = float(row[column])
    except (TypeError, ValueError) as error:
        raise ValueError(f"line {line}: {column} is {row[column]!r}, not a number") from error
    if not math.isfinite(value):
        raise ValueError(f"line {line}: {column} is {value}")
    return value
