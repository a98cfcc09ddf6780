"""Deduplication, decontamination, order and slices: what ends up in the tables."""

import json
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moaa.conversation import Message
from moaa.data.account import COLUMNS, LISTED, Account, check_failures, check_left
from moaa.data.decontaminate import Contamination, words
from moaa.data.dedup import Deduplicator, normalize, question_key
from moaa.data.further.completion import Completion, Unasked
from moaa.data.permute import sort_key
from moaa.data.prepare import TableSource, prepare
from moaa.data.reading.shapes import Use
from moaa.data.slices import take
from moaa.data.spool import Spool
from moaa.errors import DataError
from moaa.plan.slices import Slice
from moaa.rows import PromptRow


def user(*turns: str) -> list[Message]:
    found: list[Message] = []
    for turn in turns:
        found += [Message(role="user", content=turn), Message(role="assistant", content="ok")]
    return found[:-1]


@pytest.mark.parametrize(
    ("one", "other"),
    [("Hello  World", "hello\nworld"), ("ﬁve", "FIVE"), ("Ｗｉｄｅ", "wide"), ("Straße", "STRASSE"), (" a", "a ")],
)
def test_spellings_that_count_as_the_same(one: str, other: str) -> None:
    assert normalize(one) == normalize(other)
    assert question_key(user(one)) == question_key(user(other))


def test_turns_count_and_answers_do_not() -> None:
    assert question_key(user("a", "b")) != question_key(user("a b"))
    assert question_key(user("a")) == question_key([*user("a"), Message(role="assistant", content="other")])


def test_system_prompts_tell_rows_apart() -> None:
    def under(system: str) -> list[Message]:
        return [Message(role="system", content=system), *user("a")]

    assert question_key(under("Answer in French.")) != question_key(under("Answer in German."))
    assert question_key(under("Answer in French.")) != question_key(user("a"))
    assert question_key(under("Answer  in FRENCH.")) == question_key(under("Answer in French."))
    assert question_key(under("a")) != question_key(user("a", "a"))


def test_the_first_of_equals_stays() -> None:
    deduplicator = Deduplicator()
    found = [deduplicator.first(user(t), f"sft-{i}") for i, t in enumerate(("a", "b", "A ", "b"))]
    assert found == [None, None, "sft-0", "sft-1"]


def test_words_split_at_punctuation_and_between_ideographs() -> None:
    assert words("It's 3.5, OK_now! 你好ma かな") == ["it", "s", "3", "5", "ok_now", "你", "好", "ma", "か", "な"]


PROMPT = "Explain how the tides of the sea follow the moon"  # 10 words
ANSWER = Message(role="assistant", content="The tides of the sea follow the moon.")
TEMPLATE = "Think step by step and write the answer to the following problem on a line of its own: "
EXPLAIN = " Explain it in the words of a farmer."
SUMS = (TEMPLATE + "What is 3 plus 4?", TEMPLATE + "What is 5 plus 6?")
PEARS = "我有三个苹果和五个梨子你有几个"
LONG = "A farmer has 12 cows and sells 5 of them at the market on the first day of the week; how many are left?"
OTHER = (
    "A teacher buys 30 pens for her class and gives every pupil 2 of them before the lesson; how many pupils has she?"
)


def held(questions: Sequence[str], row: list[Message], ngram: int = 5) -> str | None:
    contamination = Contamination(ngram)
    for i, question in enumerate(questions):
        contamination.add(user(question), table="eval-e", row=str(i))
    found = contamination.find(row)
    return None if found is None else found.row


@pytest.mark.parametrize(
    ("row", "ngram", "is_dropped"),
    [
        pytest.param(user(PROMPT + ", please."), 5, True, id="all of it"),
        pytest.param(user("so: HOW the tides, of the sea follow the moon?"), 5, True, id="nine of ten words"),
        pytest.param(user("explain how the tides of the sea"), 5, False, id="seven of ten words"),
        pytest.param(user("xx", "please " + PROMPT), 5, True, id="in a later turn"),
        pytest.param([*user("x"), Message(role="assistant", content=PROMPT)], 5, True, id="in an answer"),
        pytest.param([*user("x"), ANSWER], 5, True, id="most of it in an answer"),
        pytest.param(user("explain how the tides", "of the sea follow the moon"), 5, False, id="across turns"),
        pytest.param(user(PROMPT), 13, True, id="short question, equal"),
        pytest.param(user(PROMPT + "?!"), 13, True, id="short question, other punctuation"),
        pytest.param(user(PROMPT + " now"), 13, False, id="short question, longer row"),
        pytest.param(user(PROMPT), 10, True, id="just n words"),
        pytest.param(user(PROMPT), 0, False, id="off"),
    ],
)
def test_decontamination(row: list[Message], ngram: int, is_dropped: bool) -> None:
    assert held([PROMPT], row, ngram) == ("0" if is_dropped else None)


