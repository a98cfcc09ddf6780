"""Every column shape gives the conversation it means; what would change the question is refused with a sentence."""

import json
from typing import Any

import pytest

from moaa.api.data import Columns
from moaa.data.reading.bad_rows import RowError, Why, shorten
from moaa.data.reading.shapes import MAX_ROW_BYTES, Shape, Use, read_record
from moaa.rows import PromptRow

U = {"role": "user", "content": "Why?"}
A = {"role": "assistant", "content": "Because."}
S = {"role": "system", "content": "Be brief."}
U2 = {"role": "user", "content": "Sure?"}
A2 = {"role": "assistant", "content": "Yes."}
FROM_U = {"from": "human", "value": "Why?"}
FROM_A = {"from": "gpt", "value": "Because."}
MIX, GIVEN, PREFER = Use.MIXTURE, Use.GIVEN, Use.PREFERENCE

Record = dict[str, object]


def row(record: Record, use: Use = MIX, **columns: Any) -> PromptRow:
    return read_record(record, use, Columns(**columns)).row


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


ADD = [user("Add.\n\n1 2"), assistant("3")]
HUMAN = "\n\nHuman: Why?\n\nAssistant: Because."
TOLD = [user("Why?"), assistant("Because."), user("Sure?"), assistant("Yes.")]

