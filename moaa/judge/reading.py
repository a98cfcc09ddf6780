"""Read what judges wrote: a verdict, or a choice of criteria. Pure and strict: one clear reading, or none.

A verdict is a label, [[A]] or [[B]], that ends or begins a line. Judges write it last, or first with an explanation
after it. They also mention labels while they reason ("I prefer [[A]] over [[B]]."); a mention decides nothing. Text
without a verdict is a failure, not a tie. A choice of criteria names exactly as many known criteria as were asked for.
"""

import re
from collections.abc import Sequence
from typing import Literal

from moaa.api.mixture import Criterion
from moaa.judge.prompts import OPENING

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


def led_to_letter(text: str) -> tuple[str, str]:
    """The reply up to where its verdict's letter comes, in two pieces: what was said, and what opens the letter.

    A last line with a label is cut before its last one and opened again as `[[`; any other text gets an opening line of
    its own.

    Example: "B is vague.\\n[[A]]" gives ("B is vague.\\n", "[["); "A is better." gives ("A is better.", OPENING).
    """
    start = len(text.rstrip()) - len(text.rstrip().splitlines()[-1]) if text.strip() else 0
    labels = [label for label in _LABEL.finditer(text) if label.start() >= start]
    if not labels:
        return text, OPENING
    return text[: labels[-1].start()], "[["


def _stated(line: str) -> Verdict | None:
    """The label that `line` ends or begins with, unless its sentence also holds the other label or negates this one."""
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


_HEADING = re.compile(r"selected\s+criteria", re.IGNORECASE)
# The word alone on its line, or with its colon: "explanation" in a sentence ends nothing.
_EXPLANATION = re.compile(r"^\W*explanations?\W*$|\bexplanations?\s*\W*:", re.IGNORECASE | re.MULTILINE)

_MARKER = r"[ \t]*(?:[-*•]|\d+[.):])?[ \t]*[*_`\"]*"
# What may stand between an item's name and an explanation of it: a comma would go on with the list instead.
_ITEM_END = r"(?=[*_`\"]*[ \t]*(?:$|[:(–—]|- ))"


def parse_criteria(text: str, choices: Sequence[Criterion], *, count: int) -> list[Criterion] | None:
    """The chosen criteria in the order of the list in `text`, or None when it does not name exactly `count`.

    Names count after the last heading "Selected Criteria", if there is one, and before "Explanation". Case does not
    matter, a longer name wins over one that it contains, and a name that appears twice is one choice. When exactly
    `count` lines start with a name as list items do, only those names count; else every name does.

    Example: "Selected Criteria:\\n1. Accuracy\\n2. Depth\\nExplanation: clarity matters less" with count 2 gives
    Accuracy and Depth.
    """
    headings = list(_HEADING.finditer(text))
    part = text[headings[-1].end() :] if headings else text
    explanation = _EXPLANATION.search(part)
    if explanation is not None:
        part = part[: explanation.start()]
    by_name = {_plain(c.name): c for c in choices}
    longest_first = sorted(by_name, key=len, reverse=True)
    name = "(?:" + "|".join(re.escape(n).replace(r"\ ", r"\s+") for n in longest_first) + ")"
    items = re.findall(rf"^{_MARKER}({name}){_ITEM_END}", part.lower(), re.MULTILINE)
    anywhere = re.findall(rf"(?<![a-z])({name})(?![a-z])", part.lower())
    for found in (items, anywhere):
        chosen = list(dict.fromkeys(map(_plain, found)))
        if len(chosen) == count:
            return [by_name[c] for c in chosen]
    return None


def _plain(name: str) -> str:
    return " ".join(name.lower().split())