@pytest.mark.parametrize(
    ("questions", "row", "expected"),
    [
        pytest.param([TEMPLATE + LONG, TEMPLATE + OTHER], TEMPLATE + "What is the capital of a country of yours?", None,
                     id="the template of several questions"),
        pytest.param([TEMPLATE + LONG, TEMPLATE + OTHER], LONG, "0", id="the question without its template"),
        pytest.param([TEMPLATE + LONG, TEMPLATE + OTHER], TEMPLATE + OTHER, "1", id="the other question"),
        pytest.param([*SUMS], TEMPLATE + "What is 3 plus 9?", None,
                     id="a question that is two numbers"),
        pytest.param([*SUMS], TEMPLATE + "What is 3 plus 4?", "0",
                     id="the same numbers"),
        pytest.param([LONG], LONG.replace("12", "14"), None, id="another number"),
        pytest.param([LONG], LONG.replace("first", "second"), None, id="another number, spelt out"),
        pytest.param([LONG], LONG.replace("farmer", "peasant"), "0", id="another word"),
        pytest.param([LONG], LONG + " He had 3 before.", "0", id="something more, with a number"),
        pytest.param([TEMPLATE + "12 + 7"], TEMPLATE + "12 - 7", None, id="another sign"),
        pytest.param([TEMPLATE + "12 − 7"], TEMPLATE + "12-7", "0", id="the same sign, spelt otherwise"),
        pytest.param([TEMPLATE + "12 + 7", TEMPLATE + "12 - 7"], TEMPLATE + "12 - 7", "1", id="questions of one sign"),
        pytest.param(["What is 12 + 7?"], "What is 12 - 7?", None, id="short, another sign"),
        pytest.param(["What is 12 + 7?"], "what is 12+7", "0", id="short, the same"),
        pytest.param(["What is 12 + 7?"], "What is 12 + 8?", None, id="short, another number"),
        pytest.param(["What is -7?"], "What is 7?", None, id="short, a minus"),
        pytest.param(["Is C++ old?"], "Is C old?", None, id="short, a name with signs"),
        pytest.param(["Is 3.5 big?"], "Is 3,5 big?", "0", id="short, a decimal comma"),
        pytest.param([LONG, LONG + " Explain."], LONG, "0", id="a question within another"),
        pytest.param([TEMPLATE + f"{a} and {b}" for a in range(4) for b in range(4)], TEMPLATE + "2 and 3", "11",
                     id="each number in several questions"),
        pytest.param([TEMPLATE + f"{a} and {b}" for a in range(4) for b in range(4)], TEMPLATE + "2 and 7", None,
                     id="none of them"),
        pytest.param(["🙂"], "🙂", "0", id="no word"),
        pytest.param(["🙂"], "🙁", None, id="no word, another sign"),
        pytest.param([LONG, LONG + EXPLAIN], LONG + EXPLAIN, "0",
                     id="held by both"),
        pytest.param([PEARS], PEARS.replace("三", "四"), None, id="Chinese, another number"),
        pytest.param([PEARS], PEARS + "？", "0", id="Chinese, the same"),
    ],
)  # fmt: skip
def test_what_makes_a_question_the_same(questions: list[str], row: str, expected: str | None) -> None:
    assert held(questions, user(row)) == expected


def test_one_question_in_two_benchmarks_is_one() -> None:
    assert held([TEMPLATE + LONG, TEMPLATE + LONG], user(TEMPLATE + LONG)) == "0"
    assert held([LONG, LONG, OTHER], user(TEMPLATE + OTHER)) == "2"