SHAPES: dict[str, tuple[Record, list[dict[str, str]]]] = {
    # messages
    "messages": ({"messages": [S, U, A]}, [S, U, A]),
    "messages, from and value": ({"messages": [FROM_U, FROM_A]}, [U, A]),
    "messages, four turns": ({"messages": [U, A, U2, A2]}, [U, A, U2, A2]),
    "messages, developer": ({"messages": [{"role": "developer", "content": "Be brief."}, U, A]}, [S, U, A]),
    "messages, roles in capitals": ({"messages": [{"role": "User", "content": "Why?"}, A]}, [U, A]),
    "messages, text parts": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Why?"}]}, A]},
        [U, A],
    ),
    "messages, several text parts": (
        {"messages": [user("x") | {"content": [{"type": "text", "text": "Add."}, {"type": "text", "text": "1 2"}]}, A]},
        [user("Add.\n1 2"), A],
    ),
    "messages, parts with Parquet's nulls": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Why?", "image_url": None}]}, A]},
        [U, A],
    ),
    "messages, no tool called": ({"messages": [U | {"tool_calls": []}, A | {"tool_calls": None}]}, [U, A]),
    "messages, thoughts beside the answer": ({"messages": [U, A | {"reasoning_content": "Hm."}]}, [U, A]),
    "messages as JSON text": ({"messages": json.dumps([S, U, A])}, [S, U, A]),
    "messages under system_prompt": ({"system_prompt": "Be brief.", "messages": [U, A]}, [S, U, A]),
    "messages and the same system": ({"system": "Be brief. ", "messages": [S, U, A]}, [S, U, A]),
    "messages, input said already": ({"messages": [user("Add.\n\n1 2"), A], "input": "1 2"}, [user("Add.\n\n1 2"), A]),
    "messages, no tools": ({"messages": [U, A], "tools": "[]"}, [U, A]),
    "messages win over prompt": ({"prompt": "Why?", "prompt_id": "x", "messages": [U, A]}, [U, A]),
    # conversations
    "conversations": ({"conversations": [FROM_U, FROM_A]}, [U, A]),
    "conversations, role and content": ({"conversations": [U, A]}, [U, A]),
    "conversations, empty system": ({"conversations": [{"from": "system", "value": " "}, FROM_U, FROM_A]}, [U, A]),
    "conversations, Parquet's union": (
        {"conversations": [FROM_U | {"role": None, "content": None}, FROM_A | {"weight": 1.0}]},
        [U, A],
    ),
    "conversations under a system column": ({"system": "Be brief.", "conversations": [FROM_U, FROM_A]}, [S, U, A]),
    "conversations, system null": ({"system_prompt": None, "conversations": [FROM_U, FROM_A]}, [U, A]),
    "conversation": (
        {
            "conversation_hash": "c",
            "model": "m",
            "language": "English",
            "conversation": [U | {"toxic": False, "turn_identifier": 1}, A | {"toxic": False, "turn_identifier": 1}],
        },
        [U, A],
    ),
    "conversation as a dialogue": ({"conversation": HUMAN}, [U, A]),
    # preference
    "chosen holds all": ({"prompt": "Why?", "chosen": [U, A], "rejected": [U, A2]}, [U, A]),
    "chosen holds the answer": ({"prompt": [S, U], "chosen": [A], "rejected": [A2]}, [S, U, A]),
    "chosen is text": ({"prompt": "Why?", "chosen": "Because.", "rejected": "No."}, [U, A]),
    "chosen is a dialogue": ({"chosen": HUMAN, "rejected": "\n\nHuman: Why?\n\nAssistant: No."}, [U, A]),
    "chosen is a longer dialogue": (
        {"chosen": HUMAN + "\n\nHuman: Sure?\n\nAssistant: Yes.", "rejected": HUMAN},
        [*TOLD],
    ),
    "prompt is a dialogue": (
        {"prompt": "\n\nHuman: Why?\n\nAssistant:", "chosen": "Because.", "rejected": "x"},
        [U, A],
    ),
    "chosen under system": (
        {"system": "Be brief.", "prompt": "Why?", "chosen": "Because.", "rejected": "x"},
        [S, U, A],
    ),
    # prompt
    "prompt, response": ({"prompt": "Why?", "response": "Because."}, [U, A]),
    "prompt, completion": ({"prompt": "Why?", "completion": "Because."}, [U, A]),
    "prompt, output": ({"prompt": "Why?", "output": "Because."}, [U, A]),
    "prompt, message lists": ({"prompt": [S, U], "completion": [A]}, [S, U, A]),
    "prompt, wanted": ({"prompt": "Why?", "completion": "Because.", "label": True}, [U, A]),
    "prompt, images of nothing": ({"prompt": "Why?", "response": "Because.", "images": []}, [U, A]),
    "prompt holds the choices": (
        {"prompt": "Pick: red or blue", "choices": ["red", "blue"], "response": "red"},
        [user("Pick: red or blue"), assistant("red")],
    ),
    # instruction
    "instruction, input, output": ({"instruction": "Add.", "input": "1 2", "output": "3"}, ADD),
    "instruction, no input": ({"instruction": "Why?", "input": "", "output": "Because."}, [U, A]),
    "instruction, <noinput>": ({"instruction": "Why?", "input": "<noinput>", "output": "Because."}, [U, A]),
    "instruction, context, response": (
        {"instruction": "Add.", "context": "1 2", "response": "3", "category": "closed_qa"},
        ADD,
    ),
    "instruction, empty context": ({"instruction": "Why?", "context": "", "response": "Because."}, [U, A]),
    "instruction under a system": (
        {"system": "Be brief.", "instruction": "Why?", "input": "", "output": "Because."},
        [S, U, A],
    ),
    "instruction, text beside it": (
        {"instruction": "Why?", "input": "", "output": "Because.", "text": "### x"},
        [U, A],
    ),
    # question
    "question, response under a system": (
        {"id": "niv.1", "system_prompt": "Be brief.", "question": "Why?", "response": "Because."},
        [S, U, A],
    ),
    "question, empty system": ({"system_prompt": "", "question": "Why?", "response": "Because."}, [U, A]),
    "question, answer": ({"question": "Why?", "answer": "Because.\n#### 4"}, [U, assistant("Because.\n#### 4")]),
    "question, context, answer": ({"question": "Add.", "context": "1 2", "answer": "3"}, ADD),
    # one text
    "text with marks": ({"text": "### Human: Why?\n### Assistant: Because."}, [U, A]),
    "text with marks in one line": ({"text": "### Human: Why?### Assistant: Because."}, [U, A]),
    "text of Humans": ({"text": HUMAN}, [U, A]),
    # nulls
    "NaN is absent": (
        {"prompt": "Why?", "system": float("nan"), "response": "Because.", "tools": float("nan")},
        [U, A],
    ),
    "null is absent": ({"messages": None, "prompt": "Why?", "response": "Because."}, [U, A]),
}


