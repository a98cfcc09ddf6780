"""Drops training rows that repeat evaluation prompts: word n-grams in common.

Words are runs of letters, digits and `_` after the normalisation of `moaa.data.dedup`; punctuation separates, and each
Chinese or Japanese character is a word of its own, since those scripts put no spaces. An n-gram never crosses turns.
Every turn of a training row is looked at, answers included: what is trained on counts. An evaluation prompt with fewer
than n words in all its user turns has no n-gram; a training row is dropped when its user turns have just those words.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence

from moaa.conversation import Message
from moaa.data.dedup import normalize

_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(f"[{_IDEOGRAPHS}]|[^\\W{_IDEOGRAPHS}]+")


def words(text: str) -> list[str]:
    return _WORD.findall(normalize(text))


class Contamination:
    """What the evaluation prompts say. Memory: 8 bytes and a set entry for each n-gram."""

    def __init__(self, ngram: int) -> None:
        """`ngram` words in a row count as repetition; 0 finds none."""
        self._ngram = ngram
        self._grams: set[bytes] = set()
        self._short: set[tuple[str, ...]] = set()

    def add(self, messages: Sequence[Message]) -> None:
        """Learn one evaluation prompt: its user turns."""
        if not self._ngram:
            return
        turns = [words(m["content"]) for m in messages if m["role"] == "user"]
        if sum(map(len, turns)) < self._ngram:
            self._short.add(tuple(word for turn in turns for word in turn))
        for turn in turns:
            self._grams.update(self._ngrams(turn))

    def contains(self, messages: Sequence[Message]) -> bool:
        """True when the training row repeats a prompt that was added."""
        if not self._ngram:
            return False
        turns = [(m["role"], words(m["content"])) for m in messages]
        if tuple(word for role, turn in turns if role == "user" for word in turn) in self._short:
            return True
        return any(gram in self._grams for _, turn in turns for gram in self._ngrams(turn))

    def _ngrams(self, turn: list[str]) -> Iterator[bytes]:
        # 8 bytes: a chance collision of any of 10^7 training with 10^6 evaluation n-grams has probability 5e-7.
        for i in range(len(turn) - self._ngram + 1):
            yield hashlib.blake2b(" ".join(turn[i : i + self._ngram]).encode(), digest_size=8).digest()
