"""A row that cannot be used, and why. It is counted with its place, and reading goes on. A fault of a whole file (cut
short, not what its name says) is a DataError instead.
"""

from dataclasses import dataclass
from enum import StrEnum

from moaa.text import printable, unfit


class Why(StrEnum):
    """Why a row is left out: the names under which manifests count it."""

    NOT_JSON = "not-json"
    NOT_A_ROW = "not-a-row"
    """A cell too many, something that is no object."""
    NOT_UTF8 = "not-utf-8"
    UNUSABLE_TEXT = "unusable-text"
    """NUL or a lone surrogate."""
    TOO_LARGE = "too-large"
    UNKNOWN_COLUMNS = "unknown-columns"
    OTHER_SHAPE = "other-shape"
    """Not the columns with which its source began."""
    WRONG_TYPE = "wrong-type"
    UNKNOWN_ROLE = "unknown-role"
    EMPTY_TURN = "empty-turn"
    NO_USER_TURN = "no-user-turn"
    TURN_ORDER = "turn-order"
    NO_ANSWER = "no-answer"
    """Given answers are trained on, or a benchmark compares with one, and there is none."""
    NO_PARTNER = "no-partner"
    """A further file of the benchmark lacks what the question needs."""
    BAD_ID = "bad-id"
    DUPLICATE_ID = "duplicate-id"
    UNREAD_MEANING = "unread-meaning"
    """Something beside the conversation that would change the question: tools, images, choices, a second system
    prompt."""
    TREE = "tree"
    RENDERED = "rendered-template"


@dataclass(frozen=True)
class BadRow:
    where: str
    """File and line or row."""
    why: Why
    message: str
    """Field, what was found, what to do."""

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class RowError(ValueError):
    """A record cannot be used. The reader adds the file and the line."""

    def __init__(self, why: Why, field: str, found: object, remedy: str) -> None:
        self.why = why
        self.field = field
        self.found = shorten(found)
        self.remedy = remedy
        super().__init__(printable(f"{field}: found {self.found}; {remedy}"))


def shorten(found: object) -> str:
    """At most 60 characters of what was found, safe to print."""
    text = found if isinstance(found, str) else repr(found)
    text = text if len(text) <= 60 else text[:57] + "..."
    return printable(text) if unfit(text) else repr(text) if isinstance(found, str) else text


_TYPE_NAMES = {dict: "an object", list: "a list", str: "text", bool: "true/false", int: "a number", float: "a number"}


def type_name(value: object) -> str:
    return "null" if value is None else _TYPE_NAMES.get(type(value), type(value).__name__)


def text_of(value: object, field: str) -> str:
    """The value as fit text. Raises RowError."""
    if not isinstance(value, str):
        raise RowError(Why.WRONG_TYPE, field, value, f"must be text, not {type_name(value)}")
    if bad := unfit(value):
        raise RowError(Why.UNUSABLE_TEXT, field, bad, "NUL and lone surrogates cannot be sent to a model; clean it")
    return value