def test_a_short_later_turn_of_a_prompt_drops_nobody() -> None:
    contamination = Contamination(5)
    contamination.add(user(PROMPT, "continue"), table="eval-e", row="q")
    assert contamination.find(user("continue")) is None
    assert contamination.find(user("why", "continue")) is None


def test_a_question_of_short_turns_is_known_by_all_of_them() -> None:
    contamination = Contamination(5)
    contamination.add(user("what is it", "and why so"), table="eval-e", row="q")
    assert contamination.find(user("What is it?", "And why so?")) is not None
    assert contamination.find(user("what is it")) is None


def test_answers_of_evaluation_rows_are_not_prompts() -> None:
    contamination = Contamination(3)
    question: list[Message] = [*user("one two three"), Message(role="assistant", content="four five six")]
    contamination.add(question, table="eval-e", row="q")
    assert contamination.find(user("four five six")) is None


def test_what_was_held_is_named() -> None:
    contamination = Contamination(3)
    contamination.add(user("What is two?"), table="eval-e", row="q7")
    assert str(contamination.find(user("what is two"))) == "question 'q7' of eval-e: 'What is two?'"


GOLDEN = [["1", "4", "5", "0", "3", "2", "7", "6"], ["2", "4", "6", "3", "1", "5", "7", "0"]]


def test_order_is_pinned() -> None:
    """Golden: another order would silently give other rows to every iteration of running experiments."""
    ids = [str(i) for i in range(8)]
    assert sorted(ids, key=lambda i: sort_key(0, i)) == GOLDEN[0]
    assert sorted(ids, key=lambda i: sort_key(1, i)) == GOLDEN[1]
    assert sort_key(1, "12") != sort_key(11, "2")


