"""Labelled pairs as RewardBench 1 and 2, UltraFeedback and HH-RLHF write them."""

import json
from pathlib import Path
from typing import Any

import pytest

from moaa.data.labelled import Labelled, read_labelled


def read(folder: Path, *rows: Any, limit: int | None = None) -> Labelled:
    file = folder / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_labelled([(file, "pairs.jsonl")], limit=limit, seed=0, table="anchors")


def asked(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def said(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


@pytest.mark.parametrize(
    ("row", "question"),
    [
        pytest.param({"prompt": "Q", "chosen": "yes", "rejected": "no"}, "Q", id="RewardBench 1"),
        pytest.param(
            {"prompt": "Q", "chosen": ["yes"], "rejected": ["no"], "num_correct": 1, "models": ["m"]},
            "Q",
            id="RewardBench 2",
        ),
        pytest.param(
            {"prompt": "Q", "chosen": [asked("Q"), said("yes")], "rejected": [asked("Q"), said("no")], "score": 1},
            "Q",
            id="UltraFeedback",
        ),
        pytest.param(
            {"chosen": "\n\nHuman: Q\n\nAssistant: yes", "rejected": "\n\nHuman: Q\n\nAssistant: no"}, "Q", id="HH-RLHF"
        ),
        pytest.param(
            {"prompt": [asked("P"), said("R"), asked("Q")], "chosen": "yes", "rejected": "no"},
            "[User]\nP\n\n[Assistant]\nR\n\n[User]\nQ",
            id="several turns",
        ),
        pytest.param({"question": "Q", "chosen": "yes", "rejected": "no"}, "Q", id="another name"),
    ],
)
def test_a_pair_is_read(tmp_path: Path, row: dict[str, Any], question: str) -> None:
    [found] = read(tmp_path, row).rows
    assert (found["question"], found["right"], found["wrong"], found["subset"]) == (question, "yes", "no", None)


def test_one_right_answer_meets_every_wrong_one(tmp_path: Path) -> None:
    row = {"id": "7", "prompt": "Q", "chosen": ["yes"], "rejected": ["n1", "n2", "n3"], "subset": "Math"}
    rows = read(tmp_path, row).rows
    assert [(r["id"], r["question_id"], r["wrong"]) for r in rows] == [
        (f"Math/7#{k}", "Math/7", f"n{k + 1}") for k in range(3)
    ]
    assert {r["subset"] for r in rows} == {"Math"}


def test_of_ties_every_answer_is_in_a_pair(tmp_path: Path) -> None:
    row = {"prompt": "Q", "chosen": ["y1", "y2", "y3"], "rejected": ["n1", "n2"], "subset": "Ties"}
    assert [(r["right"], r["wrong"]) for r in read(tmp_path, row).rows] == [("y1", "n1"), ("y2", "n2"), ("y3", "n1")]


def test_an_id_may_come_again_in_another_subset_and_not_in_its_own(tmp_path: Path) -> None:
    row = {"id": 1, "prompt": "Q", "chosen": "yes", "rejected": "no", "subset": "a"}
    found = read(tmp_path, row, row | {"subset": "b"}, row, row | {"chosen": "yea"})
    account = found.account
    assert (account.read, account.kept, account.duplicates) == (4, 2, 1)
    assert dict(account.failed_by_reason) == {"duplicate-id": 1}


def test_limit_takes_questions_in_the_runs_order(tmp_path: Path) -> None:
    rows = [{"id": f"q{i}", "prompt": f"Q{i}", "chosen": "yes", "rejected": ["n1", "n2"]} for i in range(9)]
    whole, some = read(tmp_path, *rows), read(tmp_path, *rows, limit=4)
    assert some.rows == whole.rows[:8]
    assert (some.account.kept, some.account.over_limit, some.account.figures()["rows"]) == (4, 5, 4)
    assert [r["question_id"] for r in whole.rows] != sorted(r["question_id"] for r in whole.rows)


@pytest.mark.parametrize(
    ("row", "why", "says"),
    [
        ({"prompt": "Q", "chosen": "yes"}, "no-answer", "rejected: found null; labelled pairs need rejected"),
        ({"prompt": "Q", "chosen": "yes", "rejected": "yes"}, "no-answer", "is in chosen, too"),
        ({"prompt": "Q", "chosen": " ", "rejected": "no"}, "empty-turn", "the better answer is empty"),
        ({"prompt": "Q", "chosen": 1, "rejected": "no"}, "wrong-type", "must be a text or a list with one"),
        ({"prompt": "Q", "chosen": [], "rejected": "no"}, "wrong-type", "must be a text or a list with one"),
        ({"chosen": "yes", "rejected": "no"}, "no-user-turn", "give the question in prompt"),
        ({"prompt": "Q", "chosen": [asked("Q")], "rejected": "no"}, "no-answer", "last turn must be the assistant's"),
        ({"prompt": "Q", "chosen": "yes", "rejected": "no", "image": "x.png"}, "unread-meaning", "belongs to the"),
        ({"prompt": "Q", "chosen": "yes", "rejected": "no", "subset": 3}, "wrong-type", "subset: found 3"),
    ],
)
def test_a_row_that_is_no_pair_is_counted_with_its_place(
    tmp_path: Path, row: dict[str, Any], why: str, says: str
) -> None:
    account = read(tmp_path, row).account
    assert dict(account.failed_by_reason) == {why: 1}
    assert account.examples[why].startswith("pairs.jsonl line 1: ")
    assert says in account.examples[why].replace("None", "null")


def test_a_worse_answer_may_be_empty_and_columns_that_nobody_reads_are_named(tmp_path: Path) -> None:
    found = read(tmp_path, {"prompt": "Q", "chosen": "yes", "rejected": "", "chosen_model": "gpt"})
    assert found.rows[0]["wrong"] == ""
    assert dict(found.account.ignored) == {"chosen_model": 1}
