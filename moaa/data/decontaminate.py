"""Finds training rows that hold an evaluation question.

Words are runs of letters, digits and `_` after the normalisation of `moaa.data.dedup`; punctuation separates, and each
Chinese or Japanese character is a word of its own, since those scripts put no spaces. Every turn of a training row is
looked at, answers included: what is trained on counts. An n-gram never crosses turns.

A row holds a question when one of its turns has four fifths of the question's own words in n-grams that both share, and
every number in them, and every sign between numbers. Own are the words that no n-gram shared with another question
covers: the instruction around all questions of a benchmark, or a passage that several ask about, is no question's own.
Where that leaves a question no word (others quote it), n-grams of the fewest holders count as its own. A question with
no turn of n words has no n-gram; a row holds it when its user turns have just those words, numbers and signs.
"""

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from moaa.conversation import Message
from moaa.data.dedup import normalize
from moaa.data.reading.bad_rows import shorten

OWN_WORDS = 0.8
"""Part of a question's own words that a row has to hold: a reworded ending is still the question."""
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(f"[{_IDEOGRAPHS}]|[^\\W{_IDEOGRAPHS}]+")
_SIGNS = (
    re.compile(r"(\b\w++|\))\s*+([-+*/^=<>%])\s*+(?=(\d++))"),  # between numbers, or before the second
    re.compile(r"(?<![\w)\s])\s*()(-)(?=(\d+))"),  # before a number
    re.compile(r"\b([a-z])(\+\+|#)(?!\w)()"),  # of a name: C++, C#
)
_SPELLINGS = str.maketrans({"−": "-", "–": "-", "×": "*", "·": "*", "÷": "/"})
_NUMBER_WORDS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion half third quarter twice
thrice double triple first second 零 一 二 三 四 五 六 七 八 九 十 百 千 万 两
"""
_NUMBERS = frozenset(_NUMBER_WORDS.split())


def words(text: str) -> list[str]:
    return _WORD.findall(normalize(text))


def signs(text: str) -> list[tuple[str, str]]:
    """Signs that decide what is asked, each with the word it belongs to.

    >>> signs("Is 12 + 7 < 20 in C++?")
    [('7', '12+7'), ('20', '7<20'), ('c', 'c++')]
    """
    plain = normalize(text.translate(_SPELLINGS))
    return [(right or left, left + sign + right) for marks in _SIGNS for left, sign, right in marks.findall(plain)]


@dataclass(frozen=True)
class Repeated:
    """The question that a training row holds."""

    table: str
    """`eval-<benchmark>`."""
    row: str
    text: str
    """Its beginning."""

    def __str__(self) -> str:
        return f"question {self.row!r} of {self.table}: {self.text}"


@dataclass
class _Turn:
    question: Repeated
    words: list[str]
    grams: list[bytes]
    signs: frozenset[tuple[str, str]]
    own: frozenset[int] = frozenset()
    """Positions of own words."""
    numbers: frozenset[str] = frozenset()
    """Among the own words."""


class Contamination:
    """What the evaluation questions say. Memory: the questions' words, and an entry for each n-gram."""

    def __init__(self, ngram: int) -> None:
        """`ngram` words in a row count as shared; 0 finds nothing."""
        self._ngram = ngram
        self._turns: dict[tuple[str, ...], _Turn] = {}
        self._short: dict[tuple[str, ...], dict[tuple[str, ...], Repeated]] = defaultdict(dict)
        """Questions without a long turn: by the words of all their user turns, then by the signs."""
        self._index: dict[bytes, list[tuple[_Turn, int]]] | None = None

    def add(self, messages: Sequence[Message], *, table: str, row: str) -> None:
        """Learn one evaluation question: its user turns. All are added before the first is looked for."""
        assert self._index is None, "questions are added before rows are looked at"
        if not self._ngram:
            return
        texts = [m["content"] for m in messages if m["role"] == "user"]
        question = Repeated(table, row, shorten(texts[0]))
        turns = [words(text) for text in texts]
        if all(len(turn) < self._ngram for turn in turns):
            self._short[_joined(texts, turns)].setdefault(_all_signs(texts), question)
        for text, turn in zip(texts, turns, strict=True):
            if len(turn) >= self._ngram:
                # The same question in two benchmarks is one: neither takes the other's words.
                key = (*turn, "\0", *_all_signs([text]))
                found = _Turn(question, turn, list(self._ngrams(turn)), frozenset(signs(text)))
                self._turns.setdefault(key, found)

    def find(self, messages: Sequence[Message]) -> Repeated | None:
        """The first question that was added and that the training row holds."""
        if not self._ngram:
            return None
        if self._index is None:
            self._index = self._indexed()
        said = [(message, words(message["content"])) for message in messages]
        texts = [message["content"] for message in messages if message["role"] == "user"]
        short = self._short.get(_joined(texts, [turn for message, turn in said if message["role"] == "user"]))
        if short and (found := short.get(_all_signs(texts))):
            return found
        held = (self._held_by(message["content"], turn, self._index) for message, turn in said)
        return next((question for question in held if question is not None), None)

    def _held_by(self, text: str, said: list[str], index: Mapping[bytes, list[tuple[_Turn, int]]]) -> Repeated | None:
        """The question that a turn holds; `said` are its words."""
        covered: dict[int, set[int]] = defaultdict(set)
        touched: dict[int, _Turn] = {}
        for gram in self._ngrams(said):
            for turn, start in index.get(gram, ()):
                touched[id(turn)] = turn
                covered[id(turn)].update(range(start, start + self._ngram))
        for key, turn in touched.items():
            is_held = len(covered[key] & turn.own) >= OWN_WORDS * len(turn.own)
            if is_held and turn.numbers <= set(said) and turn.signs <= set(signs(text)):
                return turn.question
        return None

    def _indexed(self) -> dict[bytes, list[tuple[_Turn, int]]]:
        """n-grams that cover own words, with the turns and positions where they stand."""
        turns = list(self._turns.values())
        holders = Counter(gram for turn in turns for gram in set(turn.grams))
        index: dict[bytes, list[tuple[_Turn, int]]] = defaultdict(list)
        for turn in turns:
            turn.own = _own(len(turn.words), [holders[gram] for gram in turn.grams], self._ngram)
            own = {turn.words[i] for i in turn.own}
            turn.numbers = frozenset(filter(_is_number, own))
            turn.signs = frozenset(sign for sign in turn.signs if sign[0] in own)
            for start, gram in enumerate(turn.grams):
                if not turn.own.isdisjoint(range(start, start + self._ngram)):
                    index[gram].append((turn, start))
        return dict(index)

    def _ngrams(self, turn: list[str]) -> Iterator[bytes]:
        # 8 bytes: a chance collision of any of 10^7 training with 10^6 evaluation n-grams has probability 5e-7.
        for i in range(len(turn) - self._ngram + 1):
            yield hashlib.blake2b(" ".join(turn[i : i + self._ngram]).encode(), digest_size=8).digest()


def _own(length: int, holders: Sequence[int], ngram: int) -> frozenset[int]:
    """Positions of a question's own words: those that no n-gram covers which more questions hold than need be.

    `holders[i]` is how many questions hold the n-gram at i. One, itself, where that leaves a word; else as few as do.
    """
    for few in sorted(set(holders)):
        shared = {position for i, count in enumerate(holders) if count > few for position in range(i, i + ngram)}
        if len(shared) < length:
            return frozenset(range(length)) - shared
    raise AssertionError("no n-gram is held by more questions than the one that most hold")


def _joined(texts: Sequence[str], turns: Sequence[list[str]]) -> tuple[str, ...]:
    """All words; of texts without any (signs only) the texts."""
    return tuple(word for turn in turns for word in turn) or tuple(map(normalize, texts))


def _all_signs(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(sign for text in texts for _, sign in signs(text))


def _is_number(word: str) -> bool:
    return word in _NUMBERS or any(unicodedata.category(character) == "Nd" for character in word)