@given(st.sets(st.text(min_size=1, max_size=4), min_size=2, max_size=20), st.integers(0, 5))
def test_removing_a_row_keeps_the_order_of_the_others(ids: set[str], seed: int) -> None:
    whole = sorted(ids, key=lambda i: sort_key(seed, i))
    gone = whole[len(whole) // 2]
    assert sorted(ids - {gone}, key=lambda i: sort_key(seed, i)) == [i for i in whole if i != gone]


def write(path: Path, rows: Sequence[object]) -> tuple[tuple[Path, str], ...]:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ((path, path.name),)


def run(
    folder: Path, *sources: TableSource, seed: int = 0, ngram: int = 3
) -> dict[str, tuple[list[PromptRow], Account]]:
    with prepare(sources, seed=seed, ngram=ngram, folder=folder, on_rows=lambda _: None) as tables:
        assert [table.name for table in tables] == [source.name for source in sources]
        found = {table.name: (list(table.rows()), table.account) for table in tables}
    assert not list(folder.glob("*.spool")), "scratch is removed"
    return found


def figures(account: Account) -> dict[str, int]:
    """What became of the rows."""
    return {name: count for name, count in account.figures().items() if count and name != "turns"}


def test_tables_of_a_run(tmp_path: Path) -> None:
    def source(name: str, use: Use, rows: Sequence[object], limit: int | None = None) -> TableSource:
        return TableSource(name, use, write(tmp_path / f"{name}.jsonl", rows), limit)

    found = run(
        tmp_path,
        source("sft-0", Use.MIXTURE, [{"id": i, "prompt": f"first {i}"} for i in range(4)] + [{"prompt": "FIRST 0"}]),
        source(
            "sft-1", Use.MIXTURE, [{"id": 0, "prompt": "another"}, {"prompt": "first 3"}, {"prompt": "what is two?"}]
        ),
        source("preference-0", Use.PREFERENCE, [{"prompt": "first 1"}, {"prompt": "first 1"}]),
        source("eval-e", Use.EXACT_MATCH, [{"id": "q", "prompt": "What is two", "answer": 2}]),
    )
    assert {r["id"] for r in found["sft-0"][0]} == {"0", "1", "2", "3"}
    assert figures(found["sft-0"][1]) == {"read": 5, "duplicates": 1, "rows": 4}
    assert found["sft-0"][1].told() == "repeats of rows in sft-0: 1"
    assert [(r["id"], r["messages"][0]["content"]) for r in found["sft-1"][0]] == [("0@1", "another")]
    assert figures(found["sft-1"][1]) == {"read": 3, "duplicates": 1, "contaminated": 1, "rows": 1}
    assert found["sft-1"][1].told() == (
        "repeats of rows in sft-0: 1, with questions of eval-e: 1 (first: sft-1.jsonl line 3: question 'q' of eval-e: "
        "'What is two')"
    )
    assert list(found["sft-1"][1].rows("sft-1")) == [
        {"table": "sft-1", "where": "sft-1.jsonl line 3", "reason": "contaminated",
         "detail": "question 'q' of eval-e: 'What is two'"}
    ]  # fmt: skip
    assert figures(found["preference-0"][1]) == {"read": 2, "duplicates": 1, "rows": 1}
    assert found["eval-e"][0] == [PromptRow(id="q", messages=user("What is two"), answer="2")]


def test_user_turns_of_the_rows_that_are_kept_are_counted(tmp_path: Path) -> None:
    def talk(name: str, turns: int) -> dict[str, object]:
        asked = [{"role": "user", "content": f"{name} {turn}"} for turn in range(turns)]
        said = [{"role": "assistant", "content": "yes"}] * turns
        return {"messages": [message for pair in zip(asked, said, strict=True) for message in pair]}

    rows = [talk("long", 3), talk("short", 1), talk("short", 1), {"messages": []}]
    found = run(tmp_path, TableSource("sft-0", Use.MIXTURE, write(tmp_path / "s.jsonl", rows)))
    account = found["sft-0"][1]
    assert (account.kept, account.duplicates, account.failed) == (2, 1, 1)
    assert account.figures()["turns"] == 4


def test_order_and_limit_of_evaluation_rows(tmp_path: Path) -> None:
    rows = [{"id": str(i), "prompt": f"question number {i}"} for i in range(20)]
    files = write(tmp_path / "e.jsonl", rows)
    whole = run(tmp_path, TableSource("eval-e", Use.PAIRWISE, files))["eval-e"][0]
    part, account = run(tmp_path, TableSource("eval-e", Use.PAIRWISE, files, limit=5))["eval-e"]
    assert part == whole[:5]
    assert figures(account) == {"read": 20, "overLimit": 15, "rows": 5}
    assert account.figures()["turns"] == 5
    assert [r["id"] for r in whole] == sorted((r["id"] for r in whole), key=lambda i: sort_key(0, i))
    assert whole != run(tmp_path, TableSource("eval-e", Use.PAIRWISE, files), seed=1)["eval-e"][0]


def test_questions_of_other_categories_are_counted_and_named_where_none_is_left(tmp_path: Path) -> None:
    files = write(tmp_path / "e.jsonl", [{"id": str(i), "prompt": f"question {i}"} for i in range(5)])

    def complete(place: int, _columns: object, row: PromptRow) -> PromptRow | Unasked:
        return row if place < left else Unasked("coding")

    left = 2
    source = TableSource("eval-e", Use.PAIRWISE, files, completion=Completion(complete))
    rows, account = run(tmp_path, source)["eval-e"]
    assert len(rows) == 2
    assert figures(account) == {"read": 5, "unasked": 3, "rows": 2}
    left = 0
    with pytest.raises(DataError, match="no row is left of 5: of category 'coding': 5"):
        check_left([("spec.evaluation, benchmark e", run(tmp_path, source)["eval-e"][1])])


def test_only_evaluation_rows_that_are_kept_contaminate(tmp_path: Path) -> None:
    evaluation = write(tmp_path / "e.jsonl", [{"id": str(i), "prompt": f"question number {i}"} for i in range(20)])
    training = write(tmp_path / "t.jsonl", [{"prompt": f"question number {i}"} for i in range(20)])
    found = run(
        tmp_path, TableSource("sft-0", Use.MIXTURE, training), TableSource("eval-e", Use.PAIRWISE, evaluation, 5)
    )
    assert found["sft-0"][1].contaminated == 5


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(
            {"id": 1, "prompt": "a", "answer": "x"}, {"id": "1", "prompt": "b", "answer": "x"}, id="two prompts"
        ),
        pytest.param({"prompt": "a", "answer": "1"}, {"prompt": "a", "answer": "2"}, id="two answers to one prompt"),
    ],
)
def test_one_id_for_two_rows_is_a_bad_row(tmp_path: Path, one: object, other: object) -> None:
    source = TableSource("eval-e", Use.EXACT_MATCH, write(tmp_path / "e.jsonl", [one, other]))
    rows, account = run(tmp_path, source)["eval-e"]
    assert len(rows) == 1
    assert figures(account) == {"read": 2, "failed": 1, "rows": 1}
    assert account.examples["duplicate-id"].startswith("e.jsonl line 2: id: found ")
    assert "an earlier row with other content has it" in account.examples["duplicate-id"]


