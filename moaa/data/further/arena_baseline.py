"""Arena-Hard's questions with their category and the baseline's answer."""

from collections.abc import Mapping

from moaa.benchmark.arena_hard import ArenaFacts
from moaa.data.further.answers import names_of, read_answers
from moaa.data.further.category import CATEGORY, category_of
from moaa.data.further.completion import Completion, Files, Unasked
from moaa.data.reading.bad_rows import RowError, Why
from moaa.rows import PromptRow


def completion(files: Files, category: str | None) -> Completion:
    """Every question of `category`, or of all where it is None, with the answer that the model's is compared with.

    Raises:
        DataError: as `read_answers`.
    """
    answers = read_answers(files)

    def complete(_place: int, columns: Mapping[str, object], row: PromptRow) -> PromptRow | Unasked:
        found = category_of(columns)
        if category is not None and found != category:
            return Unasked(found)
        given = answers.get(row["id"])
        if given is None:
            remedy = f"{names_of(files)} has no answer to this question; give the baseline's file for these questions"
            raise RowError(Why.NO_PARTNER, "answers", row["id"], remedy)
        if len(given) != 1:
            raise RowError(Why.NO_PARTNER, "answers", f"{len(given)} turns", "must answer one turn")
        return {**row, "answer": given[0], "facts": ArenaFacts(category=found).model_dump_json()}

    return Completion(complete, frozenset({CATEGORY}))
