"""Questions of Arena-Hard and MT-Bench meet the baseline's answers and the references, in the field's own layouts."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from moaa.data.further import arena_baseline, mt_references
from moaa.data.further.answers import read_answers
from moaa.data.further.completion import Completion, Unasked
from moaa.data.reading.bad_rows import BadRow
from moaa.data.reading.shapes import Use
from moaa.data.sources import SourcedRow, read_rows
from moaa.errors import DataError

SINCE_2_0 = {
    "uid": "q1",
    "ans_id": "x",
    "model": "o3",
    "messages": [{"role": "user", "content": "Ask"}, {"role": "assistant", "content": {"answer": "Reply"}}],
    "metadata": {"token_len": 1},
}
BEFORE = {
    "question_id": "q1",
    "model_id": "gpt-4-0314",
    "choices": [{"index": 0, "turns": [{"content": "Reply", "token_len": 1}]}],
}
FASTCHAT = {"question_id": 101, "model_id": "gpt-4", "choices": [{"index": 0, "turns": ["First", "Second"]}]}
HARD = {"uid": "q1", "category": "hard_prompt", "subcategory": "coding", "prompt": "Ask"}
OLD = {"question_id": "q1", "category": "arena-hard-v0.1", "cluster": "Games", "turns": [{"content": "Ask"}]}
MATH = {"question_id": 101, "category": "math", "turns": ["One?", "Two?"], "reference": ["not", "read"]}
WRITING = {"question_id": 81, "category": "writing", "turns": ["Write.", "Again."]}


def file(folder: Path, name: str, *rows: Mapping[str, Any]) -> list[tuple[Path, str]]:
    path = folder / name
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return [(path, name)]


def asked(folder: Path, completion: Completion, *rows: Mapping[str, Any]) -> list[SourcedRow | BadRow | Unasked]:
    return list(read_rows(file(folder, "question.jsonl", *rows), Use.PAIRWISE, completion=completion))


def facts(found: Sequence[SourcedRow | BadRow | Unasked]) -> list[tuple[str | None, object]]:
    """The answer and the facts of good rows."""
    assert all(isinstance(one, SourcedRow) for one in found), found
    rows = [one.row for one in found if isinstance(one, SourcedRow)]
    return [(row["answer"], json.loads(row.get("facts") or "null")) for row in rows]


@pytest.mark.parametrize("answer", [pytest.param(SINCE_2_0, id="since 2.0"), pytest.param(BEFORE, id="before")])
@pytest.mark.parametrize("question", [pytest.param(HARD, id="uid"), pytest.param(OLD, id="question_id")])
def test_arena_hard_s_question_gets_the_baseline_s_answer(
    tmp_path: Path, answer: Mapping[str, Any], question: Mapping[str, Any]
) -> None:
    completion = arena_baseline.completion(file(tmp_path, "baseline.jsonl", answer), None)
    [found] = asked(tmp_path, completion, question)
    assert facts([found]) == [("Reply", {"category": question["category"]})]
    assert isinstance(found, SourcedRow)
    assert (found.row["id"], [turn["content"] for turn in found.row["messages"]]) == ("q1", ["Ask"])
    assert "category" not in found.ignored


def test_questions_of_other_categories_are_not_asked_and_need_no_answer(tmp_path: Path) -> None:
    completion = arena_baseline.completion(file(tmp_path, "baseline.jsonl", SINCE_2_0), "hard_prompt")
    other = HARD | {"uid": "q2", "category": "creative_writing"}
    first, second = asked(tmp_path, completion, HARD, other)
    assert facts([first]) == [("Reply", {"category": "hard_prompt"})]
    assert second == Unasked("creative_writing")


@pytest.mark.parametrize(
    ("question", "why", "words"),
    [
        pytest.param(HARD | {"uid": "q9"}, "no-partner", "answers: found 'q9'; baseline.jsonl has no"),
        pytest.param({"uid": "q1", "prompt": "Ask"}, "wrong-type", "category: found None; must be text"),
        pytest.param(HARD | {"category": " "}, "wrong-type", "category: found ''; is empty"),
    ],
)
def test_a_question_without_its_partner_is_a_bad_row(
    tmp_path: Path, question: Mapping[str, Any], why: str, words: str
) -> None:
    completion = arena_baseline.completion(file(tmp_path, "baseline.jsonl", SINCE_2_0), None)
    [found] = asked(tmp_path, completion, question)
    assert isinstance(found, BadRow)
    assert found.why == why
    assert words in found.message


def test_a_baseline_that_answers_two_turns_is_another_benchmark_s(tmp_path: Path) -> None:
    completion = arena_baseline.completion(file(tmp_path, "baseline.jsonl", FASTCHAT), None)
    [found] = asked(tmp_path, completion, HARD | {"uid": "101"})
    assert isinstance(found, BadRow)
    assert "found '2 turns'; must answer one turn" in found.message


def test_mt_bench_s_references_follow_the_category(tmp_path: Path) -> None:
    completion = mt_references.completion(file(tmp_path, "gpt-4.jsonl", FASTCHAT))
    found = asked(tmp_path, completion, MATH, WRITING | {"reference": ["not", "read"]})
    assert facts(found) == [
        (None, {"category": "math", "references": ["First", "Second"]}),
        (None, {"category": "writing", "references": None}),
    ]
    assert all(isinstance(one, SourcedRow) and "reference" not in one.ignored for one in found)


def test_mt_bench_without_math_reasoning_and_coding_needs_no_references(tmp_path: Path) -> None:
    assert facts(asked(tmp_path, mt_references.completion(None), WRITING)) == [
        (None, {"category": "writing", "references": None})
    ]


@pytest.mark.parametrize(
    ("references", "words"),
    [
        pytest.param(None, "answers: found '101'; answers is not given, and has 0 of 2", id="not given"),
        pytest.param([FASTCHAT | {"question_id": 102}], "gpt-4.jsonl has 0 of 2 reference replies", id="another"),
        pytest.param(
            [{"question_id": 101, "choices": [{"turns": ["First"]}]}], "has 1 of 2 reference replies; math", id="one"
        ),
    ],
)
def test_a_question_that_is_judged_with_references_needs_one_for_each_turn(
    tmp_path: Path, references: list[dict[str, Any]] | None, words: str
) -> None:
    files = file(tmp_path, "gpt-4.jsonl", *references) if references else None
    [found] = asked(tmp_path, mt_references.completion(files), MATH)
    assert isinstance(found, BadRow)
    assert (found.why, words in found.message) == ("no-partner", True), found.message


@pytest.mark.parametrize(
    ("row", "words"),
    [
        pytest.param({"messages": SINCE_2_0["messages"]}, "uid or question_id: found 'messages'", id="no id"),
        pytest.param({"uid": True, "choices": []}, "one of them must name the question", id="an id that is none"),
        pytest.param({"uid": "a", "answer": "x"}, "messages or choices must hold the answer", id="no answer"),
        pytest.param({"uid": "a", "choices": []}, "choices: found []; must be a list with", id="no choice"),
        pytest.param({"uid": "a", "choices": [{"turns": None}]}, "turns: found None; must be a list", id="no turns"),
        pytest.param({"uid": "a", "choices": [{"turns": [3]}]}, "turns: found 3; must be text", id="a number"),
        pytest.param({"uid": "a", "choices": [{"turns": [" "]}]}, "the answer is empty", id="empty"),
        pytest.param(
            {"uid": "a", "messages": [{"role": "user", "content": "x"}]}, "must end with the assistant", id="a question"
        ),
        pytest.param(
            {"uid": "a", "messages": [{"role": "assistant", "content": {"text": "x"}}]}, "must be text", id="other key"
        ),
    ],
)
def test_an_answer_that_cannot_be_read_ends_the_reading(tmp_path: Path, row: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=r"answers\.jsonl line 1: ") as caught:
        read_answers(file(tmp_path, "answers.jsonl", row))
    assert words in str(caught.value)
    assert str(caught.value).endswith("every row of this file is needed")


def test_a_question_that_is_answered_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 2: question q1 is answered further up already"):
        read_answers(file(tmp_path, "answers.jsonl", SINCE_2_0, BEFORE))
