"""Records of JSON lines, of a list of objects, and of objects one after another."""

import codecs
import json
from collections.abc import Iterator
from typing import IO

from moaa.data.reading.bad_rows import BadRow, Why
from moaa.data.reading.records import Record, bad, bad_row
from moaa.data.reading.shapes import MAX_ROW_BYTES
from moaa.errors import DataError

READ_BYTES = 1 << 16
MAX_LINE_BYTES = 4 * MAX_ROW_BYTES
"""A JSON line may hold ignored columns and escapes besides the text that MAX_ROW_BYTES bounds."""
_SPACE = " \t\r\n"
_AN_OBJECT = "must be an object with the row's columns"


def json_lines(file: IO[bytes], name: str) -> Iterator[Record | BadRow]:
    """A row a line; blank lines are none.

    Raises:
        DataError: the last line is broken and has no end, so that the file is cut short.
    """
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        where = f"{name} line {number}"
        if len(line) > MAX_LINE_BYTES:
            yield bad_row(where, Why.TOO_LARGE, "row", f"more than {MAX_LINE_BYTES} bytes", "split or remove it")
            while not line.endswith(b"\n") and (line := file.readline(MAX_LINE_BYTES)):
                pass
            continue
        found = _line(line, number, where)
        is_cut = isinstance(found, BadRow) and found.why in (Why.NOT_JSON, Why.NOT_UTF8) and not line.endswith(b"\n")
        if is_cut and number > 1:
            raise DataError(f"{found}; it is the last line and has no end, so the file is cut short: copy it again")
        if found is not None:
            yield found


def _line(line: bytes, number: int, where: str) -> Record | BadRow | None:
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        return bad_row(where, Why.NOT_UTF8, "text", _bytes_of(error), "not UTF-8; save the file as UTF-8")
    if not text.strip():
        return None
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        near = text[max(error.pos - 20, 0) : error.pos + 20]
        remedy = f"not JSON ({error.msg.lower()}); one row a line"
        return bad_row(where, Why.NOT_JSON, f"column {error.colno}", near, remedy)
    except (RecursionError, ValueError) as error:
        return bad_row(where, Why.NOT_JSON, "row", text[:40], _unusable(error))
    return _record(value, where)


def json_values(file: IO[bytes], name: str) -> Iterator[Record | BadRow]:
    """A list of objects, or objects one after another (many `.json` files on the Hub are JSON lines).

    Raises:
        DataError: the file is not UTF-8, or not JSON: where one value ends in a fault, the next cannot be found.
    """
    values = _Values(file, name)
    if values.peek() == "[":
        yield from _json_list(values, name)
        return
    row = 0
    while values.peek():
        row += 1
        yield _record(values.next_value(row), f"{name} row {row}")


def _json_list(values: "_Values", name: str) -> Iterator[Record | BadRow]:
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
            raise bad(self._name, "text", _bytes_of(error), "not UTF-8; save the file as UTF-8") from error
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
        size = READ_BYTES
        self.peek()
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
                raise bad(where, "row", self._text[:40], _unusable(error)) from error
            if end == len(self._text) and not isinstance(value, dict | list | str) and self._more(size):
                continue  # a number may go on in the next block
            self._text = self._text[end:]
            return value


def _unusable(error: Exception) -> str:
    """JSON that Python does not take: lists in lists without end, numbers of thousands of digits."""
    return f"not usable JSON ({str(error).partition(':')[0].lower()}); correct or remove the row"


def _record(value: object, where: str) -> Record | BadRow:
    if not isinstance(value, dict):
        return bad_row(where, Why.NOT_A_ROW, "row", value, _AN_OBJECT)
    return Record(where, value)


def _bytes_of(error: UnicodeDecodeError) -> str:
    return f"bytes {bytes(error.object[error.start : error.start + 8]).hex(' ')}"
