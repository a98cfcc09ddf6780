"""Files as users have them: good ones read the same in every format, bad ones give one clear error."""

import bz2
import csv
import gzip
import io
import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from moaa.api.data import Columns
from moaa.data.further.completion import Unasked
from moaa.data.reading.bad_rows import BadRow, Why
from moaa.data.reading.json_files import MAX_LINE_BYTES, READ_BYTES
from moaa.data.reading.shapes import Use
from moaa.data.sources import SourcedRow, choose_files, read_rows
from moaa.errors import DataError

ROWS = [{"id": str(i), "prompt": f"Question {i} — é 漢 😀?"} for i in range(3)]


def lines(*rows: object) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def parquet(rows: list[dict[str, object]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return bytes(sink.getvalue())


def arrow(rows: list[dict[str, object]], *, is_file: bool = False) -> bytes:
    table = pa.Table.from_pylist(rows)
    sink = pa.BufferOutputStream()
    with (pa.ipc.new_file if is_file else pa.ipc.new_stream)(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


Row = SourcedRow | BadRow | Unasked


def table(rows: list[dict[str, str]], delimiter: str = ",") -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def read_all(path: Path, body: bytes, use: Use = Use.MIXTURE, **columns: object) -> list[Row]:
    path.write_bytes(body)
    return list(read_rows([(path, path.name)], use, Columns.model_validate(columns)))


def good(found: list[Row]) -> list[tuple[str, str]]:
    rows = [row for row in found if isinstance(row, SourcedRow)]
    return [(s.row["id"], s.row["messages"][0]["content"]) for s in rows]


def read(path: Path, body: bytes, use: Use = Use.MIXTURE) -> list[tuple[str, str]]:
    found = read_all(path, body, use)
    assert not [row for row in found if isinstance(row, BadRow)]
    return good(found)


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
        ("a.arrow", arrow([dict(r) for r in ROWS])),
        ("a.arrow", arrow([dict(r) for r in ROWS], is_file=True)),
        ("a.csv", table(ROWS)),
        ("a.csv", b"\xef\xbb\xbf" + table(ROWS)),
        ("a.tsv", table(ROWS, "\t")),
        ("a.jsonl.gz", gzip.compress(lines(*ROWS))),
        ("a.jsonl.gz", gzip.compress(lines(*ROWS[:1])) + gzip.compress(lines(*ROWS[1:]))),
        ("a.JSONL.bz2", bz2.compress(lines(*ROWS))),
        ("a.jsonl.zst", zstandard.compress(lines(*ROWS))),
        ("a.json.gz", gzip.compress(json.dumps(ROWS).encode())),
        ("a.csv.zst", zstandard.compress(table(ROWS))),
    ],
    ids=[
        "jsonl",
        "BOM",
        "CRLF, blank lines",
        "json",
        "json, BOM",
        "json lines in .json",
        "parquet",
        "more columns",
        "arrow stream",
        "arrow file",
        "csv",
        "csv, BOM",
        "tsv",
        "gz",
        "gz of two parts",
        "bz2",
        "zst",
        "json.gz",
        "csv.zst",
    ],
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


def test_a_csv_cell_may_hold_anything_that_is_quoted(tmp_path: Path) -> None:
    rows = [{"prompt": 'a "b", c\r\nd\te', "response": ""}, {"prompt": "漢", "response": "x"}]
    assert [text for _, text in read(tmp_path / "a.csv", table(rows))] == ['a "b", c\r\nd\te', "漢"]


def test_turns_stand_in_a_csv_as_json(tmp_path: Path) -> None:
    body = table([{"messages": json.dumps([{"role": "user", "content": "Why?"}])}])
    assert [text for _, text in read(tmp_path / "a.csv", body)] == ["Why?"]


GOOD = lines(*ROWS)
BAD_UTF8 = b'{"prompt": "a\xff"}\n'
BROKEN_UTF8_PARQUET = parquet([{"prompt": "abcdefgh"}, {"prompt": "fine"}]).replace(b"abcdefgh", b"abcd\xff\xfegh")
MIXED = lines({"prompt": "a"}, {"messages": [{"role": "user", "content": "b"}]})


@pytest.mark.parametrize(
    ("name", "body", "expected"),
    [
        pytest.param("a.jsonl", b"", ["a.jsonl", "0 bytes", "empty"], id="empty file"),
        pytest.param("a.jsonl", b"\n\n", ["a.jsonl", "no row"], id="blank lines only"),
        pytest.param("a.json", b"[]", ["a.json", "no row"], id="empty list"),
        pytest.param("a.csv", b"prompt\n", ["a.csv", "no row"], id="column names only"),
        pytest.param("a.parquet", b"", ["a.parquet", "empty"], id="empty parquet"),
        pytest.param("a.parquet", parquet([{"prompt": "a"}])[:-20], ["a.parquet", "cut short"], id="truncated parquet"),
        pytest.param("a.parquet", b"PAR1" + b"\0" * 40 + b"PAR1", ["a.parquet", "not readable Parquet"], id="broken"),
        pytest.param("a.parquet", GOOD, ["'text'", "does not fit its suffix .parquet"], id="JSON named parquet"),
        pytest.param("a.jsonl", parquet([{"prompt": "a"}]), ["Parquet", "suffix .jsonl"], id="parquet named jsonl"),
        pytest.param("a.jsonl", arrow([{"prompt": "a"}]), ["Arrow", "suffix .jsonl"], id="arrow named jsonl"),
        pytest.param("a.arrow", arrow([{"prompt": "a" * 999}])[:-400], ["not readable Arrow"], id="truncated arrow"),
        pytest.param(
            "a.parquet",
            parquet([{"rating": "a"}]),
            ["columns", "'rating'", "give messages"],
            id="parquet, unknown columns",
        ),
        pytest.param("a.jsonl", gzip.compress(GOOD), ["'.gz'", "suffix .jsonl;"], id="gzip behind the wrong name"),
        pytest.param("a.jsonl.gz", GOOD, ["'text'", "suffix .jsonl.gz"], id="not compressed"),
        pytest.param("a.jsonl.gz", zstandard.compress(GOOD), ["'.zst'", "suffix .jsonl.gz"], id="another compression"),
        pytest.param("a.jsonl.gz", gzip.compress(GOOD)[:-12], ["not readable .gz", "cut short"], id="truncated gzip"),
        pytest.param("a.jsonl.bz2", bz2.compress(GOOD)[:-12], ["not readable .bz2", "cut short"], id="truncated bzip2"),
        pytest.param("a.jsonl.zst", zstandard.compress(GOOD)[:-9], ["not readable .zst"], id="truncated zstd"),
        pytest.param("a.parquet.gz", gzip.compress(b"PAR1"), [".gz", "only .jsonl"], id="parquet in gzip"),
        pytest.param("a.jsonl.xz", b"\xfd7zXZ\0", ["xz compression", "unpack"], id="xz"),
        pytest.param(
            "a.parquet",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n",
            ["a.parquet", "a Git LFS pointer", "git lfs pull"],
            id="Git LFS",
        ),
        pytest.param("a.txt", b"hi\n", [".txt", "only .jsonl"], id="txt"),
        pytest.param("data", GOOD, ["no suffix"], id="no suffix"),
        pytest.param("a.jsonl", "{}".encode("utf-16"), ["UTF-16", "UTF-8"], id="UTF-16"),
        pytest.param("a.json", b"[" + BAD_UTF8 + b"]", ["a.json", "bytes ff"], id="json, not UTF-8"),
        pytest.param("a.csv", b"prompt\na\xffb\n", ["a.csv", "bytes ff"], id="csv, not UTF-8"),
        pytest.param("a.csv", b"prompt,prompt\na,b\n", ["two columns have this name"], id="csv, a column twice"),
        pytest.param("a.csv", b'prompt\n"a\n', ["a.csv line", "unexpected end of data"], id="csv, open quotation"),
        pytest.param("a.jsonl", GOOD + b'{"prompt": "a', ["line 4", "cut short"], id="last line cut"),
        pytest.param("a.json", b"hello", ["row 1", "not JSON"], id="json, text"),
        pytest.param("a.json", b'[{"prompt": "a"} {"prompt": "b"}]', ["row 1", "comma"], id="no comma"),
        pytest.param("a.json", b'[{"prompt": "a"}', ["row 1", "cut short"], id="list not closed"),
        pytest.param("a.json", b'[{"prompt": "a"},', ["not closed"], id="list not closed after a comma"),
        pytest.param("a.json", b'[{"prompt": "a', ["row 1", "cut short"], id="row cut"),
        pytest.param("a.json", b'[{"prompt": "' + b"x" * 9_000_000, ["row 1", "too large"], id="json, endless row"),
        pytest.param("a.json", b'[{"prompt": "a"}] []', ["after the list"], id="something after the list"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, body: bytes, expected: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path / name, body)
    message = str(caught.value)
    assert message.startswith(name)
    assert [part for part in expected if part not in message] == []
    assert len(message) < 400, "a message is read by people"


@pytest.mark.parametrize(
    ("name", "body", "why", "expected"),
    [
        pytest.param(
            "a.jsonl", GOOD + BAD_UTF8, Why.NOT_UTF8, ["line 4", "bytes ff", "save the file as UTF-8"], id="not UTF-8"
        ),
        pytest.param("a.jsonl", GOOD + b'{"prompt": "a"\n', Why.NOT_JSON, ["line 4", "not JSON"], id="broken line"),
        pytest.param("a.jsonl", b"hello\n" + GOOD, Why.NOT_JSON, ["line 1", "not JSON"], id="text"),
        pytest.param(
            "a.jsonl",
            b'{"prompt": "a"}{"prompt": "b"}\n' + GOOD,
            Why.NOT_JSON,
            ["line 1", "one row a line"],
            id="two rows in a line",
        ),
        pytest.param("a.jsonl", b"[1]\n" + GOOD, Why.NOT_A_ROW, ["line 1", "must be an object"], id="list line"),
        pytest.param("a.jsonl", GOOD + b'"x"', Why.NOT_A_ROW, ["line 4", "must be an object"], id="string line"),
        pytest.param(
            "a.jsonl", b"[" * 100000 + b"\n" + GOOD, Why.NOT_JSON, ["line 1", "not usable JSON"], id="deep nesting"
        ),
        pytest.param(
            "a.jsonl",
            b'{"id": ' + b"9" * 5000 + b"}\n" + GOOD,
            Why.NOT_JSON,
            ["line 1", "4300 digits", "remove the row"],
            id="endless number",
        ),
        pytest.param(
            "a.jsonl",
            b'{"prompt": "' + b"x" * 3 * MAX_LINE_BYTES + b'"}\n' + GOOD,
            Why.TOO_LARGE,
            ["line 1", "more than"],
            id="endless line",
        ),
        pytest.param(
            "a.jsonl", lines({"prompt": "x" * 1_100_000}, *ROWS), Why.TOO_LARGE, ["line 1", "may hold"], id="large row"
        ),
        pytest.param(
            "a.json",
            json.dumps([{"data": [1]}, *ROWS]).encode(),
            Why.UNKNOWN_COLUMNS,
            ["row 1", "data"],
            id="other object",
        ),
        pytest.param(
            "a.json", json.dumps([1, *ROWS]).encode(), Why.NOT_A_ROW, ["row 1", "must be an object"], id="number"
        ),
        pytest.param("a.json", b"12 " + GOOD, Why.NOT_A_ROW, ["row 1", "found 12"], id="json, number before objects"),
        pytest.param(
            "a.jsonl", GOOD + MIXED[16:], Why.OTHER_SHAPE, ["line 4", "messages", "began with prompt"], id="shapes"
        ),
        pytest.param(
            "a.parquet", BROKEN_UTF8_PARQUET, Why.NOT_UTF8, ["a.parquet row 1", "not UTF-8"], id="parquet, not UTF-8"
        ),
        pytest.param(
            "a.parquet",
            parquet([{"prompt": "a"}, {"prompt": None}]),
            Why.UNKNOWN_COLUMNS,
            ["row 2", "prompt (null)"],
            id="parquet, null",
        ),
        pytest.param(
            "a.parquet", parquet([{"prompt": b"a"}]), Why.WRONG_TYPE, ["row 1", "not bytes"], id="parquet, bytes"
        ),
        pytest.param(
            "a.csv", b"prompt,id\na\nb,2\n", Why.NOT_A_ROW, ["line 2", "1 cells", "names 2"], id="csv, a cell less"
        ),
        pytest.param(
            "a.csv", b"prompt\na,b\nc\n", Why.NOT_A_ROW, ["line 2", "2 cells", "quote"], id="csv, a cell more"
        ),
    ],
)
def test_one_bad_row_is_one_bad_row(tmp_path: Path, name: str, body: bytes, why: Why, expected: list[str]) -> None:
    found = read_all(tmp_path / name, body)
    [broken] = [row for row in found if isinstance(row, BadRow)]
    assert broken.why is why
    assert [part for part in expected if part not in str(broken)] == []
    assert str(broken).startswith(name)
    assert len(str(broken)) < 400, "a message is read by people"
    assert len(found) - 1 == len(good(found))


def test_rows_after_a_bad_one_are_read(tmp_path: Path) -> None:
    body = b"".join([lines(ROWS[0]), b"{\n", BAD_UTF8, lines(ROWS[1]), b"[]\n", lines(ROWS[2])])
    found = read_all(tmp_path / "a.jsonl", body)
    assert good(found) == [(r["id"], r["prompt"]) for r in ROWS]
    assert [row.why for row in found if isinstance(row, BadRow)] == [Why.NOT_JSON, Why.NOT_UTF8, Why.NOT_A_ROW]


def test_the_first_row_that_can_be_read_decides_the_shape(tmp_path: Path) -> None:
    found = read_all(tmp_path / "a.jsonl", lines({"messages": "x"}, {"prompt": "a"}, {"prompt": "b"}))
    assert [text for _, text in good(found)] == ["a", "b"]


def test_columns_that_nobody_reads_are_named(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"prompt": "a", "rating": 1, "name": "x"},
        {"prompt": "b", "rating": 2, "name": None},
    ]
    for body, name, second in ((lines(*rows), "a.jsonl", {"rating"}), (parquet(rows), "a.parquet", {"rating", "name"})):
        found = [row.ignored for row in read_all(tmp_path / name, body) if isinstance(row, SourcedRow)]
        assert found == [{"rating", "name"}, second], "what stands in a column that is not read is not looked at"


def test_a_column_that_is_in_no_row_is_a_mistake_of_the_resource(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"prompt": "a", "persona": "x"}, {"prompt": "b"}]
    assert len(good(read_all(tmp_path / "a.jsonl", lines(*rows), system="persona"))) == 2
    for name, body in (("a.jsonl", lines(*rows)), ("a.parquet", parquet(rows)), ("a.csv", b"prompt,persona\na,x\n")):
        with pytest.raises(
            DataError,
            match=r"a\.\w+: columns\.system: found 'role'; no row has such a column; there are prompt, persona",
        ):
            read_all(tmp_path / name, body, system="role")


def test_row_errors_name_line_field_and_use(tmp_path: Path) -> None:
    body = lines({"prompt": "a", "answer": "1"}, {"prompt": "b"})
    [_, broken] = read_all(tmp_path / "a.jsonl", body, Use.EXACT_MATCH)
    assert str(broken).startswith("a.jsonl line 2: answer: found None; an ExactMatch benchmark needs")
    assert str(broken).endswith("(read as an ExactMatch benchmark)")


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
        (["train.jsonl.gz", "test.jsonl.gz"], "hf://datasets/o/n", "test", ["test.jsonl.gz"]),
        (["train.csv", "train.jsonl"], "hf://datasets/o/n", "train", ["train.jsonl"]),
        (["train.jsonl", "test.jsonl"], "file:///d/", "train", ["train.jsonl"]),
        (["train.jsonl", "test.jsonl"], "s3://b/d/", "test", ["test.jsonl"]),
        (["train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "test-00000-of-00001.parquet"], "s3://b/d",
         "train", ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]),
        (["train/a.jsonl", "train/b.jsonl", "test/a.jsonl"], "file:///d", "train", ["train/a.jsonl", "train/b.jsonl"]),
        (["train_a.jsonl", "train_b.jsonl"], "file:///d", "train", ["train_a.jsonl", "train_b.jsonl"]),
        (["math.jsonl.zst", "law.jsonl.zst"], "file:///d", "train", ["law.jsonl.zst", "math.jsonl.zst"]),
        (["data-00000-of-00001.arrow", "dataset_info.json", "state.json"], "file:///d", "train",
         ["data-00000-of-00001.arrow"]),
    ],
)  # fmt: skip
def test_files_of_a_source(names: list[str], uri: str, split: str, expected: list[str]) -> None:
    assert choose_files(names, uri, split) == expected


