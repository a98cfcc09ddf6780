"""One local data file to records: .jsonl, .json (a list, or objects one after another) and .parquet.

Reads as a stream: at most one row (JSON) or one batch (Parquet) is in memory. Every record comes with the place it was
read from, for error messages. What a file is, is decided by its name and checked against its first bytes, so that a
compressed or misnamed file is refused with a sentence instead of a decoder's error.
"""

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from moaa.data.shapes import GIVE_COLUMNS, MAX_ROW_BYTES, columns, shorten
from moaa.errors import DataError

SUFFIXES = (".jsonl", ".json", ".parquet")
BATCH_ROWS = 64
"""Rows of Parquet in memory; with rows at their limit that is 64 MiB."""
READ_BYTES = 1 << 16
MAX_LINE_BYTES = 4 * MAX_ROW_BYTES
"""A JSON line may hold ignored columns and escapes besides the text that MAX_ROW_BYTES bounds."""
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"PK\x03\x04": "zip",
}
_SPACE = " \t\r\n"


@dataclass(frozen=True)
class Record:
    """A row as the file has it."""

    where: str
    """File and line or row, for example `train.jsonl line 7`."""
    columns: dict[str, object]


def bad(where: str, field: str, found: object, remedy: str) -> DataError:
    return DataError(f"{where}: {field}: found {shorten(found)}; {remedy}")


def read_records(path: Path, name: str) -> Iterator[Record]:
    """Records of `path` in order; `name` is what error messages call it.

    Raises:
        DataError: the file is empty, truncated, compressed, not UTF-8, not what its name says, or a row is malformed.
    """
    suffix = Path(name).suffix.lower()
    _check_head(path, name, suffix)
    if suffix == ".parquet":
        yield from _parquet(path, name)
    elif suffix == ".jsonl":
        yield from _json_lines(path, name)
    else:
        yield from _json_values(path, name)


def _check_head(path: Path, name: str, suffix: str) -> None:
    with path.open("rb") as file:
        head = file.read(8)
    for magic, packed in _PACKED.items():
        if head.startswith(magic):
            raise bad(name, "file", f"{packed} compression", "unpack it; Parquet is the compressed form that is read")
    if suffix not in SUFFIXES:
        raise bad(name, "file", suffix or "no suffix", "only .jsonl, .json and .parquet are read; convert it")
    if not head:
        raise bad(name, "file", "0 bytes", "it is empty; remove it or write it again")
    is_parquet = head.startswith(b"PAR1")
    if is_parquet != (suffix == ".parquet"):
        found = "Parquet" if is_parquet else "no Parquet header"
        raise bad(name, "file", found, f"its content does not fit its suffix {suffix}; rename or convert it")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise bad(name, "file", "UTF-16", "save it as UTF-8")


def _parquet(path: Path, name: str) -> Iterator[Record]:
    row = 0
    try:
        with pq.ParquetFile(path) as file:
            known = [c for c in file.schema_arrow.names if c in columns()]
            if not known:
                names = ", ".join(file.schema_arrow.names) or "nothing"
                raise bad(name, "columns", names, "none of them is read; " + GIVE_COLUMNS)
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=known, use_threads=False):
                for values in batch.to_pylist():
                    row += 1
                    yield Record(f"{name} row {row}", values)
    except UnicodeDecodeError as error:
        where = f"{name} rows {row + 1} to {row + BATCH_ROWS}"
        raise bad(
            where, "text", error.reason, "a text column holds bytes that are not UTF-8; write it again as UTF-8"
        ) from error
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's failure, not the file's
        remedy = "it is not readable Parquet, perhaps cut short; write or copy it again"
        raise bad(name, "file", str(error).split("\n")[0], remedy) from error


