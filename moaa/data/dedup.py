"""Exact deduplication of rows by what the user says in them, and under which system prompt.

Two rows are the same when their system and user turns are, after Unicode NFKC, case folding and white space reduced to
single spaces. Answers do not count: two answers to one question would teach the student twice about the same question.
The first row in source order stays. Memory: 32 bytes and a dictionary entry for each row, whatever its length.
"""

import hashlib
import unicodedata
from collections.abc import Sequence

from moaa.conversation import Message


def normalize(text: str) -> str:
    """NFKC, case-folded, white space as single spaces: "Ｈｅllo\\n World" gives "hello world"."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def question_key(messages: Sequence[Message]) -> bytes:
    """Digest of the normalised system and user turns; equal for rows that count as the same."""
    turns = [f"{m['role']} {normalize(m['content'])}" for m in messages if m["role"] != "assistant"]
    # NUL separates: it can stand in no turn (moaa.data.reading.bad_rows), so ["a", "b"] and ["a b"] differ.
    return hashlib.sha256("\0".join(turns).encode()).digest()


class Deduplicator:
    """Remembers the rows of one group (`sft` or `preference`), over all of its sources."""

    def __init__(self) -> None:
        self._seen: dict[bytes, str] = {}

    def first(self, messages: Sequence[Message], table: str) -> str | None:
        """The table in which this question was seen before; None the first time, when it is noted for `table`."""
        key = question_key(messages)
        if key in self._seen:
            return self._seen[key]
        self._seen[key] = table
        return None
