"""Thoughts in the rows and prompts that a student is trained on; `moaa.thoughts` says what a thought is."""

import re

from moaa.thoughts import PAIRS, holds_thought, split_thought, tags_in

_EMPTY = re.compile("|".join(rf"{re.escape(opening)}\s*{re.escape(closing)}" for opening, closing in PAIRS))


def unclosed(text: str) -> str:
    """From the last tag that opens a thought to the end of `text`, or "" where every thought is closed.

    >>> unclosed("assistant: <think>\\n")
    '<think>\\n'
    """
    for opening, closing in PAIRS:
        at = text.rfind(opening)
        if at >= 0 and closing not in text[at:]:
            return text[at:]
    return ""


def closing_of(opened: str) -> str:
    """The tag that closes `opened`, a thought's beginning as `unclosed` finds it; "" where that is none."""
    return next((closing for opening, closing in PAIRS if opened.startswith(opening)), "")


def without_thought(answer: str) -> str:
    """What of an answer is no thought; the answer as it is where it holds none."""
    return split_thought(answer).answer if holds_thought(answer) else answer


def continued(answer: str, opened: str) -> str | None:
    """What a model still writes of `answer` after a prompt that ends with `opened`, a thought's beginning.

    None: the answer does not begin with a thought that ends as the open one has to end.

    >>> continued("<think>\\ntwo\\n</think>\\n\\nfour", "<think>\\n")
    'two\\n</think>\\n\\nfour'
    """
    closing, tags = closing_of(opened), list(tags_in(answer))
    if not any(tag["close"] == closing for tag in tags):
        return None
    first = tags[0]
    if first["close"]:  # the prompt had opened it, for whoever wrote the answer too
        return answer if first["close"] == closing else None
    if answer[: first.start()].strip() or not opened.startswith(first["open"]):
        return None
    return answer[len(opened) :] if answer.startswith(opened) else answer[first.end() :].lstrip("\n")


def ends_closed(prompt: str) -> bool:
    """Whether the last that a prompt says is that a thought has ended."""
    return prompt.rstrip().endswith(tuple(closing for _, closing in PAIRS))


def is_empty_thought(text: str) -> bool:
    return _EMPTY.fullmatch(text.strip()) is not None
