"""Files as users have them: good ones read the same in every format, bad ones give one clear error."""

import gzip
import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moaa.data.files import MAX_LINE_BYTES, READ_BYTES
from moaa.data.shapes import Use
from moaa.data.sources import choose_files, read_rows
from moaa.errors import DataError

ROWS = [{"id": str(i), "prompt": f"Question {i} — é 漢 😀?"} for i in range(3)]


def lines(*rows: object) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def parquet(rows: list[dict[str, object]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return bytes(sink.getvalue())


def read(path: Path, body: bytes, use: Use = Use.MIXTURE) -> list[tuple[str, str]]:
    path.write_bytes(body)
    return [(s.row["id"], s.row["messages"][0]["content"]) for s in read_rows([(path, path.name)], use)]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("a.jsonl", lines(*ROWS)),
        ("a.jsonl", b"\xef\xbb\xbf" + lines(*ROWS)),
        ("a.jsonl", lines(*ROWS).replace(b"\n", b"\r\n\r\n").rstrip()),
        ("a.json", json.dumps(ROWS, indent=2).encode()),
        ("a.json", b"\xef\xbb\xbf" + json.dumps(ROWS, ensure_ascii=False).encode()),
        ("a.json", lines(*ROWS)),
        ("a.parquet", parquet([dict(r) for r in ROWS])),
        ("A.PARQUET", parquet([{**r, "text_nobody_reads": "x"} for r in ROWS])),
    ],
    ids=["jsonl", "BOM", "CRLF, blank lines", "json", "json, BOM", "json lines in .json", "parquet", "more columns"],
)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str, body: bytes) -> None:
    assert read(tmp_path / name, body) == [(r["id"], r["prompt"]) for r in ROWS]


@pytest.mark.parametrize("size", [1, 100, READ_BYTES - 30, READ_BYTES, 5 * READ_BYTES])
def test_json_rows_and_characters_may_lie_across_reads(tmp_path: Path, size: int) -> None:
    rows = [{"id": str(i), "prompt": "漢" * size} for i in range(4)]
    body = json.dumps(rows, ensure_ascii=False).encode()
    assert read(tmp_path / "a.json", body) == [(r["id"], r["prompt"]) for r in rows]


def test_parquet_messages_are_structs(tmp_path: Path) -> None:
    body = parquet([{"messages": [{"role": "user", "content": "a"}]}, {"messages": [{"role": "user", "content": "b"}]}])
    assert [text for _, text in read(tmp_path / "a.parquet", body)] == ["a", "b"]


GOOD = lines(*ROWS)
BAD_UTF8 = b'{"prompt": "a\xff"}\n'
BROKEN_UTF8_PARQUET = parquet([{"prompt": "abcdefgh"}]).replace(b"abcdefgh", b"abcd\xff\xfegh")
MIXED = lines({"prompt": "a"}, {"messages": [{"role": "user", "content": "b"}]})


