"""Cut a prompt until it fits, for rows longer than maxLength (`tooLong: CutPrompt`). Pure.

What the student is asked last stays longest: the oldest turns go first, each user turn with what was answered to it;
then the longest text that is left loses its middle, since questions stand at the beginning or the end of what they are
about. A cut text says so.
"""

from collections.abc import Callable, Sequence

from moaa.conversation import Message

MARK = "\n[…]\n"
"""Stands where the middle of a text was."""
LEAST_KEPT = 64
"""Characters of a text whose middle is cut; with fewer nothing is left to answer."""

Fits = Callable[[list[Message]], bool]


def cut_prompt(messages: Sequence[Message], fits: Fits) -> list[Message] | None:
    """The prompt with as little cut as `fits` asks for; None: it does not fit however it is cut.

    System messages and the last user turn with what follows it stay, with a text of them cut where that is needed.
    Raises what `fits` raises.
    """
    given = list(messages)
    system = [message for message in given if message["role"] == "system"]
    turns = [message for message in given if message["role"] != "system"]
    starts = [i for i, message in enumerate(turns) if message["role"] == "user"] or [0]
    left = given
    for start in starts[1:]:
        left = [*system, *turns[start:]]
        if fits(left):
            return left
    return _without_middle(left, fits)


def _without_middle(messages: list[Message], fits: Fits) -> list[Message] | None:
    longest = max(range(len(messages)), key=lambda i: len(messages[i]["content"]))
    text, found = messages[longest]["content"], None
    low, high = LEAST_KEPT, len(text) - len(MARK) - 1
    while low <= high:
        kept = (low + high) // 2
        shorter: Message = {"role": messages[longest]["role"], "content": _ends(text, kept)}
        tried = [*messages[:longest], shorter, *messages[longest + 1 :]]
        if fits(tried):
            found, low = tried, kept + 1
        else:
            high = kept - 1
    return found


def _ends(text: str, kept: int) -> str:
    """`kept` characters of a longer text, from its beginning and its end."""
    head = (kept + 1) // 2
    return text[:head] + MARK + text[len(text) - (kept - head) :]
