"""Which columns of a record are read, under which names, and what happens to the others.

Columns with a meaning are known by name, or the resource names them (`columns` of a source). Any other column repeats
what the conversation says; or it would change the question (tools, images, choices), and the row is refused; or it is
ignored and counted.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from math import isnan

from moaa.api.data import Columns
from moaa.conversation import Message
from moaa.data.reading.bad_rows import RowError, Why
from moaa.data.reading.turns import is_empty

CONVERSATIONS = (
    "messages", "conversations", "conversation", "chosen", "prompt", "instruction", "question", "turns", "text",
)  # fmt: skip
"""Columns that hold a conversation, or the question of one. Earlier ones win (`moaa.data.reading.shapes.Shape`)."""
SYSTEM = ("system", "system_prompt")
CONTEXT = ("input", "context")
ANSWERS = ("response", "completion", "output", "answer")
ID = ("id", "uid", "question_id")
"""Columns that name a row. `prompt_id` is not among them: it names a prompt, and several rows may share it."""
QUESTION = (
    *CONTEXT, *SYSTEM, "choices", "options", "passage", "document", "documents", "starter_code", "tools", "functions",
    "image", "images", "audio", "audios", "video", "videos",
)  # fmt: skip
"""Columns that belong to the question wherever they stand."""
TREE = ("parent_id", "message_id")
KNOWN = frozenset({*CONVERSATIONS, *SYSTEM, *CONTEXT, *ANSWERS, *ID, *QUESTION, *TREE, "rejected", "label"})
_MEANINGS = ("messages", "prompt", "system", "context", "response", "answer", "id")
_NOTHING = "<noinput>"
"""What some exports of Alpaca's shape write for an empty input."""


def mapped(columns: Columns) -> dict[str, str]:
    """Meaning to column, for those that the resource names."""
    found = {meaning: getattr(columns, meaning) for meaning in _MEANINGS}
    return {meaning: name for meaning, name in found.items() if name is not None}


def wanted(columns: Columns) -> frozenset[str]:
    """Every column that may be read; a file of columns (Parquet) need not read others."""
    return (KNOWN | set(mapped(columns).values())) - set(columns.ignore)


class Fields:
    """A record's columns by meaning, remembering which were read."""

    def __init__(self, record: Mapping[str, object], columns: Columns) -> None:
        """Raises RowError: a column that the resource names for the conversation is not in the record."""
        names = mapped(columns)
        self.explicit = frozenset(names)
        """Meanings that the resource names a column for."""
        for meaning in ("messages", "prompt"):
            if meaning in names and names[meaning] not in record:
                raise RowError(
                    Why.UNKNOWN_COLUMNS, names[meaning], ", ".join(map(str, record)) or "nothing",
                    f"there is no such column, but columns.{meaning} of the source names it",
                )  # fmt: skip
        left = {name: _filled(value) for name, value in record.items() if name not in columns.ignore}
        self._values: dict[str, object] = {meaning: left.pop(name, None) for meaning, name in names.items()}
        self._column = dict(names)
        """Meaning to column, of those that can be read."""
        displaced = CONVERSATIONS if {"messages", "prompt"} & self.explicit else ()
        self._others: dict[str, object] = {}
        """Columns that cannot be read."""
        for name, value in left.items():
            if name in KNOWN and name not in self.explicit and name not in displaced:
                self._values[name], self._column[name] = value, name
            else:
                self._others[name] = value
        self._read: set[str] = set()
        self.ignored: set[str] = set()

    def get(self, name: str) -> object:
        """The column's value, None where it is absent; it counts as read."""
        self._read.add(name)
        return self._values.get(name)

    def has(self, name: str) -> bool:
        """Whether there is something in the column."""
        return self._values.get(name) is not None

    def names(self) -> list[str]:
        """Of all columns, for messages."""
        every = {self._column[meaning]: value for meaning, value in self._values.items()} | self._others
        return [f"{name} (null)" if value is None else name for name, value in every.items()]

    def context(self, names: Iterable[str]) -> list[str]:
        """Texts of the given columns that hold some; the caller has checked that they are text."""
        found = [self.get(name) for name in names]
        return [text for text in found if isinstance(text, str) and text.strip() and text.strip() != _NOTHING]

    def settle(self, messages: Sequence[Message]) -> None:
        """Sort what was not read: `ignored` takes it, or it is refused.

        Raises:
            RowError: a column of the question holds something that the conversation does not say.
        """
        said = "\n".join(message["content"] for message in messages)
        unread = {self._column[name]: value for name, value in self._values.items() if name not in self._read}
        for name, value in (unread | self._others).items():
            if is_empty(value) or value == _NOTHING:
                continue
            if name in QUESTION and not _is_said(value, said):
                raise RowError(
                    Why.UNREAD_MEANING, name, value,
                    "belongs to the question and is not read here; say what it is in `columns` of the source (context, "
                    "system), or name it in columns.ignore to ask without it",
                )  # fmt: skip
            self.ignored.add(name)


def _filled(value: object) -> object:
    """The value, None for NaN: a hole in a column, as pandas writes it."""
    return None if isinstance(value, float) and isnan(value) else value


def _is_said(value: object, said: str) -> bool:
    """Whether a text, or every text of a list, stands in `said`, not merely within a word of it."""
    if isinstance(value, list):
        return all(isinstance(item, str) and _is_said(item, said) for item in value)
    return isinstance(value, str) and re.search(rf"(?<!\w){re.escape(value.strip())}(?!\w)", said) is not None