@pytest.mark.parametrize(("record", "full"), SHAPES.values(), ids=SHAPES.keys())
def test_shapes(record: Record, full: list[dict[str, str]]) -> None:
    assert full[-1]["role"] == "assistant"
    assert row(record, GIVEN)["messages"] == full
    assert row(record, MIX)["messages"] == full[:-1]
    assert row(record, PREFER)["messages"] == full[:-1]
    assert row(record)["answer"] is None


QUESTIONS: dict[str, tuple[Record, list[dict[str, str]]]] = {
    "turns of texts": ({"question_id": 81, "turns": ["Why?", "Sure?"], "reference": []}, [U, U2]),
    "turns of objects": ({"question_id": "a", "cluster": "c", "turns": [{"content": "Why?"}]}, [U]),
    "turns under a system": ({"system": "Be brief.", "turns": ["Why?"]}, [S, U]),
    "prompt alone": ({"prompt": "Why?"}, [U]),
    "the user speaks last": ({"messages": [U, A, U2]}, [U, A, U2]),
    "an answer that is dropped need not be good": ({"prompt": "Why?", "response": ""}, [U]),
    "nor be text": ({"question": "Why?", "answer": {"value": "x"}}, [U]),
    "instruction and a baseline's output": (
        {"instruction": "Why?", "output": "Because.", "generator": "m", "dataset": "d"},
        [U],
    ),
    "instructions to follow": ({"key": 1000, "prompt": "Why?", "instruction_id_list": ["a:b"], "kwargs": [{}]}, [U]),
    "Human: in an ordinary text": ({"prompt": "Human: a robot?"}, [user("Human: a robot?")]),
    "an instruction mark in the middle": ({"prompt": "What is [INST]?"}, [user("What is [INST]?")]),
}


@pytest.mark.parametrize(("record", "messages"), QUESTIONS.values(), ids=QUESTIONS.keys())
def test_questions(record: Record, messages: list[dict[str, str]]) -> None:
    assert row(record, MIX)["messages"] == messages
    assert row(record, Use.PAIRWISE)["messages"] == messages


def test_a_rows_own_answer_is_what_a_benchmark_compares_with() -> None:
    record: Record = {"instruction": "Why?", "output": "Because.", "generator": "m", "dataset": "d"}
    assert row(record, Use.COMPARED) == {**row(record, Use.PAIRWISE), "answer": "Because."}
    talk = row({"messages": [S, U, A, U2, A2]}, Use.COMPARED)
    assert (talk["messages"], talk["answer"]) == ([S, U, A, U2], "Yes.")
    assert row({"query": "Why?", "reference": "Because."}, Use.COMPARED, prompt="query", response="reference")["answer"]


