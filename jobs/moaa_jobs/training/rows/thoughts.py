"""Thoughts that reasoning models write before an answer: where they stand in a text, and a text without them."""

import re

_MARKS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
)
"""Openings and closings, as the reasoning parsers of vLLM 0.32 know them."""
TEXTS = frozenset(text for pair in _MARKS for text in pair)
_EMPTY = re.compile("|".join(rf"{re.escape(opening)}\s*{re.escape(closing)}" for opening, closing in _MARKS))


def unclosed(text: str) -> str:
    """From the last mark that opens a thought to the end of `text`, or "" where every thought is closed.

    >>> unclosed("assistant: <think>\\n")
    '<think>\\n'
    """
    for opening, closing in _MARKS:
        at = text.rfind(opening)
        if at >= 0 and closing not in text[at:]:
            return text[at:]
    return ""


def begins_with_thought(answer: str) -> bool:
    """Whether a thought comes first: one that is opened, or one that was opened before and is closed here.

    An answer that only speaks of `<think>` has none.
    """
    start = answer.lstrip()
    return any(start.startswith(opening) or _closes_first(answer, opening, closing) for opening, closing in _MARKS)


def _closes_first(answer: str, opening: str, closing: str) -> bool:
    at = answer.find(closing)
    return at >= 0 and opening not in answer[:at]


def without_thought(answer: str) -> str:
    """What follows the thought that an answer begins with; the answer itself where there is none."""
    if not begins_with_thought(answer):
        return answer
    ends = [answer.find(closing) + len(closing) for _, closing in _MARKS if closing in answer]
    return answer[min(ends) :].lstrip() if ends else ""


def continued(answer: str, opened: str) -> str | None:
    """What a model still writes of `answer` after a prompt that ends with `opened`, a thought's beginning.

    None: the answer has no thought, so that nothing would close the one that is open.

    >>> continued("<think>\\ntwo\\n</think>\\n\\nfour", "<think>\\n")
    'two\\n</think>\\n\\nfour'
    """
    if not begins_with_thought(answer):
        return None
    if answer.startswith(opened):
        return answer[len(opened) :]
    start = answer.lstrip()
    for opening, _ in _MARKS:
        if opened.startswith(opening) and start.startswith(opening):
            return start[len(opening) :].lstrip("\n")
    return answer


def ends_closed(prompt: str) -> bool:
    """Whether the last that a prompt says is that a thought has ended."""
    return prompt.rstrip().endswith(tuple(closing for _, closing in _MARKS))


def is_empty_thought(text: str) -> bool:
    return _EMPTY.fullmatch(text.strip()) is not None
