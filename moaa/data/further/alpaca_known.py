"""`df_gamed.csv` of AlpacaEval's authors: what length control needs to know of the official questions.

The user brings the file (data set `tatsu-lab/alpaca_eval` on the Hub, CC BY-NC 4.0). It names questions by their
position in the official set and holds no text. So nothing can tell whether other questions are meant, or the same ones
in another order: both would give a wrong figure without a sign. The source of the benchmark has to be in official
order, and as long as this file says.
"""

import logging
import math
from collections import defaultdict
from collections.abc import Mapping

from moaa.benchmark.alpaca_eval import AlpacaFacts
from moaa.data.further.completion import NOTHING_MORE, Completion, Files, records_of
from moaa.data.reading.records import Record
from moaa.errors import DataError
from moaa.rows import PromptRow

logger = logging.getLogger(__name__)

COLUMNS = ("index", "model", "preference", "std_delta_len", "instruction_difficulty")


def completion(files: Files | None, questions: int) -> Completion:
    """Every question with its difficulty and the verdicts on the gamed runs; unchanged without the file.

    Raises:
        DataError: as `read_known`.
    """
    if files is None:
        return NOTHING_MORE
    known = read_known(files, questions)

    def complete(place: int, _columns: Mapping[str, object], row: PromptRow) -> PromptRow:
        return {**row, "facts": known[place].model_dump_json()}

    return Completion(complete)


def read_known(files: Files, questions: int) -> dict[int, AlpacaFacts]:
    """By position of the question. Gamed rows without a verdict are left out, as in the authors' fit, and counted in
    the log.

    Raises:
        DataError: a column is missing, a value is no number or out of range, a question has two difficulties, a run
            answers one twice, or the file is about another number of questions.
    """
    difficulty: dict[int, float] = {}
    gamed: dict[int, dict[str, tuple[float, float]]] = defaultdict(dict)
    met: set[tuple[object, int]] = set()
    left_out = 0
    for record in records_of(files, frozenset(COLUMNS)):
        question, model = _question(record, questions), record.columns["model"]
        gamma = _number(record, "instruction_difficulty")
        if difficulty.setdefault(question, gamma) != gamma:
            known = difficulty[question]
            raise DataError(f"{record.where}: question {question} has difficulty {gamma}, and {known} further up")
        if (model, question) in met:
            raise DataError(f"{record.where}: {model} answers question {question} twice")
        met.add((model, question))
        if record.columns["preference"] is None:
            left_out += 1
            continue
        score = _number(record, "preference")
        if not 0 <= score <= 1:
            raise DataError(f"{record.where}: preference {score}; this file has them between 0 and 1")
        gamed[question][str(model)] = score, _number(record, "std_delta_len")
    if len(difficulty) != questions:
        raise DataError(
            f"{', '.join(name for _, name in files)}: difficulty of {len(difficulty)} questions, and the benchmark's "
            f"source has {questions}; give AlpacaEval's own questions in their order, or remove known"
        )
    logger.info("alpaca_known questions=%d gamed=%d without_verdict=%d", questions, len(met) - left_out, left_out)
    return {
        place: AlpacaFacts(difficulty=gamma, gamed=list(gamed[place].values())) for place, gamma in difficulty.items()
    }


def _question(record: Record, questions: int) -> int:
    if missing := [name for name in COLUMNS if name not in record.columns]:
        raise DataError(f"{record.where}: no column {', '.join(missing)}; found are {', '.join(record.columns)}")
    place = _number(record, "index")
    if place != int(place) or not 0 <= place < questions:
        raise DataError(f"{record.where}: index {place:g}; the benchmark's source has questions 0 to {questions - 1}")
    return int(place)


def _number(record: Record, column: str) -> float:
    found = record.columns[column]
    try:
        value = float(str(found))
    except ValueError as error:
        raise DataError(f"{record.where}: {column} is {found!r}, not a number") from error
    if not math.isfinite(value):
        raise DataError(f"{record.where}: {column} is {value}")
    return value