MAPPED: dict[str, tuple[Record, dict[str, Any], list[dict[str, str]]]] = {
    "prompt and response": (
        {"query": "Why?", "reply": "Because."},
        {"prompt": "query", "response": "reply"},
        [U, A],
    ),
    "system": ({"persona": "Be brief.", "prompt": "Why?", "response": "Because."}, {"system": "persona"}, [S, U, A]),
    "context of a prompt": (
        {"prompt": "Add.", "input": "1 2", "response": "3"},
        {"context": "input"},
        ADD,
    ),
    "context of turns": (
        {"messages": [user("Add."), assistant("3")], "passage": "1 2"},
        {"context": "passage"},
        ADD,
    ),
    "context of a preference": ({"prompt": "Add.", "chosen": "3", "doc": "1 2"}, {"context": "doc"}, ADD),
    "messages elsewhere": ({"messages": [U2], "conversation_a": [U, A]}, {"messages": "conversation_a"}, [U, A]),
    "messages and their answer": (
        {"dialog": [U], "best": "Because."},
        {"messages": "dialog", "response": "best"},
        [U, A],
    ),
    "prompt wins over messages": (
        {"messages": [U2, A2], "prompt": "Why?", "response": "Because."},
        {"prompt": "prompt"},
        [U, A],
    ),
    "response wins over output": (
        {"instruction": "Why?", "output": "No.", "better": "Because."},
        {"response": "better"},
        [U, A],
    ),
    "a dialogue in a column of any name": ({"transcript": HUMAN}, {"messages": "transcript"}, [U, A]),
    "a dialogue as prompt": ({"body": "### Human: Why?\n### Assistant: Because."}, {"prompt": "body"}, [U, A]),
    "tools are not needed": ({"messages": [U, A], "tools": [{"name": "f"}]}, {"ignore": ["tools"]}, [U, A]),
    "another system is not wanted": ({"system": "Shout.", "messages": [S, U, A]}, {"ignore": ["system"]}, [S, U, A]),
    "system may be absent": ({"prompt": "Why?", "response": "Because."}, {"system": "persona"}, [U, A]),
}


@pytest.mark.parametrize(("record", "columns", "full"), MAPPED.values(), ids=MAPPED.keys())
def test_columns_that_the_resource_names(record: Record, columns: dict[str, Any], full: list[dict[str, str]]) -> None:
    assert row(record, GIVEN, **columns)["messages"] == full
    assert row(record, MIX, **columns)["messages"] == full[:-1]


def test_ids_are_the_sources_or_a_digest_of_what_is_kept() -> None:
    assert row({"id": 7, "prompt": "Why?"})["id"] == "7"
    assert row({"id": 7.0, "prompt": "Why?"})["id"] == "7"
    assert row({"question_id": "q1", "prompt": "Why?"})["id"] == "q1"
    assert row({"id": 7, "key": "k", "prompt": "Why?"}, id="key")["id"] == "k"
    by_digest = row({"prompt": "Why?", "response": "One."})["id"]
    assert by_digest == row({"prompt": "Why?", "response": "Two.", "prompt_id": "x"})["id"]
    assert by_digest == row({"prompt": "Why?", "id": 7}, ignore=["id"])["id"]
    assert by_digest == row({"prompt": "Why?", "id": float("nan")})["id"]
    assert by_digest != row({"prompt": "Why?", "response": "One."}, GIVEN)["id"]


@pytest.mark.parametrize(("answer", "expected"), [("42", "42"), (42, "42"), (" a b ", " a b ")])
def test_gold_answers(answer: object, expected: str) -> None:
    assert row({"prompt": "Why?", "answer": answer}, Use.EXACT_MATCH)["answer"] == expected
    assert row({"question": "Why?", "answer": answer}, Use.EXACT_MATCH)["answer"] == expected
    assert row({"question": "Why?", "answer": "x\n#### 4", "final": answer}, Use.EXACT_MATCH, answer="final")[
        "answer"
    ] == expected  # fmt: skip
    assert row({"prompt": "Why?", "answer": answer}, Use.PAIRWISE)["answer"] is None


def turns(*parts: object) -> Record:
    return {"messages": list(parts)}


BIG = "x" * (MAX_ROW_BYTES + 1)
CALL = [{"type": "function", "function": {"name": "f", "arguments": "{}"}}]

