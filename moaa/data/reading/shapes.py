"""One record of a source to one PromptRow: pure functions, no I/O.

What always holds for a row that leaves here: an optional leading system turn, then user and assistant turns that
alternate, no empty turn, no character a server or a tokenizer could not take, at most `MAX_ROW_BYTES` of text. It ends
with a user turn, except for `Use.GIVEN`, whose rows end with the answer to train on; `Use.COMPARED` has it in `answer`.
Rows of `Shape.TURNS` have user turns only; a model answers every one.

Columns are taken in the order of `Shape`: data sets that carry both `messages` and `prompt` (UltraFeedback binarised,
UltraChat) mean the same conversation by both. A null column counts as absent. What else belongs to the question (a
system prompt, an input, a context) is read where its meaning is known and else refused; other columns are ignored and
named (`moaa.data.reading.columns`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from moaa.api.data import Columns
from moaa.conversation import Message
from moaa.data.hashing import digest_of
from moaa.data.reading.bad_rows import RowError, Why, text_of, type_name
from moaa.data.reading.columns import CONTEXT, SYSTEM, Fields
from moaa.data.reading.labels import gold, row_id
from moaa.data.reading.turns import conversation, dialogue, is_empty, prompt
from moaa.rows import PromptRow

MAX_ROW_BYTES = 1 << 20
"""Longer than any context window in use; a larger row is nearly always a broken export."""
GIVE_COLUMNS = "give messages (or conversations) with turns, prompt, instruction or question, or name yours in columns"
NO_COLUMNS = Columns()


class Shape(StrEnum):
    """How a source writes a conversation; the value is the column that gives it away. Earlier ones win."""

    MESSAGES = "messages"
    CONVERSATIONS = "conversations"
    CONVERSATION = "conversation"
    PREFERENCE = "chosen"
    PROMPT = "prompt"
    INSTRUCTION = "instruction"
    QUESTION = "question"
    TURNS = "turns"
    """A list of what the user says, turn by turn, without answers between (MT-Bench)."""
    TEXT = "text"
    """A dialogue in one text."""


class Use(StrEnum):
    """What a row is read for."""

    MIXTURE = "sft with answers: Mixture"
    GIVEN = "sft with answers: Given"
    PREFERENCE = "preference"
    PAIRWISE = "a benchmark"
    COMPARED = "a benchmark that compares with the rows' own answers"
    EXACT_MATCH = "an ExactMatch benchmark"


_ANSWERED: Mapping[Use, str] = {Use.GIVEN: "answers: Given", Use.COMPARED: "a comparison with the rows' own answers"}
"""Uses that read the given answer, and what asks for it."""


@dataclass(frozen=True)
class Read:
    """A record that was read."""

    row: PromptRow
    shape: Shape
    ignored: frozenset[str]
    """Columns with content that are not read; `messages[].name` is a key of turns."""


def read_record(record: Mapping[str, object], use: Use, columns: Columns = NO_COLUMNS) -> Read:
    """The record as a row for `use`; `columns` is what the resource says of the source's columns.

    Raises:
        RowError: a field has a wrong type, role or value, something the use needs is missing, or something that belongs
            to the question cannot be read.
    """
    fields = Fields(record, columns)
    shape = _shape_of(fields)
    messages = _conversation(fields, shape, use)
    own_id, answer = row_id(fields), gold(fields.get("answer")) if use is Use.EXACT_MATCH else None
    fields.settle(messages)
    has_answer = bool(messages) and messages[-1]["role"] == "assistant"
    if has_answer and use not in _ANSWERED:
        messages = messages[:-1]
    _check_turns(messages, shape, use)
    if use is Use.COMPARED:
        answer, messages = messages[-1]["content"], messages[:-1]
    size = sum(len(m["content"].encode()) for m in messages)
    if size > MAX_ROW_BYTES:
        remedy = f"a row may hold {MAX_ROW_BYTES}; split or remove it"
        raise RowError(Why.TOO_LARGE, shape.value, f"{size} bytes of text", remedy)
    row = PromptRow(id=own_id or digest_of(messages)[:32], messages=messages, answer=answer)
    return Read(row, shape, frozenset(fields.ignored))


def _shape_of(fields: Fields) -> Shape:
    for shape in Shape:
        if fields.has(shape.value):
            return shape
    if fields.has("message_id") and fields.has("parent_id"):
        raise RowError(
            Why.TREE, "parent_id", fields.get("parent_id"), "is a tree with one message a row; write one conversation "
            "a row: follow parent_id from a leaf to its root"
        )  # fmt: skip
    raise RowError(Why.UNKNOWN_COLUMNS, "columns", ", ".join(fields.names()) or "nothing", GIVE_COLUMNS)


def _conversation(fields: Fields, shape: Shape, use: Use) -> list[Message]:
    value = fields.get(shape.value)
    context: tuple[str, ...] = ("context",) if "context" in fields.explicit else ()
    match shape:
        case Shape.MESSAGES | Shape.CONVERSATIONS | Shape.CONVERSATION:
            messages = conversation(value, shape.value, fields.ignored.add)
            if "response" in fields.explicit:
                messages += _answer(fields, ("response",), use)
        case Shape.PREFERENCE:
            messages = _preference(fields)
        case Shape.PROMPT:
            asked = prompt(value, "prompt", fields.ignored.add)
            messages = asked + _answer(fields, ("response", "completion", "output"), use)
        case Shape.INSTRUCTION:
            asked = prompt(value, "instruction", fields.ignored.add)
            messages = asked + _answer(fields, ("output", "response", "completion"), use)
            context = CONTEXT
        case Shape.QUESTION:
            asked = prompt(value, "question", fields.ignored.add)
            answers = ("response", "answer", "output", "completion")
            messages = asked + _answer(fields, answers if use is not Use.EXACT_MATCH else answers[:1], use)
            context = CONTEXT
        case Shape.TURNS:
            messages = _user_turns(value)
        case Shape.TEXT:
            messages = _dialogue(value, fields)
    return _with_system(_with_context(messages, fields, context), fields)


def _preference(fields: Fields) -> list[Message]:
    """The preferred conversation: `chosen` holds all of it, or only what follows `prompt`. `rejected` is not used."""
    fields.get("rejected")
    chosen = fields.get("chosen")
    asked = prompt(fields.get("prompt"), "prompt", fields.ignored.add) if fields.has("prompt") else None
    if isinstance(chosen, str):
        if (whole := dialogue(text_of(chosen, "chosen"))) is not None:
            return whole
        if asked is None:
            raise _no_question("holds an answer only")
        return [*asked, Message(role="assistant", content=chosen)]
    turns = conversation(chosen, "chosen", fields.ignored.add)
    if turns and turns[0]["role"] == "assistant":
        if asked is None:
            raise _no_question("starts with the assistant")
        return asked + turns
    return turns


def _no_question(why: str) -> RowError:
    return RowError(Why.UNKNOWN_COLUMNS, "prompt", None, f"chosen {why}, so prompt must hold the question")


def _answer(fields: Fields, names: tuple[str, ...], use: Use) -> list[Message]:
    """The given answer, or the turns that follow the prompt. A text is looked at only where it is trained on."""
    first = [name for name in names if name in fields.explicit]
    values = [(name, fields.get(name)) for name in (*first, *names)]
    name, value = next(((name, value) for name, value in values if value is not None), ("", None))
    if isinstance(value, list):
        return conversation(value, name, fields.ignored.add)
    if value is None or use not in _ANSWERED:
        return []
    if fields.get("label") is False:
        raise RowError(Why.NO_ANSWER, "label", False, f"says that {name} is a rejected answer; remove such rows")
    return [Message(role="assistant", content=text_of(value, name))]


def _user_turns(value: object) -> list[Message]:
    if not isinstance(value, list):
        raise RowError(Why.WRONG_TYPE, "turns", value, f"must be a list of what the user says, not {type_name(value)}")
    texts = [
        text_of(item.get("content") if isinstance(item, dict) else item, f"turns[{i}]") for i, item in enumerate(value)
    ]
    return [Message(role="user", content=text) for text in texts]


def _dialogue(value: object, fields: Fields) -> list[Message]:
    found = dialogue(text_of(value, "text"))
    if found is None:
        names = ", ".join(fields.names())
        raise RowError(Why.UNKNOWN_COLUMNS, "columns", names, f"text holds no dialogue with marks; {GIVE_COLUMNS}")
    return found


def _with_context(messages: list[Message], fields: Fields, names: tuple[str, ...]) -> list[Message]:
    """What belongs to the question, put behind the first user turn with a blank line between."""
    for name in names:
        if fields.has(name):
            text_of(fields.get(name), name)
    more = fields.context(names)
    first = next((i for i, m in enumerate(messages) if m["role"] == "user"), None)
    if not more or first is None:
        return messages
    whole = Message(role="user", content="\n\n".join([messages[first]["content"], *more]))
    return [*messages[:first], whole, *messages[first + 1 :]]


def _with_system(messages: list[Message], fields: Fields) -> list[Message]:
    """The conversation under the system prompt that a column of its own holds."""
    for name in SYSTEM:
        if not fields.has(name) or is_empty(value := fields.get(name)):
            continue
        text = text_of(value, name)
        if not messages or messages[0]["role"] != "system":
            messages = [Message(role="system", content=text), *messages]
        elif text.strip() not in messages[0]["content"]:
            raise RowError(
                Why.UNREAD_MEANING, name, text, "the conversation has another system turn; remove one, or name "
                "the column in columns.ignore of the source"
            )  # fmt: skip
    return messages


def _check_turns(messages: list[Message], shape: Shape, use: Use) -> None:
    field = shape.value
    talk = messages[1:] if messages and messages[0]["role"] == "system" else messages
    if not any(m["role"] == "user" for m in talk):
        roles = [str(m["role"]) for m in messages]
        raise RowError(Why.NO_USER_TURN, field, roles, "there is no user turn to answer")
    for i, message in enumerate(messages):
        if not message["content"].strip():
            remedy = f"the {message['role']} turn is empty; remove the row or fill it"
            raise RowError(Why.EMPTY_TURN, f"{field} turn {i + 1}", message["content"], remedy)
    _check_order(talk, shape, use, before=len(messages) - len(talk))
    if use in _ANSWERED and messages[-1]["role"] != "assistant":
        remedy = f"{_ANSWERED[use]} needs an answer at the end; add it, or choose another"
        raise RowError(Why.NO_ANSWER, field, f"last turn {messages[-1]['role']}", remedy)


def _check_order(talk: list[Message], shape: Shape, use: Use, *, before: int) -> None:
    if shape is Shape.TURNS:
        if len(talk) > 1 and use in (*_ANSWERED, Use.PREFERENCE):
            remedy = f"{use} needs answers between the user's turns; give messages"
            raise RowError(Why.NO_ANSWER, "turns", f"{len(talk)} turns", remedy)
        return
    for i, message in enumerate(talk):
        expected = "user" if i % 2 == 0 else "assistant"
        if message["role"] != expected:
            remedy = f"must be {expected}: an optional system turn, then user and assistant in turn"
            raise RowError(Why.TURN_ORDER, f"{shape.value} turn {i + 1 + before}", message["role"], remedy)
