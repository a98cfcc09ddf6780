"""Answer files of Arena-Hard and MT-Bench: who said what to which question. Both layouts, told apart by their columns.

| layout | id | the answer |
|---|---|---|
| arena-hard-auto since v2.0 | `uid` | the last of `messages`: `content`, a text or an object with `answer` |
| arena-hard-auto before | `question_id` | `turns` of the first of `choices`: objects with `content` |
| FastChat | `question_id` | `turns` of the first of `choices`: texts |

A file of answers is small and every answer of it may be needed, so one that cannot be read ends the reading.
"""

from collections.abc import Mapping

from moaa.data.further.completion import Files, records_of
from moaa.data.reading.bad_rows import RowError, Why, text_of, type_name
from moaa.errors import DataError

COLUMNS = frozenset({"uid", "question_id", "messages", "choices"})


def read_answers(files: Files) -> dict[str, list[str]]:
    """The answers by id of the question, one for each of its turns.

    Raises:
        DataError: a file or a row of it cannot be read, an answer is empty, or a question is answered twice.
    """
    found: dict[str, list[str]] = {}
    for record in records_of(files, COLUMNS):
        try:
            name, answers = id_of(record.columns), _answers(record.columns)
        except RowError as error:
            raise DataError(f"{record.where}: {error}; every row of this file is needed") from error
        if name in found:
            raise DataError(f"{record.where}: question {name} is answered further up already; remove one of the two")
        found[name] = answers
    return found


def names_of(files: Files) -> str:
    """The files, for messages."""
    return ", ".join(name for _, name in files)


def id_of(columns: Mapping[str, object]) -> str:
    """The question's id. Raises RowError: there is none."""
    for name in ("uid", "question_id"):
        value = columns.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
            return str(value)
    raise RowError(Why.BAD_ID, "uid or question_id", _names(columns), "one of them must name the question")


def _answers(columns: Mapping[str, object]) -> list[str]:
    messages, choices = columns.get("messages"), columns.get("choices")
    if messages is not None:
        return [_text(_last(messages, "messages"), "messages")]
    if choices is None:
        raise RowError(Why.UNKNOWN_COLUMNS, "columns", _names(columns), "messages or choices must hold the answer")
    first = _list(choices, "choices")[0]
    turns = first.get("turns") if isinstance(first, Mapping) else None
    return [_text(turn, "choices[0].turns") for turn in _list(turns, "choices[0].turns")]


def _last(messages: object, field: str) -> object:
    last = _list(messages, field)[-1]
    if not isinstance(last, Mapping) or last.get("role") != "assistant":
        raise RowError(Why.NO_ANSWER, field, last, "must end with the assistant's answer")
    content = last.get("content")
    return content.get("answer") if isinstance(content, Mapping) else content


def _text(turn: object, field: str) -> str:
    text = text_of(turn.get("content") if isinstance(turn, Mapping) else turn, field)
    if not text.strip():
        raise RowError(Why.NO_ANSWER, field, text, "the answer is empty")
    return text


def _list(value: object, field: str) -> list[object]:
    if not isinstance(value, list) or not value:
        raise RowError(Why.WRONG_TYPE, field, value, f"must be a list with something in it, not {type_name(value)}")
    return value


def _names(columns: Mapping[str, object]) -> str:
    return ", ".join(columns) or "nothing"
