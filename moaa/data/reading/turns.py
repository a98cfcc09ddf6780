"""A conversation as a data set writes it to messages: a list of turns, or one text with the speakers' marks. Pure.

Turns are objects with role and content, or with from and value, in whichever column they stand. Content is text or a
list of text parts, which are joined by line breaks, as vLLM does. A call of a tool is no text and is refused; other
keys of a turn (`reasoning_content`, `name`, a time) are left unread and named to `ignored`.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Literal

from moaa.conversation import Message
from moaa.data.reading.bad_rows import RowError, Why, text_of, type_name

ROLES: dict[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
}
_PAIRS = (("role", "content"), ("from", "value"))
_CALLS = ("tool_calls", "function_call")
_TEXT_PARTS = frozenset({"text", "input_text", "output_text"})

_DIALOGUES = (
    # The forms of HH-RLHF and of Guanaco.
    re.compile(r"(?:\A\s*|\n\n)(?P<role>Human|Assistant):"),
    re.compile(r"###\s*(?P<role>Human|Assistant|User):"),
)
_RENDERED = re.compile(
    r"\s*(?:<s>\s*)?(?:<\|im_start\|>|\[INST\]|<\|begin_of_text\|>|<\|start_header_id\|>|<start_of_turn>|"
    r"<\|(?:system|user|assistant|endoftext|start)\|>|<bos>)"
)

Ignored = Callable[[str], None]
"""Called with each key that has content and is not read."""


def is_empty(value: object) -> bool:
    """Null, blank text, or a list or object without anything in it (a struct of nulls, as Parquet fills it)."""
    match value:
        case None:
            return True
        case str():
            return value.strip() in ("", "[]", "{}")
        case list() | tuple():
            return all(is_empty(item) for item in value)
        case dict():
            return all(is_empty(item) for item in value.values())
    return False


def conversation(value: object, field: str, ignored: Ignored) -> list[Message]:
    """The messages of a column that holds a conversation. Raises RowError."""
    if isinstance(value, str):
        if (found := dialogue(text_of(value, field))) is not None:
            return found
        value = _parsed(value)
    if not isinstance(value, list):
        raise RowError(Why.WRONG_TYPE, field, value, f"must be a list of turns, not {type_name(value)}")
    messages = [_turn(item, f"{field}[{i}]", field, ignored) for i, item in enumerate(value)]
    if messages and messages[0]["role"] == "system" and not messages[0]["content"].strip():
        return messages[1:]  # many exports write an empty system turn where there is none
    return messages


def prompt(value: object, field: str, ignored: Ignored) -> list[Message]:
    """A column that holds what is asked: a text, a dialogue up to its question, or a list of turns. Raises RowError."""
    if isinstance(value, list):
        return conversation(value, field, ignored)
    if isinstance(value, dict) and "replies" in value:
        raise RowError(
            Why.TREE,
            field,
            list(value),
            "is a tree of replies; write one conversation a row: the path from the root to one leaf",
        )
    text = text_of(value, field)
    if (found := dialogue(text)) is not None:
        return found
    if _RENDERED.match(text):
        raise RowError(
            Why.RENDERED,
            field,
            text,
            "is a conversation written out with a chat template's marks, which would be put around it a second time; "
            "give messages",
        )
    return [Message(role="user", content=text)]


def dialogue(text: str) -> list[Message] | None:
    """Turns of a dialogue in one text, or None when it is none: it starts with the human and has the assistant's mark.

    >>> dialogue("\\n\\nHuman: Why?\\n\\nAssistant:")
    [{'role': 'user', 'content': 'Why?'}]
    """
    if "Assistant:" not in text:
        return None
    for marks in _DIALOGUES:
        found = list(marks.finditer(text))
        roles = [match["role"] for match in found]
        is_dialogue = found and roles[0] != "Assistant" and "Assistant" in roles
        if not is_dialogue or text[: found[0].start()].strip():
            continue
        ends = [*(match.start() for match in found[1:]), len(text)]
        turns = [
            Message(
                role="assistant" if match["role"] == "Assistant" else "user", content=text[match.end() : end].strip()
            )
            for match, end in zip(found, ends, strict=True)
        ]
        return turns[:-1] if turns[-1]["role"] == "assistant" and not turns[-1]["content"] else turns
    return None


def _parsed(text: str) -> object:
    """A list of turns that a table without lists (CSV) holds as JSON; else the text itself."""
    if not text.lstrip().startswith("["):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _turn(item: object, where: str, field: str, ignored: Ignored) -> Message:
    if not isinstance(item, dict):
        raise RowError(
            Why.WRONG_TYPE,
            where,
            item,
            f"must be an object with role and content, or from and value, not {type_name(item)}",
        )
    role_key, text_key = next((pair for pair in _PAIRS if item.get(pair[0]) is not None), _PAIRS[0])
    name = item.get(role_key)
    role = ROLES.get(name.lower()) if isinstance(name, str) else None
    if role is None:
        raise RowError(
            Why.UNKNOWN_ROLE, f"{where}.{role_key}", name, "must be system, user or assistant (or human, gpt); "
            "turns of tools are not read"
        )  # fmt: skip
    for key in _CALLS:
        if not is_empty(item.get(key)):
            raise RowError(
                Why.UNREAD_MEANING, f"{where}.{key}", item[key], "calls of tools are not read; remove such rows"
            )
    for key, value in item.items():
        if key not in (role_key, text_key, *_CALLS) and not is_empty(value):
            ignored(f"{field}[].{key}")
    return Message(role=role, content=_content(item.get(text_key), f"{where}.{text_key}"))


def _content(value: object, where: str) -> str:
    if not isinstance(value, list):
        return text_of(value, where)
    parts: list[str] = []
    for i, part in enumerate(value):
        if not isinstance(part, Mapping) or part.get("type") not in _TEXT_PARTS:
            raise RowError(
                Why.UNREAD_MEANING,
                f"{where}[{i}]",
                part,
                "is not a part of text; images and the like are not supported",
            )
        parts.append(text_of(part.get("text"), f"{where}[{i}].text"))
    return "\n".join(parts)