MANY: list[object] = [
    {"id": 1, "prompt": "one", "rating": 3},
    {"id": 2, "prompt": ""},
    {"id": 3, "prompt": None},
    {"id": 1, "prompt": "another one"},
    {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]},
    {"id": 4, "prompt": 5},
    {"id": 5, "prompt": ""},
    {"id": 6, "prompt": "a\ud83d", "tools": []},
    {"id": 7, "prompt": "two", "rating": None, "tools": [{"name": "f"}]},
    {"id": 8, "prompt": "three", "rating": 4},
]


def test_bad_rows_are_counted_with_an_example_each_and_told_at_once(tmp_path: Path) -> None:
    source = TableSource("sft-0", Use.MIXTURE, write(tmp_path / "s.jsonl", MANY))
    rows, account = run(tmp_path, source)["sft-0"]
    assert sorted(r["id"] for r in rows) == ["1", "8"]
    assert account.failed_by_reason == {
        "empty-turn": 2, "unknown-columns": 1, "duplicate-id": 1, "turn-order": 1, "wrong-type": 1, "unusable-text": 1,
        "unread-meaning": 1,
    }  # fmt: skip
    assert account.ignored == {"rating": 2}
    assert figures(account) == {"read": 10, "failed": 8, "rows": 2, "ignored.rating": 2}
    with pytest.raises(DataError) as caught:
        check_failures([("spec.data.sft[0]", account)], Fraction("0.01"))
    first, *reasons = str(caught.value).split("\n")
    assert first.startswith("spec.data.sft[0]: 8 of 10 rows cannot be used (empty-turn: 2, ")
    assert ", more than spec.failures.maxFraction 0.01 allows of a source; mend them, or raise it" in first
    assert reasons[0].startswith("- empty-turn, first s.jsonl line 2: prompt turn 1: found ''; the user turn is empty")
    assert len(reasons) == 7
    assert all(", first s.jsonl line " in reason for reason in reasons)
    check_failures([("spec.data.sft[0]", account)], Fraction("0.8"))
    assert [row["where"] for row in account.rows("sft-0")] == [f"s.jsonl line {i}" for i in (2, 3, 4, 5, 6, 7, 8, 9)]


def test_every_source_with_too_many_bad_rows_is_told(tmp_path: Path) -> None:
    good = write(tmp_path / "g.jsonl", [{"prompt": f"p {i}"} for i in range(200)] + [{"prompt": ""}])
    found = run(
        tmp_path,
        TableSource("sft-0", Use.MIXTURE, good),
        TableSource("sft-1", Use.MIXTURE, write(tmp_path / "s.jsonl", [{"prompt": ""}, {"prompt": "x"}])),
        TableSource("eval-e", Use.PAIRWISE, write(tmp_path / "e.jsonl", [{"text": "x"}])),
    )
    with pytest.raises(DataError) as caught:
        check_failures([(name, account) for name, (_, account) in found.items()], Fraction("0.01"))
    lines = [line for line in str(caught.value).split("\n") if not line.startswith("- ")]
    assert [line.partition(" (")[0] for line in lines] == [
        "sft-1: 1 of 2 rows cannot be used",
        "eval-e: 1 of 1 rows cannot be used",
    ]


def test_a_source_of_which_nothing_is_left_says_what_became_of_it(tmp_path: Path) -> None:
    questions = write(tmp_path / "e.jsonl", [{"id": "q", "prompt": "What is two", "answer": 2}])
    found = run(
        tmp_path,
        TableSource("sft-0", Use.MIXTURE, write(tmp_path / "s.jsonl", [{"prompt": "one"}, {"prompt": "three"}])),
        TableSource("sft-1", Use.MIXTURE, write(tmp_path / "t.jsonl", [{"prompt": "one"}, {"prompt": "what is two"}])),
        TableSource("eval-e", Use.EXACT_MATCH, questions),
    )
    with pytest.raises(DataError) as caught:
        check_left([(name, account) for name, (_, account) in found.items()])
    assert str(caught.value).startswith(
        "sft-1: no row is left of 2: repeats of rows in sft-0: 1, with questions of eval-e: 1 (first: t.jsonl line 2: "
        "question 'q' of eval-e: 'What is two'). Give other data; "
    )
    assert "decontaminationNgram: 0" in str(caught.value)


