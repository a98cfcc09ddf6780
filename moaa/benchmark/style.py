"""What an answer looks like, whatever its score: whether it refuses, how much it repeats itself, its Markdown. Pure.

Signs and not measures: they are compared before and after training, over the same questions.
"""

import re
from typing import NamedTuple

OPENING_CHARACTERS = 200
"""Where a refusal stands: at the beginning. Later, the same words are often part of an answer."""
GRAM_WORDS = 4

_REFUSAL = re.compile(
    r"\bas an? (?:ai|artificial intelligence|(?:large )?language model)\b"
    r"|\b(?:i|we)(?: am|['’]m| are|['’]re)? (?:(?:so |very |really )?sorry|afraid)\b[^.!?\n]{0,40}?"
    r"\b(?:can ?not|can['’]t|won['’]t|unable)\b"
    r"|\b(?:i|we) (?:can ?not|can['’]t|won['’]t|will not|must decline|have to decline|(?:am|are) (?:unable|not able))"
    r"(?: to)? (?:help|assist|provide|answer|comply|fulfil|create|write|generate|discuss|engage|support|share|do that)"
    r"|\bi['’]m (?:unable|not able) to (?:help|assist|provide|answer|comply|fulfil|create|write|generate|discuss)",
    re.IGNORECASE,
)
_FENCED = re.compile(r"```[^`]*```")
_HEADER = re.compile(r"^#{1,6}\s", re.MULTILINE)
_ITEM = re.compile(r"^\s*(?:\d+\.|[-*+])\s", re.MULTILINE)
_BOLD = re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__")


def refuses(answer: str) -> bool:
    """Whether it begins as English refusals do. Other languages are not recognised.

    >>> refuses("I'm sorry, but I can't help with that."), refuses("Paris. I'm sorry it rains there.")
    (True, False)
    """
    return _REFUSAL.search(answer[:OPENING_CHARACTERS]) is not None


def repetition(answer: str) -> float:
    """Part of its runs of four words that it has written before, from 0 to 1; 0 for fewer than five words.

    Words are what white space separates. Source: seq-rep-4, Welleck et al. 2020 (arXiv 1908.04319), §4.

    >>> repetition("a loop is a loop is a loop is a")
    0.5714285714285714
    """
    words = answer.split()
    grams = [tuple(words[i : i + GRAM_WORDS]) for i in range(len(words) - GRAM_WORDS + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


class Style(NamedTuple):
    """Of one answer."""

    length: int
    """Tokens as published (GPT-4's tokenizer); characters do as well, if both sides are counted alike."""
    headers: int
    items: int
    """Of lists."""
    bold: int


def style_of(answer: str, *, length: int) -> Style:
    """Counts of Markdown outside fenced code."""
    text = _FENCED.sub("", answer)
    return Style(length, len(_HEADER.findall(text)), len(_ITEM.findall(text)), len(_BOLD.findall(text)))
