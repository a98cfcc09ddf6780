"""MT-Bench's questions with their category, and in some categories the references that the judge reads.

Which is decided by the category alone, as in FastChat: question.jsonl has a `reference` at questions that are judged
without one, and lacks it at one that is judged with one. That column is not read.
"""

from collections.abc import Mapping

from moaa.benchmark.mt_bench import MtFacts, needs_reference
from moaa.conversation import user_turns
from moaa.data.further.answers import names_of, read_answers
from moaa.data.further.category import CATEGORY, category_of
from moaa.data.further.completion import Completion, Files
from moaa.data.reading.bad_rows import RowError, Why
from moaa.rows import PromptRow

COLUMNS = frozenset({CATEGORY, "reference"})


def completion(files: Files | None) -> Completion:
    """Every question with its category, and where that needs one, a reference for each turn.

    Raises:
        DataError: as `read_answers`.
    """
    known = read_answers(files) if files is not None else {}
    where = names_of(files) if files is not None else "answers is not given, and"

    def complete(_place: int, columns: Mapping[str, object], row: PromptRow) -> PromptRow:
        category = category_of(columns)
        if not needs_reference(category):
            return {**row, "facts": MtFacts(category=category, references=None).model_dump_json()}
        turns, found = user_turns(row["messages"]), known.get(row["id"], [])
        if len(found) != turns:
            remedy = f"{where} has {len(found)} of {turns} reference replies; {category} needs one for each turn"
            raise RowError(Why.NO_PARTNER, "answers", row["id"], remedy)
        return {**row, "facts": MtFacts(category=category, references=found).model_dump_json()}

    return Completion(complete, COLUMNS)