def test_examples_are_listed_within_bounds_and_counted_beyond(tmp_path: Path) -> None:
    rows = [{"prompt": "", f"column {i}": 1} for i in range(LISTED + 5)] + [{"prompt": "x"}]
    rows += [{"prompt": f"p {i}", f"column {i}": 1} for i in range(COLUMNS + 5)]
    source = TableSource("sft-0", Use.MIXTURE, write(tmp_path / "s.jsonl", rows))
    _, account = run(tmp_path, source)["sft-0"]
    assert account.failed == LISTED + 5
    assert len(list(account.rows("sft-0"))) == LISTED
    assert len(account.ignored) == COLUMNS


def test_spool_keeps_texts_on_disk_only(tmp_path: Path) -> None:
    with Spool(tmp_path / "s", 0) as spool:
        for i in range(3):
            spool.append(PromptRow(id=str(i), messages=user("漢" * i + "x"), answer=None))
        first = list(spool.permuted())
        spool.append(PromptRow(id="9", messages=user("y"), answer=None))
        assert len(spool) == 4
        assert [r for r in spool.permuted() if r["id"] != "9"] == first


TABLE = [PromptRow(id=str(i), messages=user(str(i)), answer=None) for i in range(5)]


@pytest.mark.parametrize(
    ("offset", "limit", "reuse", "ids"),
    [
        (0, 2, False, ["0", "1"]),
        (2, 2, False, ["2", "3"]),
        (0, 5, False, ["0", "1", "2", "3", "4"]),
        (0, None, False, ["0", "1", "2", "3", "4"]),
        (0, None, True, ["0", "1", "2", "3", "4"]),
        (4, 2, True, ["4", "0"]),
        (6, 2, True, ["1", "2"]),
        (3, 7, True, ["3", "4", "0", "1", "2", "3#2", "4#2"]),
    ],
)
def test_slices(offset: int, limit: int | None, reuse: bool, ids: list[str]) -> None:
    assert [r["id"] for r in take(TABLE, Slice("sft-0", offset, limit, reuse))] == ids


@given(st.integers(1, 7), st.integers(0, 9), st.integers(1, 20), st.lists(st.integers(0, 20), max_size=3).map(sorted))
def test_a_slice_in_pieces_is_the_slice(rows: int, offset: int, limit: int, cuts: list[int]) -> None:
    table = [PromptRow(id=str(i), messages=user(str(i)), answer=None) for i in range(rows)]
    part = Slice("sft-0", offset, limit, True)
    whole = take(table, part)
    assert [row["id"] for row in whole] == [
        str((offset + i) % rows) + ("" if i < rows else f"#{i // rows + 1}") for i in range(limit)
    ]
    edges = [0, *cuts, limit + 5]
    assert [row for a, b in pairwise(edges) for row in take(table, part, a, b)] == whole


@pytest.mark.parametrize(("offset", "limit"), [(4, 2), (0, 6), (5, 1)])
def test_too_few_rows(offset: int, limit: int) -> None:
    with pytest.raises(DataError, match=r"spec\.data\.preference\[1\]\.limit: .* there are 5 after .*allowReuse: true"):
        take(TABLE, Slice("preference-1", offset, limit, False))


@pytest.mark.parametrize("reuse", [True, False])
def test_no_rows_left(reuse: bool) -> None:
    with pytest.raises(DataError, match=r"spec\.data\.sft\[0\]: no row is left"):
        take([], Slice("sft-0", 0, None, reuse))


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 4))
def test_iterations_are_disjoint_until_the_rows_run_out(total: int, limit: int, iterations: int) -> None:
    table = [PromptRow(id=str(i), messages=user(str(i)), answer=None) for i in range(total)]
    seen: list[str] = []
    for i in range(min(iterations, total // limit)):
        seen += [r["id"] for r in take(table, Slice("sft-0", i * limit, limit, False))]
    assert len(seen) == len(set(seen))
