"""One record of a source to one PromptRow: pure functions, no I/O.

What always holds for a row that leaves here: an optional leading system turn, then user and assistant turns that
alternate, no empty turn, no character a server or a tokenizer could not take, at most `MAX_ROW_BYTES` of text. It ends
with a user turn, except for `Use.GIVEN`, whose rows end with the answer to train on.

Columns are taken in the order of `Shape`: data sets that carry both `messages` and `prompt` (UltraFeedback binarised,
UltraChat) mean the same conversation by both. A null column counts as absent. Other columns are ignored.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

from moaa.conversation import Message
from moaa.data.hashing import digest_of
from moaa.rows import PromptRow

MAX_ROW_BYTES = 1 << 20
"""Longer than any context window in use; a larger row is nearly always a broken export."""
MAX_ID_CHARACTERS = 256
GIVE_COLUMNS = "give messages (or conversations) with turns, prompt, or instruction"

_TYPE_NAMES = {dict: "an object", list: "a list", str: "text", bool: "true/false", int: "a number", float: "a number"}
ROLES: dict[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
}
ID_COLUMNS = ("id", "uid", "question_id")
"""Columns that name a row. `prompt_id` is not among them: it names a prompt, and several rows may share it."""
_UNUSABLE = re.compile("[\x00\ud800-\udfff]")


class Shape(StrEnum):
    """How a source writes a conversation; the value is the column that gives it away. Earlier ones win."""

    MESSAGES = "messages"
    CONVERSATIONS = "conversations"
    PREFERENCE = "chosen"
    PROMPT = "prompt"
    INSTRUCTION = "instruction"


class Use(StrEnum):
    """What a row is read for."""

    MIXTURE = "sft with answers: Mixture"
    GIVEN = "sft with answers: Given"
    PREFERENCE = "preference"
    PAIRWISE = "a Pairwise benchmark"
    EXACT_MATCH = "an ExactMatch benchmark"


class RowError(ValueError):
    """A record cannot be used. The reader adds the file and the line."""

    def __init__(self, field: str, found: object, remedy: str) -> None:
        self.field = field
        self.found = shorten(found)
        self.remedy = remedy
        super().__init__(f"{field}: found {self.found}; {remedy}")


def shorten(found: object) -> str:
    """At most 60 characters of what was found, safe to print."""
    text = found if isinstance(found, str) else repr(found)
    text = text if len(text) <= 60 else text[:57] + "..."
    return ascii(text)[1:-1] if _UNUSABLE.search(text) else repr(text) if isinstance(found, str) else text


def columns() -> frozenset[str]:
    """Every column that is ever read; Parquet readers need no other."""
    extra = {"prompt", "rejected", "response", "completion", "input", "output", "answer"}
    return frozenset({s.value for s in Shape} | extra | set(ID_COLUMNS))


def shape_of(record: Mapping[str, object]) -> Shape:
    """The shape of a record. Raises RowError: none of the known columns is there."""
    for shape in Shape:
        if record.get(shape.value) is not None:
            return shape
    names = ", ".join(f"{name} (null)" if record[name] is None else str(name) for name in record) or "nothing"
    raise RowError("columns", names, GIVE_COLUMNS)


def to_row(record: Mapping[str, object], shape: Shape, use: Use) -> PromptRow:
    """The record as a row for `use`.

    Raises:
        RowError: a field has a wrong type, role or value, or something the use needs is missing.
    """
    messages = _conversation(record, shape)
    if use is not Use.GIVEN and messages and messages[-1]["role"] == "assistant":
        messages = messages[:-1]
    _check_turns(messages, shape)
    if use is Use.GIVEN and messages[-1]["role"] != "assistant":
        raise RowError(
            shape.value,
            f"last turn {messages[-1]['role']}",
            "answers: Given needs an answer at the end; add it or use Mixture",
        )
    size = sum(len(m["content"].encode()) for m in messages)
    if size > MAX_ROW_BYTES:
        raise RowError(shape.value, f"{size} bytes of text", f"a row may hold {MAX_ROW_BYTES}; split or remove it")
    answer = _gold(record) if use is Use.EXACT_MATCH else None
    return PromptRow(id=_row_id(record) or digest_of(messages)[:32], messages=messages, answer=answer)


def _conversation(record: Mapping[str, object], shape: Shape) -> list[Message]:
    match shape:
        case Shape.MESSAGES:
            return _turns(record["messages"], "messages", "role", "content")
        case Shape.CONVERSATIONS:
            return _turns(record["conversations"], "conversations", "from", "value")
        case Shape.PREFERENCE:
            return _preference(record)
        case Shape.PROMPT:
            return _prompt(record["prompt"]) + _answer(record, ("response", "completion"))
        case Shape.INSTRUCTION:
            text = _text(record["instruction"], "instruction")
            if more := _optional_text(record, "input"):
                text = f"{text}\n\n{more}"
            return [Message(role="user", content=text), *_answer(record, ("output", "response"))]


def _preference(record: Mapping[str, object]) -> list[Message]:
    """The preferred conversation: `chosen` holds all of it, or only what follows `prompt`. `rejected` is ignored."""
    prompt = None if record.get("prompt") is None else _prompt(record["prompt"])
    if isinstance(record["chosen"], str):
        if prompt is None:
            raise RowError("prompt", None, "chosen holds an answer only, so prompt must hold the question")
        return [*prompt, Message(role="assistant", content=record["chosen"])]
    chosen = _turns(record["chosen"], "chosen", "role", "content")
    if chosen and chosen[0]["role"] == "assistant":
        if prompt is None:
            raise RowError("prompt", None, "chosen starts with the assistant, so prompt must hold the question")
        return prompt + chosen
    return chosen


def _prompt(value: object) -> list[Message]:
    if isinstance(value, list):
        return _turns(value, "prompt", "role", "content")
    return [Message(role="user", content=_text(value, "prompt"))]


def _answer(record: Mapping[str, object], names: tuple[str, ...]) -> list[Message]:
    for name in names:
        value = record.get(name)
        if isinstance(value, list):
            return _turns(value, name, "role", "content")
        if value is not None:
            return [Message(role="assistant", content=_text(value, name))]
    return []


def _turns(value: object, field: str, role_key: str, text_key: str) -> list[Message]:
    if not isinstance(value, list):
        raise RowError(field, value, f"must be a list of turns, not {_type(value)}")
    turns: list[Message] = []
    for i, item in enumerate(value):
        where = f"{field}[{i}]"
        if not isinstance(item, dict):
            raise RowError(where, item, f"must be an object with {role_key} and {text_key}, not {_type(item)}")
        name = item.get(role_key)
        role = ROLES.get(name) if isinstance(name, str) else None
        if role is None:
            raise RowError(f"{where}.{role_key}", name, "must be system, user or assistant (or human, gpt)")
        content = item.get(text_key)
        if isinstance(content, list):
            raise RowError(f"{where}.{text_key}", content, "lists of parts (images) are not supported; give text")
        turns.append(Message(role=role, content=_text(content, f"{where}.{text_key}")))
    if turns and turns[0]["role"] == "system" and not turns[0]["content"].strip():
        return turns[1:]  # many exports write an empty system turn where there is none
    return turns


def _check_turns(messages: list[Message], shape: Shape) -> None:
    field = shape.value
    talk = messages[1:] if messages and messages[0]["role"] == "system" else messages
    if not any(m["role"] == "user" for m in talk):
        raise RowError(field, [m["role"] for m in messages], "there is no user turn to answer")
    for i, message in enumerate(messages):
        where = f"{field} turn {i + 1}"
        if not message["content"].strip():
            raise RowError(where, message["content"], f"the {message['role']} turn is empty; remove the row or fill it")
    for i, message in enumerate(talk):
        expected = "user" if i % 2 == 0 else "assistant"
        if message["role"] != expected:
            where = f"{field} turn {i + 1 + len(messages) - len(talk)}"
            remedy = f"must be {expected}: an optional system turn, then user and assistant in turn"
            raise RowError(where, message["role"], remedy)


def _text(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise RowError(field, value, f"must be text, not {_type(value)}")
    if bad := _UNUSABLE.search(value):
        code = f"U+{ord(bad.group()):04X} at character {bad.start() + 1}"
        raise RowError(field, code, "NUL and lone surrogates cannot be sent to a model; clean the text")
    return value


def _optional_text(record: Mapping[str, object], name: str) -> str:
    return "" if record.get(name) is None else _text(record[name], name)


def _gold(record: Mapping[str, object]) -> str:
    value = record.get("answer")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if value is None:
        raise RowError("answer", None, "this benchmark needs the right answer of every row")
    if not (text := _text(value, "answer")).strip():
        raise RowError("answer", text, "is empty; give the right answer")
    return text


def _row_id(record: Mapping[str, object]) -> str | None:
    for name in ID_COLUMNS:
        value = record.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise RowError(name, value, f"must be text or a whole number, not {_type(value)}")
        text = _text(str(value), name)
        if not text.strip() or len(text) > MAX_ID_CHARACTERS:
            raise RowError(name, text, f"must have 1 to {MAX_ID_CHARACTERS} characters")
        return text
    return None


def _type(value: object) -> str:
    return "null" if value is None else _TYPE_NAMES.get(type(value), type(value).__name__)
