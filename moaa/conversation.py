"""Messages for models, and their rewriting for models without a system role. Pure."""

from collections.abc import Sequence
from typing import Literal, TypedDict


class Message(TypedDict):
    role: Literal["system", "user", "assistant"]
    content: str


Conversation = Sequence[Message]


def fold_system(messages: Conversation) -> list[Message]:
    """The conversation without system messages: each is put before the next user turn, after a blank line.

    For chat templates without a system role (Gemma 2, Mistral 0.1). A system message that no user turn follows becomes
    a user turn.
    """
    folded: list[Message] = []
    waiting: list[str] = []
    for message in messages:
        if message["role"] == "system":
            waiting.append(message["content"])
        elif message["role"] == "user" and waiting:
            folded.append({"role": "user", "content": "\n\n".join([*waiting, message["content"]])})
            waiting = []
        else:
            folded.append({"role": message["role"], "content": message["content"]})
    if waiting:
        folded.append({"role": "user", "content": "\n\n".join(waiting)})
    return folded


def user_turns(messages: Conversation) -> int:
    return sum(m["role"] == "user" for m in messages)


def has_system(messages: Conversation) -> bool:
    return any(m["role"] == "system" for m in messages)
