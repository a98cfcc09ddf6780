"""Reading a verdict. Pure and strict: text without one clear verdict has none, which is a failure and not a tie.

A verdict is a label, [[A]] or [[B]], that ends or begins a line. Judges write it last, or first and explain; they also
name labels while they reason ("I prefer [[A]] over [[B]]."), and a label that is only mentioned decides nothing.
"""

import re
from typing import Literal

Verdict = Literal["A", "B"]

_LABEL = re.compile(r"\[\[[\s*_`\"']*(?:(?:answer|assistant|response)\s+)?([AB])[\s*_`\"']*\]\]", re.IGNORECASE)
# What may close a line after the verdict: emphasis, a full stop, a bracket or quote, an end token left in the text.
_CLOSING = re.compile(r"(?:[\s*_.!`'\")>]|</?[a-z]{1,12}>|<\|[^|<>]{1,30}\|>)*", re.IGNORECASE)
# Marks that may stand before one that begins a line.
_OPENING = re.compile(r"[\s*_`\"'(>#-]*")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\s*_]+")
# "It is not [[B]]", "rather [[A]] than [[B]]": the label is no choice, or not the choice it looks like.
_TURNED = re.compile(
    r"(?:\b(?:not|never|neither|nor|than|over|against|instead|except|unlike)|n't)\b[^,:;–—]{0,25}$", re.IGNORECASE
)


def parse_verdict(text: str) -> Verdict | None:
    """Which answer the judge prefers; None when it does not say clearly.

    The last line decides when it holds a label. When an explanation follows the verdict, all labels of the text have to
    agree. Case, emphasis and end tokens do not matter.

    Examples: "... so [[B]]" gives B; "[[A]] or [[B]]? I say [[A]]." gives A; "**[[a]]**" gives A;
    "[[A]]\\nIts facts are right." gives A; "I prefer [[A]] over [[B]]." and "[[A]]. But let me check" give None.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return None
    if _LABEL.search(lines[-1]):
        return _stated(lines[-1])
    named = {label[1].upper() for label in _LABEL.finditer(text)}
    if len(named) != 1:
        return None
    return next((found for line in lines if (found := _stated(line))), None)


def _stated(line: str) -> Verdict | None:
    """The label that `line` ends or begins with, unless its sentence holds the other one too or turns it round."""
    sentences = [sentence for sentence in _SENTENCE_END.split(line) if _LABEL.search(sentence)]
    if not sentences:
        return None
    labels = list(_LABEL.finditer(sentences[-1]))
    if len({label[1].upper() for label in labels}) != 1 or _TURNED.search(sentences[-1][: labels[-1].start()]):
        return None
    last = list(_LABEL.finditer(line))[-1]
    first = next(_LABEL.finditer(line))
    ends = _CLOSING.fullmatch(line, last.end()) is not None
    begins = (
        _OPENING.fullmatch(line, 0, first.start()) is not None
        and len({label[1].upper() for label in _LABEL.finditer(line)}) == 1
        and not line[first.end() :].lstrip("*_` ").startswith((".", "?"))
    )
    if not ends and not begins:
        return None
    return "A" if last[1].upper() == "A" else "B"
