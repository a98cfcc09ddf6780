"""Exact deduplication of rows by what the user says in them.

Two rows are the same when their user turns are, after Unicode NFKC, case folding and white space reduced to single
spaces. System turns and answers do not count: two answers to one question would teach the student twice about the same
question. The first row in source order stays. Memory: 32 bytes and a set entry for each row, whatever its length.
"""

import hashlib
import unicodedata
from collections.abc import Sequence

from moaa.conversation import Message


def normalize(text: str) -> str:
    """NFKC, case-folded, white space as single spaces: "Ｈｅllo\\n World" gives "hello world"."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def user_key(messages: Sequence[Message]) -> bytes:
    """Digest of the normalised user turns; equal for rows that count as the same."""
    turns = [normalize(m["content"]) for m in messages if m["role"] == "user"]
    # NUL separates: it can stand in no turn (moaa.data.shapes), so ["a", "b"] and ["a b"] differ.
    return hashlib.sha256("\0".join(turns).encode()).digest()


class Deduplicator:
    """Remembers the rows of one group (`sft` or `preference`), over all of its sources."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def is_new(self, messages: Sequence[Message]) -> bool:
        """True the first time these user turns are seen."""
        key = user_key(messages)
        if key in self._seen:
            return False
        self._seen.add(key)
        return True
