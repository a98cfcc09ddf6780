"""What a row carries besides its conversation: its id and its right answer. Pure."""

from moaa.data.reading.bad_rows import RowError, Why, text_of, type_name
from moaa.data.reading.columns import ID, Fields

MAX_ID_CHARACTERS = 256


def gold(value: object) -> str:
    """The right answer of an ExactMatch row. Raises RowError: there is none, or no answer could equal it."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if value is None:
        raise RowError(Why.NO_ANSWER, "answer", None, "an ExactMatch benchmark needs the right answer of every row")
    if not (text := text_of(value, "answer")).strip():
        raise RowError(Why.NO_ANSWER, "answer", text, "is empty; give the right answer")
    if "\n#### " in text:
        raise RowError(
            Why.NO_ANSWER, "answer", text[text.rindex("\n#### ") + 1 :], "is a worked solution with its result at the "
            "end, which no answer repeats; write the result into a column of its own, named in columns.answer"
        )  # fmt: skip
    return text


def row_id(fields: Fields) -> str | None:
    """The row's own id, None where it has none. Raises RowError."""
    for name in ID:
        value = fields.get(name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # a column of numbers with holes, as pandas writes it
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise RowError(Why.BAD_ID, name, value, f"must be text or a whole number, not {type_name(value)}")
        text = text_of(str(value), name)
        if not text.strip() or len(text) > MAX_ID_CHARACTERS:
            raise RowError(Why.BAD_ID, name, text, f"must have 1 to {MAX_ID_CHARACTERS} characters")
        return text
    return None
