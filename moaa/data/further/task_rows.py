"""Rows of an LmEval benchmark, as its harness has written them: each with the document that its answer is scored by."""

from collections.abc import Mapping

from moaa.data.further.completion import Completion
from moaa.rows import PromptRow

COLUMNS = frozenset({"facts", "answer"})


def completion() -> Completion:
    return Completion(_complete, COLUMNS)


def _complete(_place: int, columns: Mapping[str, object], row: PromptRow) -> PromptRow:
    return {**row, "answer": str(columns["answer"]), "facts": str(columns["facts"])}