def _json_lines(path: Path, name: str) -> Iterator[Record]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            where = f"{name} line {number}"
            if len(line) > MAX_LINE_BYTES:
                raise bad(where, "row", f"more than {MAX_LINE_BYTES} bytes", "split or remove it")
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise _not_utf8(error, where) from error
            if not text.strip():
                continue
            try:
                value = json.loads(text)
            except json.JSONDecodeError as error:
                near = text[max(error.pos - 20, 0) : error.pos + 20]
                raise bad(
                    where, f"column {error.colno}", near, f"not JSON ({error.msg.lower()}); one row a line"
                ) from error
            except (RecursionError, ValueError) as error:
                raise _unusable(where, text, error) from error
            yield _record(value, where)


def _json_values(path: Path, name: str) -> Iterator[Record]:
    """A list of objects, or objects one after another (many `.json` files on the Hub are JSON lines)."""
    with path.open("rb") as file:
        values = _Values(file, name)
        if values.peek() == "[":
            yield from _json_list(values, name)
            return
        row = 0
        while values.peek():
            row += 1
            yield _record(values.next_value(row), f"{name} row {row}")


def _json_list(values: "_Values", name: str) -> Iterator[Record]:
    values.skip()
    row = 0
    while values.peek() != "]":
        row += 1
        if not values.peek():
            raise bad(name, "file", "its end", "the list is not closed; the file is cut short")
        yield _record(values.next_value(row), f"{name} row {row}")
        head = values.peek()
        if head == ",":
            values.skip()
        elif head != "]":
            raise bad(f"{name} row {row}", "file", head or "its end", "the list is cut short or lacks a comma")
    values.skip()
    if rest := values.peek():
        raise bad(name, "file", rest, "something stands after the list; remove it")


class _Values:
    """JSON values from a file, one at a time, holding one row and one read."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file = file
        self._name = name
        self._decoder = json.JSONDecoder()
        # Byte order mark removed, characters cut by the end of a block kept for the next.
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""

    def _more(self, size: int = READ_BYTES) -> bool:
        block = self._file.read(size)
        try:
            self._text += self._utf8.decode(block, final=not block)
        except UnicodeDecodeError as error:
            raise _not_utf8(error, self._name) from error
        return bool(block)

    def peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            self._text = self._text.lstrip(_SPACE)
            if self._text or not self._more():
                return self._text[:1]

    def skip(self) -> None:
        self._text = self._text[1:]

    def next_value(self, row: int) -> object:
        where = f"{self._name} row {row}"
        if self.peek() != "{":
            raise bad(where, "row", self._text[:40], "must be an object with the row's columns")
        size = READ_BYTES
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text)
            except json.JSONDecodeError as error:
                # Cut by the end of the block and broken look alike until the row's limit is reached. Each read doubles
                # what is there, so that a long row is not parsed once a block.
                if len(self._text) <= MAX_LINE_BYTES and self._more(size):
                    size *= 2
                    continue
                near = self._text[max(error.pos - 20, 0) : error.pos + 20]
                what = error.msg.lower().removesuffix(" starting at")
                remedy = f"not JSON ({what}), cut short, or too large; correct it or write the file again"
                raise bad(where, "row", near, remedy) from error
            except (RecursionError, ValueError) as error:
                raise _unusable(where, self._text, error) from error
            self._text = self._text[end:]
            return value


def _unusable(where: str, text: str, error: Exception) -> DataError:
    """JSON that Python does not take: lists in lists without end, numbers of thousands of digits."""
    what = str(error).partition(":")[0].lower()
    return bad(where, "row", text[:40], f"not usable JSON ({what}); correct or remove the row")


def _record(value: object, where: str) -> Record:
    if not isinstance(value, dict):
        raise bad(where, "row", value, "must be an object with the row's columns")
    return Record(where, value)


def _not_utf8(error: UnicodeDecodeError, where: str) -> DataError:
    found = bytes(error.object[error.start : error.start + 8]).hex(" ")
    return bad(where, "text", f"bytes {found}", "not UTF-8; save the file as UTF-8")
