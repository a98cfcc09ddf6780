"""Separate thought and answer in the text of models that reason aloud. Pure.

Asking models and training a student read thoughts here alike: what the one takes for a thought the other never trains
as an answer.

A thought stands between tags that its model was trained on. There are three shapes: the whole block; a closing tag
alone, where the chat template had opened the thought in the prompt; and an opening tag alone, where the answer ended
(or was cut) in mid-thought. An answer may also speak *about* the tags: what is quoted, in code, or opens in mid-line is
text.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

PAIRS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
)
"""Openings and closings, as the reasoning parsers of vLLM 0.32 and the chat templates of the families know them."""
TAGS = frozenset(tag for pair in PAIRS for tag in pair)
_OPEN, _CLOSE = ("|".join(map(re.escape, tags)) for tags in zip(*PAIRS, strict=True))
_TAG = re.compile(rf"(?P<open>{_OPEN})|(?P<close>{_CLOSE})", re.IGNORECASE)
_TAG_LAST = re.compile(rf"(?:{_OPEN}|{_CLOSE})$", re.IGNORECASE)
_FENCED = re.compile(r"^ {0,3}(```|~~~).*?^ {0,3}\1", re.MULTILINE | re.DOTALL)
"""A code block that is closed; one that is not may be a thought that was cut, so it hides nothing."""
_QUOTES = "`'\"“‘«"


class Split(NamedTuple):
    thought: str
    answer: str
    """Both without white space around them; either may be empty."""


def split_thought(text: str) -> Split:
    """The thought and the answer of a model's text.

    Examples: "<think>2+2 is 4</think>4" gives ("2+2 is 4", "4"); "2+2 is 4\\n</think>\\n4" the same; "<think>2+2"
    gives ("2+2", ""); "R1 opens with `<think>`." is all answer. Several thoughts are joined by a blank line.
    """
    thoughts: list[str] = []
    answers: list[str] = []
    opened = False
    start = 0
    for tag in tags_in(text):
        piece = text[start : tag.start()]
        if tag["close"]:
            if opened or thoughts:
                thoughts.append(piece)
            else:  # the prompt had opened it: whatever came before is thought
                thoughts.extend([*answers, piece])
                answers.clear()
            opened = False
        elif opened:  # the thought names its own tag
            thoughts.append(piece)
        else:
            answers.append(piece)
            opened = True
        start = tag.end()
    (thoughts if opened else answers).append(text[start:])
    return Split(_joined(thoughts), _joined(answers))


def tags_in(text: str) -> Iterator[re.Match[str]]:
    """The tags that mean something, as a match whose group `open` or `close` is the tag.

    They stand outside of code and quotes, an opening one only where a line begins, and a closing one only where no
    opening one in mid-line is left to be its other half.
    """
    if _TAG.search(text) is None:
        return
    code = [block.span() for block in _FENCED.finditer(text)]
    spoken_of = 0
    for tag in _TAG.finditer(text):
        if _is_quoted(text, tag, code):
            continue
        if tag["open"] and not _begins_line(text, tag):
            spoken_of += 1
        elif tag["close"] and spoken_of:
            spoken_of -= 1
        else:
            yield tag


def _is_quoted(text: str, tag: re.Match[str], code: list[tuple[int, int]]) -> bool:
    if any(start < tag.start() < end for start, end in code):
        return True
    return text[tag.start() - 1 : tag.start()] in tuple(_QUOTES)


def _begins_line(text: str, tag: re.Match[str]) -> bool:
    """Nothing stands before it in its line, or another tag does."""
    before = text[: tag.start()].rpartition("\n")[2].rstrip()
    return not before or _TAG_LAST.search(before) is not None


def _joined(pieces: list[str]) -> str:
    return "\n\n".join(piece.strip() for piece in pieces if piece.strip())
