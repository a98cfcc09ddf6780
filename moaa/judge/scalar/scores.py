"""A reward model's number for every answer to one prompt; equal answers are scored once.

Calls are named `score<i>`, i being the first sample with that text. A call that fails for good leaves its answer
without a score, never with a low one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from moaa.asking.asker import Asker
from moaa.asking.gather import gather_calls
from moaa.asking.load import PROMPT_TOKENS, Load
from moaa.conversation import Conversation, Message
from moaa.errors import CallError
from moaa.judge.trail import Judgement, Role

ROLE = "reward model"
"""What one does, in the report's words."""


@dataclass(frozen=True)
class Scores:
    of: tuple[float | None, ...]
    """By sample, on the model's own scale; None: it has none."""
    said: tuple[tuple[int, Judgement], ...]
    """By the first sample of each text."""


async def scored(messages: Conversation, texts: Sequence[str], model: str, asker: Asker) -> Scores:
    """Scores of `texts`, answers to the last user turn of `messages`.

    Raises:
        CallError: a failure that may pass.
        ModelAbsent: both raised after every call that can be made now was made.
    """
    first = {text: i for i, text in reversed(list(enumerate(texts)))}
    distinct = sorted(first.values())
    replies = await gather_calls(asker.at(f"score{i}").score(model, answered(messages, texts[i])) for i in distinct)
    found: dict[int, float | None] = {}
    said: list[tuple[int, Judgement]] = []
    for i, reply in zip(distinct, replies, strict=True):
        failure = str(reply.reason) if isinstance(reply, CallError) else ""
        found[i] = None if isinstance(reply, CallError) else reply.score
        label = None if found[i] is None else str(found[i])
        said.append((i, Judgement("", Role.SCORE, model, "", failure=failure, label=label)))
    return Scores(tuple(found[first[text]] for text in texts), tuple(said))


def answered(messages: Conversation, text: str) -> Conversation:
    """The conversation up to its last user turn, answered by `text`."""
    last = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=len(messages) - 1)
    asked = [Message(role=m["role"], content=m["content"]) for m in messages[: last + 1]]
    return (*asked, Message(role="assistant", content=text))


def score_loads(model: str, answers: int, *, answer_tokens: int) -> Iterator[Load]:
    """Calls that score so many answers; nothing is written."""
    yield Load(model, answers, PROMPT_TOKENS + answer_tokens, 0)
