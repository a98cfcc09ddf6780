"""Walk through a conversation's user turns (paper Eq. 3).

Each user turn is answered in the context of the turns before it and of the answers given to them here; the data's own
assistant turns are dropped, since the next answer must build on ours. System messages stay where they are.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from moaa.asking.reasons import Reason
from moaa.conversation import Conversation, Message
from moaa.errors import CallError

AnswerTurn = Callable[[int, Conversation], Awaitable[str]]
"""The answer to turn number t (from 0), given the conversation that ends with its user turn."""


@dataclass(frozen=True)
class Turns:
    """What of a conversation is answered."""

    only_last: bool = False
    """Only the last user turn; the assistant turns before it are part of the question, as worked examples are."""
    until: tuple[str, ...] = ()
    """Texts at which an answer ends, themselves not part of it."""


EVERY_TURN = Turns()


async def answer_turns(messages: Conversation, answer: AnswerTurn, turns: Turns = EVERY_TURN) -> list[Message]:
    """The conversation with every assistant turn written by `answer`; ends with one.

    Raises:
        CallError: there is no user turn, or a turn's answer failed.
    """
    if turns.only_last:
        prompt = prompt_of(messages)
        return [*prompt, Message(role="assistant", content=await answer(0, tuple(prompt)))]
    history: list[Message] = []
    turn = 0
    for message in messages:
        if message["role"] == "assistant":
            continue
        history.append(Message(role=message["role"], content=message["content"]))
        if message["role"] == "user":
            text = await answer(turn, tuple(history))
            history.append(Message(role="assistant", content=text))
            turn += 1
    if turn == 0:
        raise CallError(Reason.BAD_REQUEST, "the conversation has no user turn, so there is nothing to answer")
    return history if history[-1]["role"] == "assistant" else _until_last_answer(history)


def prompt_of(messages: Conversation) -> list[Message]:
    """The conversation up to its last user turn, the data's assistant turns before it included.

    Raises:
        CallError: there is no user turn.
    """
    last = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=None)
    if last is None:
        raise CallError(Reason.BAD_REQUEST, "the conversation has no user turn, so there is nothing to answer")
    return [Message(role=m["role"], content=m["content"]) for m in messages[: last + 1]]


def _until_last_answer(history: list[Message]) -> list[Message]:
    last = max(i for i, m in enumerate(history) if m["role"] == "assistant")
    return history[: last + 1]
