"""Deduplication, decontamination, order and slices: what ends up in the tables."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moaa.conversation import Message
from moaa.data.decontaminate import Contamination, words
from moaa.data.dedup import Deduplicator, normalize, user_key
from moaa.data.permute import sort_key
from moaa.data.prepare import Counts, TableSource, prepare
from moaa.data.shapes import Use
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
    assert user_key(user(one)) == user_key(user(other))


def test_turns_count_and_answers_do_not() -> None:
    assert user_key(user("a", "b")) != user_key(user("a b"))
    system: list[Message] = [Message(role="system", content="x")]
    assert user_key(system + user("a")) == user_key([*user("a"), Message(role="assistant", content="other")])


def test_the_first_of_equals_stays() -> None:
    deduplicator = Deduplicator()
    assert [deduplicator.is_new(user(t)) for t in ("a", "b", "A ", "b")] == [True, True, False, False]


def test_words_split_at_punctuation_and_between_ideographs() -> None:
    assert words("It's 3.5, OK_now! 你好ma かな") == ["it", "s", "3", "5", "ok_now", "你", "好", "ma", "か", "な"]


PROMPT = "Explain how the tides of the sea follow the moon"  # 10 words
ANSWER = Message(role="assistant", content="tides of the sea follow")


@pytest.mark.parametrize(
    ("row", "ngram", "is_dropped"),
    [
        pytest.param(user("explain HOW the tides, of"), 5, True, id="five words in common"),
        pytest.param(user("explain how the tides -- in"), 5, False, id="four words in common"),
        pytest.param(user("xx", "please explain how the tides of it"), 5, True, id="in a later turn"),
        pytest.param([*user("x"), ANSWER], 5, True, id="in an answer"),
        pytest.param(user("explain how the", "tides of the"), 5, False, id="across turns"),
        pytest.param(user(PROMPT), 13, True, id="short prompt, equal"),
        pytest.param(user(PROMPT + " now"), 13, False, id="short prompt, longer row"),
        pytest.param(user(PROMPT), 10, True, id="just n words"),
        pytest.param(user(PROMPT), 0, False, id="off"),
    ],
)
def test_decontamination(row: list[Message], ngram: int, is_dropped: bool) -> None:
    contamination = Contamination(ngram)
    contamination.add(user(PROMPT))
    assert contamination.contains(row) is is_dropped


def test_a_short_later_turn_of_a_prompt_drops_nobody() -> None:
    contamination = Contamination(5)
    contamination.add(user(PROMPT, "continue"))
    assert not contamination.contains(user("continue"))
    assert not contamination.contains(user("why", "continue"))


def test_answers_of_evaluation_rows_are_not_prompts() -> None:
    contamination = Contamination(3)
    contamination.add([*user("one two three"), Message(role="assistant", content="four five six")])
    assert not contamination.contains(user("four five six"))


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
) -> dict[str, tuple[list[PromptRow], Counts]]:
    with prepare(sources, seed=seed, ngram=ngram, folder=folder, on_rows=lambda _: None) as tables:
        assert [table.name for table in tables] == [source.name for source in sources]
        found = {table.name: (list(table.rows()), table.counts) for table in tables}
    assert not list(folder.glob("*.spool")), "scratch is removed"
    return found


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
    assert found["sft-0"][1] == Counts(read=5, duplicates=1, kept=4)
    assert [(r["id"], r["messages"][0]["content"]) for r in found["sft-1"][0]] == [("0@1", "another")]
    assert found["sft-1"][1] == Counts(read=3, duplicates=1, contaminated=1, kept=1)
    assert found["preference-0"][1] == Counts(read=2, duplicates=1, kept=1)
    assert found["eval-e"][0] == [PromptRow(id="q", messages=user("What is two"), answer="2")]


def test_order_and_limit_of_evaluation_rows(tmp_path: Path) -> None:
    rows = [{"id": str(i), "prompt": f"question number {i}"} for i in range(20)]
    files = write(tmp_path / "e.jsonl", rows)
    whole = run(tmp_path, TableSource("eval-e", Use.PAIRWISE, files))["eval-e"][0]
    part, counts = run(tmp_path, TableSource("eval-e", Use.PAIRWISE, files, limit=5))["eval-e"]
    assert part == whole[:5]
    assert counts == Counts(read=20, over_limit=15, kept=5)
    assert [r["id"] for r in whole] == sorted((r["id"] for r in whole), key=lambda i: sort_key(0, i))
    assert whole != run(tmp_path, TableSource("eval-e", Use.PAIRWISE, files), seed=1)["eval-e"][0]


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
def test_one_id_for_two_rows_is_refused(tmp_path: Path, one: object, other: object) -> None:
    source = TableSource("eval-e", Use.EXACT_MATCH, write(tmp_path / "e.jsonl", [one, other]))
    with pytest.raises(DataError, match=r"e\.jsonl line 2: id: found .*; an earlier row with other content has it"):
        run(tmp_path, source)
    assert not list(tmp_path.glob("*.spool"))


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