@pytest.mark.parametrize(
    ("names", "uri", "split", "match"),
    [
        ([], "file:///d", "train", "no data file lies directly in it"),
        (["README.md"], "file:///d", "train", "no data file"),
        (["sub/a.jsonl"], "file:///d", "train", "no data file lies directly in it"),
        (["a.jsonl", "b.parquet"], "file:///d", "train", "one kind a folder"),
        (["a.jsonl", "a.jsonl.gz"], "file:///d", "train", r"\.jsonl and \.jsonl\.gz.*one kind a folder"),
        (["a.jsonl", "b.txt"], "file:///d", "train", r"b\.txt"),
        (["a.jsonl", "b.parquet.gz"], "file:///d", "train", r"b\.parquet\.gz"),
        (["test.jsonl", "dev.jsonl"], "file:///d", "train", "the folder has dev.jsonl, test.jsonl: name one of them"),
        (["a.jsonl"], "file:///d", "test", "no file is of that split; the folder has a.jsonl"),
        (["train"], "file:///d/train", "train", "no suffix.*only .jsonl"),
        (["a\udcff.jsonl"], "file:///d/", "train", r"a\\udcff\.jsonl.*not UTF-8 \(U\+DCFF"),
        (["train.jsonl", "extra.jsonl"], "file:///d", "train", r"extra.jsonl.*of none; move one away"),
        (["train.jsonl", "train.parquet"], "file:///d", "train", "one kind a folder"),
        (["train.jsonl", "train/a.jsonl"], "file:///d/", "train", "several folders.*write file:///d/<folder>"),
        (["test.jsonl"], "hf://datasets/o/n", "train", "no file is of that split; the repository has test.jsonl"),
        (["README.md"], "hf://datasets/o/n", "train", "no data files"),
        (["en/train.parquet", "de/train.parquet"], "hf://datasets/o/n", "train", "several folders"),
        (["trainer.jsonl", "train_sft.jsonl"], "hf://datasets/o/n", "train", "no file is of that split"),
    ],
)
def test_sources_without_usable_files(names: list[str], uri: str, split: str, match: str) -> None:
    with pytest.raises(DataError, match=match):
        choose_files(names, uri, split)


def test_several_files_are_read_in_order(tmp_path: Path) -> None:
    files = []
    for name in ("b.jsonl", "a.jsonl"):
        (tmp_path / name).write_bytes(lines({"prompt": name}))
        files.append((tmp_path / name, name))
    assert [text for _, text in good(list(read_rows(files, Use.MIXTURE)))] == ["b.jsonl", "a.jsonl"]


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
