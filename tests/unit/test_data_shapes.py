"""Every column shape gives the conversation it means; everything else is refused with a sentence."""

import pytest

from moaa.data.shapes import MAX_ROW_BYTES, RowError, Shape, Use, shape_of, shorten, to_row
from moaa.rows import PromptRow

U = {"role": "user", "content": "Why?"}
A = {"role": "assistant", "content": "Because."}
S = {"role": "system", "content": "Be brief."}


def row(record: dict[str, object], use: Use = Use.MIXTURE) -> PromptRow:
    return to_row(record, shape_of(record), use)


@pytest.mark.parametrize(
    ("record", "prompt", "full"),
    [
        pytest.param({"messages": [S, U, A]}, [S, U], [S, U, A], id="messages"),
        pytest.param(
            {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}]},
            [U],
            [U, A],
            id="conversations",
        ),
        pytest.param(
            {
                "conversations": [
                    {"from": "system", "value": " "},
                    {"from": "user", "value": "Why?"},
                    {"from": "assistant", "value": "Because."},
                ]
            },
            [U],
            [U, A],
            id="empty system turn is dropped",
        ),
        pytest.param({"prompt": "Why?", "response": "Because."}, [U], [U, A], id="prompt, response"),
        pytest.param({"prompt": "Why?", "completion": "Because."}, [U], [U, A], id="prompt, completion"),
        pytest.param({"prompt": [S, U], "completion": [A]}, [S, U], [S, U, A], id="message lists"),
        pytest.param(
            {"instruction": "Add.", "input": "1 2", "output": "3"},
            [{"role": "user", "content": "Add.\n\n1 2"}],
            [{"role": "user", "content": "Add.\n\n1 2"}, {"role": "assistant", "content": "3"}],
            id="instruction, input, output",
        ),
        pytest.param({"instruction": "Why?", "input": "", "output": "Because."}, [U], [U, A], id="empty input"),
        pytest.param(
            {"prompt": "Why?", "chosen": [U, A], "rejected": [U, A]}, [U], [U, A], id="UltraFeedback binarised"
        ),
        pytest.param({"prompt": [S, U], "chosen": [A], "rejected": [A]}, [S, U], [S, U, A], id="explicit prompt"),
        pytest.param({"prompt": "Why?", "chosen": "Because.", "rejected": "No."}, [U], [U, A], id="plain texts"),
        pytest.param({"prompt": "ignored", "messages": [U, A]}, [U], [U, A], id="messages win"),
        pytest.param({"messages": None, "prompt": "Why?", "response": "Because."}, [U], [U, A], id="null is absent"),
    ],
)
def test_shapes(record: dict[str, object], prompt: list[object], full: list[object]) -> None:
    assert row(record, Use.MIXTURE)["messages"] == prompt
    assert row(record, Use.PREFERENCE)["messages"] == prompt
    assert row(record, Use.GIVEN)["messages"] == full
    assert row(record)["answer"] is None


def test_ids_are_the_sources_or_a_digest_of_what_is_kept() -> None:
    assert row({"id": 7, "prompt": "Why?"})["id"] == "7"
    assert row({"question_id": "q1", "prompt": "Why?"})["id"] == "q1"
    by_digest = row({"prompt": "Why?", "response": "One."})["id"]
    assert by_digest == row({"prompt": "Why?", "response": "Two.", "prompt_id": "x"})["id"]
    assert by_digest != row({"prompt": "Why?", "response": "One."}, Use.GIVEN)["id"]


@pytest.mark.parametrize(("answer", "expected"), [("42", "42"), (42, "42"), (" a b ", " a b ")])
def test_gold_answers(answer: object, expected: str) -> None:
    assert row({"prompt": "Why?", "answer": answer}, Use.EXACT_MATCH)["answer"] == expected
    assert row({"prompt": "Why?", "answer": answer}, Use.PAIRWISE)["answer"] is None


MIX = Use.MIXTURE


def turns(*parts: object) -> dict[str, object]:
    return {"messages": list(parts)}


BIG = "x" * (MAX_ROW_BYTES + 1)