@pytest.mark.parametrize(
    ("name", "body", "expected"),
    [
        pytest.param("a.jsonl", b"", ["a.jsonl", "0 bytes", "empty"], id="empty file"),
        pytest.param("a.jsonl", b"\n\n", ["a.jsonl", "no row"], id="blank lines only"),
        pytest.param("a.json", b"[]", ["a.json", "no row"], id="empty list"),
        pytest.param("a.parquet", b"", ["a.parquet", "empty"], id="empty parquet"),
        pytest.param("a.parquet", parquet([{"prompt": "a"}])[:-20], ["a.parquet", "cut short"], id="truncated parquet"),
        pytest.param("a.parquet", b"PAR1" + b"\0" * 40 + b"PAR1", ["a.parquet", "not readable Parquet"], id="broken"),
        pytest.param("a.parquet", GOOD, ["no Parquet header", "does not fit its suffix"], id="JSON named parquet"),
        pytest.param("a.jsonl", parquet([{"prompt": "a"}]), ["Parquet", "suffix .jsonl"], id="parquet named jsonl"),
        pytest.param(
            "a.parquet", parquet([{"text": "a"}]), ["columns", "'text'", "give messages"], id="parquet, unknown columns"
        ),
        pytest.param("a.parquet", parquet([{"prompt": 1}]), ["row 1", "not a number"], id="parquet, number"),
        pytest.param("a.parquet", parquet([{"prompt": b"a"}]), ["row 1", "must be text, not bytes"], id="bytes"),
        pytest.param("a.parquet", BROKEN_UTF8_PARQUET, ["a.parquet", "not UTF-8"], id="parquet, not UTF-8"),
        pytest.param(
            "a.parquet", parquet([{"prompt": None}]), ["row 1", "prompt (null)", "give messages"], id="parquet, null"
        ),
        pytest.param("a.jsonl", gzip.compress(GOOD), ["gzip", "unpack"], id="gzip behind the wrong name"),
        pytest.param("a.jsonl.gz", gzip.compress(GOOD), ["gzip", "unpack"], id="gzip"),
        pytest.param("a.csv", b"prompt\nhi\n", [".csv", "only .jsonl"], id="csv"),
        pytest.param("data", GOOD, ["no suffix"], id="no suffix"),
        pytest.param("a.jsonl", "{}".encode("utf-16"), ["UTF-16", "UTF-8"], id="UTF-16"),
        pytest.param(
            "a.jsonl", GOOD + BAD_UTF8, ["line 4", "bytes ff", "save the file as UTF-8"], id="jsonl, not UTF-8"
        ),
        pytest.param("a.json", b"[" + BAD_UTF8 + b"]", ["a.json", "bytes ff"], id="json, not UTF-8"),
        pytest.param("a.jsonl", GOOD + b'{"prompt": "a"\n', ["line 4", "column", "not JSON"], id="cut line"),
        pytest.param("a.jsonl", b"hello\n", ["line 1", "not JSON"], id="text"),
        pytest.param(
            "a.jsonl", b'{"prompt": "a"}{"prompt": "b"}\n', ["line 1", "one row a line"], id="two rows in a line"
        ),
        pytest.param("a.jsonl", b"[1]\n", ["line 1", "must be an object"], id="list line"),
        pytest.param("a.jsonl", b'"x"\n', ["line 1", "must be an object"], id="string line"),
        pytest.param("a.jsonl", b"[" * 100000, ["line 1", "not usable JSON", "correct or remove"], id="deep nesting"),
        pytest.param(
            "a.jsonl", b'{"id": ' + b"9" * 5000 + b"}", ["line 1", "4300 digits", "remove the row"], id="endless number"
        ),
        pytest.param("a.jsonl", b'{"prompt": "' + b"x" * MAX_LINE_BYTES, ["line 1", "more than"], id="endless line"),
        pytest.param("a.jsonl", lines({"prompt": "x" * 1_100_000}), ["line 1", "may hold 1048576"], id="large row"),
        pytest.param("a.json", b'{"data": [1]}', ["row 1", "columns", "data"], id="rows inside an object"),
        pytest.param("a.json", b"[1, 2]", ["row 1", "must be an object"], id="list of numbers"),
        pytest.param("a.json", b'[{"prompt": "a"} {"prompt": "b"}]', ["row 1", "comma"], id="no comma"),
        pytest.param("a.json", b'[{"prompt": "a"}', ["row 1", "cut short"], id="list not closed"),
        pytest.param("a.json", b'[{"prompt": "a"},', ["not closed"], id="list not closed after a comma"),
        pytest.param("a.json", b'[{"prompt": "a', ["row 1", "cut short"], id="row cut"),
        pytest.param("a.json", b'[{"prompt": "' + b"x" * 9_000_000, ["row 1", "too large"], id="json, endless row"),
        pytest.param("a.json", b'[{"prompt": "a"}] []', ["after the list"], id="something after the list"),
        pytest.param("a.jsonl", MIXED, ["line 2", "messages", "began with prompt"], id="mixed shapes"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, body: bytes, expected: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path / name, body)
    message = str(caught.value)
    assert message.startswith(name)
    assert [part for part in expected if part not in message] == []
    assert len(message) < 400, "a message is read by people"


def test_row_errors_name_line_field_and_use(tmp_path: Path) -> None:
    body = lines({"prompt": "a", "answer": "1"}, {"prompt": "b"})
    with pytest.raises(DataError, match=r"^a\.jsonl line 2: answer: found None; this benchmark needs"):
        read(tmp_path / "a.jsonl", body, Use.EXACT_MATCH)


LONG = "data/train_prefs-00000-of-00002.parquet"
LONG_2 = "data/train_prefs-00001-of-00002.parquet"
HUB = [
    "README.md",
    "data/test-00000-of-00001.parquet",
    LONG_2,
    LONG,
    "data/train-00000-of-00001.parquet",
    "train.jsonl",
]


@pytest.mark.parametrize(
    ("names", "uri", "split", "expected"),
    [
        (["a.jsonl"], "file:///d/a.jsonl", "train", ["a.jsonl"]),
        (["b.jsonl", "a.jsonl", "README.md", "_SUCCESS", "sub/c.jsonl"], "file:///d", "train", ["a.jsonl", "b.jsonl"]),
        (["x.parquet", "w.parquet"], "s3://b/d/", "train", ["w.parquet", "x.parquet"]),
        (HUB, "hf://datasets/o/n", "train", ["data/train-00000-of-00001.parquet"]),
        (HUB, "hf://datasets/o/n", "train_prefs", [LONG, LONG_2]),
        (["train.jsonl", "test.jsonl"], "hf://datasets/o/n", "test", ["test.jsonl"]),
        (["train/0.parquet", "x/0.parquet"], "hf://datasets/o/n", "train", ["train/0.parquet"]),
    ],
)
def test_files_of_a_source(names: list[str], uri: str, split: str, expected: list[str]) -> None:
    assert choose_files(names, uri, split) == expected


@pytest.mark.parametrize(
    ("names", "uri", "match"),
    [
        ([], "file:///d", "no .jsonl"),
        (["README.md"], "file:///d", "no .jsonl"),
        (["a.jsonl", "b.parquet"], "file:///d", "one kind a folder"),
        (["a.jsonl", "b.jsonl.gz"], "file:///d", "b.jsonl.gz"),
        (["test.jsonl"], "hf://datasets/o/n", "no file is of that split; the repository has test.jsonl"),
        (["README.md"], "hf://datasets/o/n", "no data files"),
        (["en/train.parquet", "de/train.parquet"], "hf://datasets/o/n", "several folders"),
        (["trainer.jsonl", "train_sft.jsonl"], "hf://datasets/o/n", "no file is of that split"),
    ],
)
def test_sources_without_usable_files(names: list[str], uri: str, match: str) -> None:
    with pytest.raises(DataError, match=match):
        choose_files(names, uri, "train")


def test_several_files_are_read_in_order(tmp_path: Path) -> None:
    files = []
    for name in ("b.jsonl", "a.jsonl"):
        (tmp_path / name).write_bytes(lines({"prompt": name}))
        files.append((tmp_path / name, name))
    assert [s.row["messages"][0]["content"] for s in read_rows(files, Use.MIXTURE)] == ["b.jsonl", "a.jsonl"]


@pytest.fixture
def peak() -> Iterator[Callable[[], int]]:
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_large_file_is_read_as_a_stream(tmp_path: Path, name: str, peak: Callable[[], int]) -> None:
    path = tmp_path / name
    with path.open("w") as file:
        for i in range(200):
            file.write(json.dumps({"id": i, "prompt": "x" * 100_000}) + "\n")
    assert sum(1 for _ in read_rows([(path, name)], Use.MIXTURE)) == 200
    assert peak() < 4_000_000, "20 MB in the file"
