"""Separate thought and answer in the text of models that reason aloud. Pure.

Asking models and training a student read thoughts here alike: what the one takes for a thought the other never trains
as an answer.

A thought stands between tags that its model was trained on. There are three shapes: the whole block; a closing tag
alone, where the chat template had opened the thought in the prompt; and an opening tag alone, where the answer ended
(or was cut) in mid-thought. An answer may also speak *about* the tags: what is quoted, in code, or opens in mid-line is
text. gpt-oss puts thought and answer into channels instead.
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
    ("<mm:think>", "</mm:think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought", "<channel|>"),
)
"""Openings and closings, as the reasoning parsers of vLLM 0.32 and the chat templates of the families know them."""
TAGS = frozenset(tag for pair in PAIRS for tag in pair)
_OPEN, _CLOSE = ("|".join(map(re.escape, tags)) for tags in zip(*PAIRS, strict=True))
_TAG = re.compile(rf"(?P<open>{_OPEN})|(?P<close>{_CLOSE})", re.IGNORECASE)
_FIRSTS = frozenset(tag[0] for tag in TAGS)
"""Characters that a tag begins with. Most answers hold none, and finding that out is a hundred times faster."""
_TAG_LAST = re.compile(rf"(?:{_OPEN}|{_CLOSE})$", re.IGNORECASE)
_FENCED = re.compile(r"^ {0,3}(```|~~~).*?^ {0,3}\1", re.MULTILINE | re.DOTALL)
"""A code block that is closed; one that is not may be a thought that was cut, so it hides nothing."""
_QUOTES = "`'\"“‘«"

_HEADER = re.compile(
    r"(?:<\|start\|>[^<]*)?<\|channel\|>\s*(?P<channel>\w+)(?P<to>[^<]*)(?:<\|constrain\|>[^<]*)?<\|message\|>"
)
_FIRST_HEADER = re.compile(rf"\s*(?:assistant)?(?:{_HEADER.pattern})|\s*(?:analysis|commentary|final)<\|message\|>")
"""Also without the control token that a server has cut off."""
_MESSAGE_END = re.compile(r"<\|(?:end|return|call)\|>\s*$")
_BARE_CHANNELS = re.compile(r"\s*analysis(?P<thought>.*?)assistantfinal(?P<answer>.*)", re.DOTALL)
"""The same where a server leaves all control tokens out: `analysisI add.assistantfinal4`."""


class Split(NamedTuple):
    thought: str
    answer: str
    """Both without white space around them; either may be empty."""


def split_thought(text: str) -> Split:
    """The thought and the answer of a model's text.

    Examples: "<think>2+2 is 4</think>4" gives ("2+2 is 4", "4"); "2+2 is 4\\n</think>\\n4" the same; "<think>2+2"
    gives ("2+2", ""); "R1 opens with `<think>`." is all answer. Several thoughts are joined by a blank line.
    """
    if (channels := split_channels(text)) is not None:
        return channels
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


def split_channels(text: str) -> Split | None:
    """The thought and the answer of a text in gpt-oss' format (harmony); None: it is in another one.

    Messages stand behind headers that name a channel. Answers are those in `final`; `analysis`, `commentary` and calls
    of tools are thought. Servers that know the format never show it; others pass on
    "<|channel|>analysis<|message|>2+2 is 4<|end|><|start|>assistant<|channel|>final<|message|>4".
    """
    if bare := _BARE_CHANNELS.fullmatch(text):
        return Split(bare["thought"].strip(), bare["answer"].strip())
    first = _FIRST_HEADER.match(text)
    if first is None:
        return None
    code = [block.span() for block in _FENCED.finditer(text)]
    later = [h for h in _HEADER.finditer(text, first.end()) if not _is_quoted(text, h, code)]
    thoughts: list[str] = []
    answers: list[str] = []
    for header, following in zip([first, *later], [*later, None], strict=True):
        piece = _MESSAGE_END.sub("", text[header.end() : following.start() if following else len(text)])
        (answers if _is_answer(header) else thoughts).append(piece)
    return Split(_joined(thoughts), _joined(answers))


def _is_answer(header: re.Match[str]) -> bool:
    channel = header["channel"] or header[0].partition("<")[0].strip()
    return channel == "final" and "to=" not in (header["to"] or "")


def holds_thought(text: str) -> bool:
    """Whether a thought stands anywhere in a text. One that only speaks of `<think>` has none."""
    return split_channels(text) is not None or any(tags_in(text))


def tags_in(text: str) -> Iterator[re.Match[str]]:
    """The tags that mean something, as a match whose group `open` or `close` is the tag.

    They stand outside of code and quotes, an opening one only where a line begins, and a closing one only where no
    opening one in mid-line is left to be its other half.
    """
    if not any(first in text for first in _FIRSTS) or _TAG.search(text) is None:
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
