"""Rows of an Instructions benchmark: each with its rules, as IFEval's files have them."""

from collections.abc import Mapping

from pydantic import ValidationError

from moaa.benchmark.instructions import Rules, given
from moaa.data.further.completion import Completion, Files, records_of
from moaa.data.reading.bad_rows import RowError, Why
from moaa.rows import PromptRow

COLUMNS = frozenset({"instruction_id_list", "kwargs"})


def completion() -> Completion:
    return Completion(_complete, COLUMNS)


def _complete(_place: int, columns: Mapping[str, object], row: PromptRow) -> PromptRow:
    """Raises RowError: a column is missing or malformed."""
    return {**row, "facts": _rules(columns).model_dump_json()}


def _rules(columns: Mapping[str, object]) -> Rules:
    if missing := [name for name in sorted(COLUMNS) if columns.get(name) is None]:
        remedy = f"Instructions needs IFEval's column {missing[0]}; add it"
        raise RowError(Why.UNKNOWN_COLUMNS, missing[0], None, remedy)
    try:
        return Rules.model_validate({name: columns[name] for name in COLUMNS})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "kwargs"
        raise RowError(Why.WRONG_TYPE, place, first["input"], first["msg"]) from error


def rules_in(files: Files) -> dict[tuple[str, tuple[str, ...]], str]:
    """Every rule that a source's rows name, with the names of its arguments, and the row that has it first. Bad rows
    are left to their reader.

    Raises:
        DataError: a file cannot be read.
    """
    found: dict[tuple[str, tuple[str, ...]], str] = {}
    for record in records_of(files, COLUMNS):
        try:
            rules = _rules(record.columns)
        except RowError:
            continue
        for rule, arguments in zip(rules.instruction_id_list, rules.kwargs, strict=True):
            found.setdefault((rule, given(arguments)), record.where)
    return found
