"""The column that says what kind of question it is."""

from collections.abc import Mapping

from moaa.data.reading.bad_rows import RowError, Why, text_of

CATEGORY = "category"


def category_of(columns: Mapping[str, object]) -> str:
    """Raises RowError: there is none, or it is no text."""
    found = text_of(columns.get(CATEGORY), CATEGORY).strip()
    if not found:
        raise RowError(Why.WRONG_TYPE, CATEGORY, found, "is empty; say what kind of question it is")
    return found