BAD: dict[str, tuple[Record, Use, Why, str, str]] = {
    "unknown columns": ({"a": "b"}, MIX, Why.UNKNOWN_COLUMNS, "columns", "give messages"),
    "no columns": ({}, MIX, Why.UNKNOWN_COLUMNS, "columns", "give messages"),
    "text without a dialogue": ({"text": "a"}, MIX, Why.UNKNOWN_COLUMNS, "columns", "no dialogue with marks"),
    "messages is text": ({"messages": "hi"}, MIX, Why.WRONG_TYPE, "messages", "list of turns, not text"),
    "messages is broken JSON": ({"messages": "[{"}, MIX, Why.WRONG_TYPE, "messages", "list of turns, not text"),
    "messages is an object": ({"messages": {"role": "user"}}, MIX, Why.WRONG_TYPE, "messages", "not an object"),
    "no turns": ({"messages": []}, MIX, Why.NO_USER_TURN, "messages", "no user turn"),
    "turn is text": ({"messages": ["hi"]}, MIX, Why.WRONG_TYPE, "messages[0]", "must be an object"),
    "tool role": (
        turns(U, {"role": "tool", "content": "x"}),
        MIX,
        Why.UNKNOWN_ROLE,
        "messages[1].role",
        "turns of tools",
    ),
    "no role": (turns({"content": "x"}), MIX, Why.UNKNOWN_ROLE, "messages[0].role", "system, user"),
    "no content": (turns({"role": "user"}), MIX, Why.WRONG_TYPE, "messages[0].content", "not null"),
    "content is a number": (
        turns({"role": "user", "content": 5}),
        MIX,
        Why.WRONG_TYPE,
        "messages[0].content",
        "a number",
    ),
    "value where content should be": (
        turns({"role": "user", "value": "x"}),
        MIX,
        Why.WRONG_TYPE,
        "messages[0].content",
        "null",
    ),
    "image parts": (
        turns({"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image"}]}),
        MIX,
        Why.UNREAD_MEANING,
        "messages[0].content[1]",
        "not supported",
    ),
    "part without text": (
        turns({"role": "user", "content": [{"type": "text"}]}),
        MIX,
        Why.WRONG_TYPE,
        "messages[0].content[0].text",
        "not null",
    ),
    "a tool is called": (
        turns(U, {"role": "assistant", "content": None, "tool_calls": CALL}),
        MIX,
        Why.UNREAD_MEANING,
        "messages[1].tool_calls",
        "calls of tools are not read",
    ),
    "a function is called": (
        turns(U, A | {"function_call": {"name": "f"}}),
        MIX,
        Why.UNREAD_MEANING,
        "messages[1].function_call",
        "calls of tools are not read",
    ),
    "empty turn": (turns({"role": "user", "content": " \n"}), MIX, Why.EMPTY_TURN, "messages turn 1", "is empty"),
    "system only": ({"messages": [S]}, MIX, Why.NO_USER_TURN, "messages", "no user turn"),
    "starts with the assistant": ({"messages": [A, U]}, MIX, Why.TURN_ORDER, "messages turn 1", "must be user"),
    "two user turns": ({"messages": [U, U]}, MIX, Why.TURN_ORDER, "messages turn 2", "must be assistant"),
    "two humans in one text": (
        {"text": "Human: a\n\nHuman: b\n\nAssistant: c"},
        MIX,
        Why.TURN_ORDER,
        "text turn 2",
        "must be",
    ),
    "system later": ({"messages": [S, U, A, S]}, MIX, Why.TURN_ORDER, "messages turn 4", "must be user"),
    "system and developer": (
        turns(S, {"role": "developer", "content": "x"}, U),
        MIX,
        Why.TURN_ORDER,
        "messages turn 2",
        "user",
    ),
    "two systems": ({"system": "Shout.", "messages": [S, U, A]}, MIX, Why.UNREAD_MEANING, "system", "columns.ignore"),
    "system is a list": ({"system": ["x"], "prompt": "a"}, MIX, Why.WRONG_TYPE, "system", "must be text"),
    "tools beside messages": (
        {"messages": [U, A], "tools": [{"name": "f"}]},
        MIX,
        Why.UNREAD_MEANING,
        "tools",
        "columns.ignore",
    ),
    "tools as text": (
        {"messages": [U, A], "tools": '[{"name": "f"}]'},
        MIX,
        Why.UNREAD_MEANING,
        "tools",
        "columns.ignore",
    ),
    "an image beside the prompt": (
        {"prompt": "What is it?", "image": {"bytes": b"x"}},
        MIX,
        Why.UNREAD_MEANING,
        "image",
        "belongs",
    ),
    "context beside a prompt": (
        {"prompt": "When?", "context": "x"},
        MIX,
        Why.UNREAD_MEANING,
        "context",
        "belongs to the question",
    ),
    "input beside messages": (
        {"messages": [U, A], "input": "1 2"},
        MIX,
        Why.UNREAD_MEANING,
        "input",
        "belongs to the question",
    ),
    "choices that are not shown": (
        {"question": "Which?", "choices": ["a1", "b1"], "answer": 1},
        Use.EXACT_MATCH,
        Why.UNREAD_MEANING,
        "choices",
        "belongs to the question",
    ),
    "choices that are parts of words": (
        {"question": "Do you know eyes?", "choices": ["no", "yes"]},
        MIX,
        Why.UNREAD_MEANING,
        "choices",
        "belongs to the question",
    ),
    "a passage that is not shown": (
        {"question": "Is it?", "passage": "It is.", "answer": True},
        MIX,
        Why.UNREAD_MEANING,
        "passage",
        "belongs to the question",
    ),
    "rows of a tree": (
        {"message_id": "1", "parent_id": "0", "text": None, "role": "prompter"},
        MIX,
        Why.TREE,
        "parent_id",
        "from a leaf to its root",
    ),
    "a tree": (
        {"message_tree_id": "1", "prompt": {"text": "a", "role": "prompter", "replies": []}},
        MIX,
        Why.TREE,
        "prompt",
        "the path from the root to one leaf",
    ),
    "a rendered template": ({"prompt": "<s>[INST] Why? [/INST]"}, MIX, Why.RENDERED, "prompt", "a second time"),
    "a rendered template of ours": ({"prompt": "<|im_start|>user\nWhy?"}, MIX, Why.RENDERED, "prompt", "give messages"),
    "prompt is a number": ({"prompt": 3}, MIX, Why.WRONG_TYPE, "prompt", "must be text"),
    "empty prompt": ({"prompt": ""}, MIX, Why.EMPTY_TURN, "prompt turn 1", "is empty"),
    "NUL": ({"prompt": "a\x00b"}, MIX, Why.UNUSABLE_TEXT, "prompt", "NUL"),
    "lone surrogate": ({"prompt": "a\ud800b"}, MIX, Why.UNUSABLE_TEXT, "prompt", "lone surrogates"),
    "lone surrogate in a dialogue": ({"text": HUMAN + "\udfff"}, MIX, Why.UNUSABLE_TEXT, "text", "lone surrogates"),
    "lone surrogate in a context": (
        {"instruction": "a", "context": "\udfff"},
        MIX,
        Why.UNUSABLE_TEXT,
        "context",
        "clean",
    ),
    "too large": ({"prompt": BIG}, MIX, Why.TOO_LARGE, "prompt", "may hold 1048576"),
    "input is a number": ({"instruction": "a", "input": 3}, MIX, Why.WRONG_TYPE, "input", "must be text"),
    "chosen without prompt": ({"chosen": "a"}, PREFER, Why.UNKNOWN_COLUMNS, "prompt", "must hold the question"),
    "chosen answer only": ({"chosen": [A]}, PREFER, Why.UNKNOWN_COLUMNS, "prompt", "must hold the question"),
    "turns are no list": ({"turns": 2}, MIX, Why.WRONG_TYPE, "turns", "a list of what the user says"),
    "empty turns": ({"turns": ["Why?", ""]}, MIX, Why.EMPTY_TURN, "turns turn 2", "is empty"),
    "turns to prefer": ({"turns": ["Why?", "Sure?"]}, PREFER, Why.NO_ANSWER, "turns", "answers between"),
    "Given without an answer": ({"prompt": "a"}, GIVEN, Why.NO_ANSWER, "prompt", "needs an answer at the end"),
    "compared without an answer": (
        {"instruction": "a"},
        Use.COMPARED,
        Why.NO_ANSWER,
        "instruction",
        "needs an answer at the end",
    ),
    "compared with an empty answer": (
        {"instruction": "a", "output": ""},
        Use.COMPARED,
        Why.EMPTY_TURN,
        "instruction turn 2",
        "is empty",
    ),
    "Given, empty answer": ({"prompt": "a", "response": ""}, GIVEN, Why.EMPTY_TURN, "prompt turn 2", "is empty"),
    "Given, answer is a number": ({"prompt": "a", "response": 3}, GIVEN, Why.WRONG_TYPE, "response", "must be text"),
    "Given, a rejected answer": (
        {"prompt": "a", "completion": "b", "label": False},
        GIVEN,
        Why.NO_ANSWER,
        "label",
        "rejected answer",
    ),
    "no gold answer": ({"prompt": "a"}, Use.EXACT_MATCH, Why.NO_ANSWER, "answer", "right answer of every row"),
    "empty gold answer": ({"prompt": "a", "answer": " "}, Use.EXACT_MATCH, Why.NO_ANSWER, "answer", "is empty"),
    "gold answer is no text": (
        {"prompt": "a", "answer": 0.5},
        Use.EXACT_MATCH,
        Why.WRONG_TYPE,
        "answer",
        "must be text",
    ),
    "gold answer is a solution": (
        {"question": "a", "answer": "2 + 2\n#### 4"},
        Use.EXACT_MATCH,
        Why.NO_ANSWER,
        "answer",
        "a worked solution",
    ),
    "boolean id": ({"prompt": "a", "id": True}, MIX, Why.BAD_ID, "id", "text or a whole number"),
    "empty id": ({"prompt": "a", "id": ""}, MIX, Why.BAD_ID, "id", "1 to 256"),
    "long id": ({"prompt": "a", "id": "x" * 257}, MIX, Why.BAD_ID, "id", "1 to 256"),
}