@pytest.mark.parametrize(
    ("record", "use", "field", "remedy"),
    [
        pytest.param({"text": "a"}, MIX, "columns", "give messages", id="unknown columns"),
        pytest.param({}, MIX, "columns", "give messages", id="no columns"),
        pytest.param({"messages": "hi"}, MIX, "messages", "list of turns, not text", id="messages is text"),
        pytest.param({"messages": {"role": "user"}}, MIX, "messages", "not an object", id="messages is an object"),
        pytest.param({"messages": []}, MIX, "messages", "no user turn", id="no turns"),
        pytest.param({"messages": ["hi"]}, MIX, "messages[0]", "must be an object", id="turn is text"),
        pytest.param(turns({"role": "tool", "content": "x"}), MIX, "messages[0].role", "system, user", id="tool role"),
        pytest.param(turns({"content": "x"}), MIX, "messages[0].role", "system, user", id="no role"),
        pytest.param(turns({"role": "user"}), MIX, "messages[0].content", "not null", id="no content"),
        pytest.param(turns({"role": "user", "content": 5}), MIX, "messages[0].content", "not a number", id="number"),
        pytest.param(
            turns({"role": "user", "content": [{"type": "image"}]}),
            MIX,
            "messages[0].content",
            "not supported",
            id="image parts",
        ),
        pytest.param(turns({"role": "user", "content": " \n"}), MIX, "messages turn 1", "is empty", id="empty turn"),
        pytest.param({"messages": [S]}, MIX, "messages", "no user turn", id="system only"),
        pytest.param({"messages": [A, U]}, MIX, "messages turn 1", "must be user", id="starts with assistant"),
        pytest.param({"messages": [U, U]}, MIX, "messages turn 2", "must be assistant", id="two user turns"),
        pytest.param({"messages": [S, U, A, S]}, MIX, "messages turn 4", "must be user", id="system later"),
        pytest.param(
            {"conversations": [{"role": "user", "content": "x"}]},
            MIX,
            "conversations[0].from",
            "must be",
            id="wrong keys",
        ),
        pytest.param({"prompt": 3}, MIX, "prompt", "must be text", id="prompt is a number"),
        pytest.param({"prompt": ""}, MIX, "prompt turn 1", "is empty", id="empty prompt"),
        pytest.param({"prompt": "a\x00b"}, MIX, "prompt", "NUL", id="NUL"),
        pytest.param({"prompt": "a\ud800b"}, MIX, "prompt", "lone surrogates", id="lone surrogate"),
        pytest.param({"prompt": BIG}, MIX, "prompt", "may hold 1048576", id="too large"),
        pytest.param({"instruction": "a", "input": 3}, MIX, "input", "must be text", id="input is a number"),
        pytest.param({"chosen": "a"}, Use.PREFERENCE, "prompt", "must hold the question", id="chosen without prompt"),
        pytest.param({"chosen": [A]}, Use.PREFERENCE, "prompt", "must hold the question", id="chosen answer only"),
        pytest.param({"prompt": "a"}, Use.GIVEN, "prompt", "needs an answer at the end", id="Given without an answer"),
        pytest.param({"prompt": "a", "response": ""}, Use.GIVEN, "prompt turn 2", "is empty", id="Given, empty answer"),
        pytest.param({"prompt": "a"}, Use.EXACT_MATCH, "answer", "right answer of every row", id="no gold answer"),
        pytest.param({"prompt": "a", "answer": " "}, Use.EXACT_MATCH, "answer", "is empty", id="empty gold answer"),
        pytest.param({"prompt": "a", "answer": 0.5}, Use.EXACT_MATCH, "answer", "must be text", id="float answer"),
        pytest.param({"prompt": "a", "id": True}, MIX, "id", "text or a whole number", id="boolean id"),
        pytest.param({"prompt": "a", "id": ""}, MIX, "id", "1 to 256", id="empty id"),
        pytest.param({"prompt": "a", "id": "x" * 257}, MIX, "id", "1 to 256", id="long id"),
    ],
)
def test_bad_rows(record: dict[str, object], use: Use, field: str, remedy: str) -> None:
    with pytest.raises(RowError) as caught:
        row(record, use)
    assert caught.value.field == field
    assert remedy in caught.value.remedy
    assert len(caught.value.found) < 200
    str(caught.value).encode()  # printable whatever was found


def test_an_answer_that_is_dropped_need_not_be_good() -> None:
    assert row({"prompt": "Why?", "response": ""})["messages"] == [U]


def test_what_was_found_is_shortened_and_printable() -> None:
    assert shorten("a" * 100) == repr("a" * 57 + "...")
    assert shorten("\ud800") == "\\ud800"
    assert shorten(None) == "None"


def test_precedence_is_the_order_of_the_enum() -> None:
    assert list(Shape) == [Shape.MESSAGES, Shape.CONVERSATIONS, Shape.PREFERENCE, Shape.PROMPT, Shape.INSTRUCTION]