@pytest.mark.parametrize(("record", "use", "why", "field", "remedy"), BAD.values(), ids=BAD.keys())
def test_bad_rows(record: Record, use: Use, why: Why, field: str, remedy: str) -> None:
    with pytest.raises(RowError) as caught:
        row(record, use)
    assert (caught.value.why, caught.value.field) == (why, field)
    assert remedy in caught.value.remedy
    assert len(caught.value.found) < 200
    str(caught.value).encode()  # printable whatever was found


def test_a_column_that_the_resource_names_has_to_be_there() -> None:
    with pytest.raises(RowError, match=r"qery: found 'query'; there is no such column, but columns\.prompt"):
        row({"query": "Why?"}, prompt="qery")


def test_what_is_ignored_is_named() -> None:
    def ignored(record: Record, **columns: Any) -> frozenset[str]:
        return read_record(record, MIX, Columns(**columns)).ignored

    assert ignored({"messages": [U | {"name": "Ann"}, A | {"reasoning_content": "Hm.", "name": None}]}) == {
        "messages[].name",
        "messages[].reasoning_content",
    }
    assert ignored({"id": "1", "prompt": "Why?", "rating": 0, "source": "", "tags": [], "model": "m"}) == {
        "rating",
        "model",
    }
    assert ignored({"prompt": "Why?", "chosen": "a", "rejected": "b"}) == frozenset()
    assert ignored({"prompt": "Why?", "response": "Because."}) == frozenset(), "an answer that the mixture replaces"
    assert ignored({"prompt": "Why?", "messages": [U]}) == {"prompt"}
    assert ignored({"prompt": "Why?", "score": 1}, ignore=["score"]) == frozenset(), "it was named"
    assert ignored({"q": "Why?", "question": "Sure?", "answer": "x"}, prompt="q") == {"question", "answer"}


def test_what_was_found_is_shortened_and_printable() -> None:
    assert shorten("a" * 100) == repr("a" * 57 + "...")
    assert shorten("\ud800") == "\\ud800"
    assert shorten("\x00") == "\\x00"
    assert shorten(None) == "None"


def test_precedence_is_the_order_of_the_enum() -> None:
    assert [str(shape) for shape in Shape] == [
        "messages", "conversations", "conversation", "chosen", "prompt", "instruction", "question", "turns", "text",
    ]  # fmt: skip
