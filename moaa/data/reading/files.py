"""One local data file to records, as a stream: at most one row (text) or one batch (columns) is in memory.

Every record comes with the place it was read from. The name decides what a file is; its first bytes are checked against
that. So a misnamed file is refused with a sentence, not with a decoder's error. A row that cannot be read is a `BadRow`
and reading goes on after it; what makes the rest of the file unreadable ends it.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Literal, cast

import pyarrow as pa

from moaa.data.reading.bad_rows import BadRow
from moaa.data.reading.formats import MAGIC, READ, Form, Kind, Packing, kind_of
from moaa.data.reading.json_files import json_lines, json_values
from moaa.data.reading.records import Record, bad, damaged
from moaa.data.reading.table_files import arrow_rows, csv_rows, parquet_rows

_OTHER_PACKED = {b"\xfd7zXZ": "xz", b"PK\x03\x04": "zip"}
_CODECS: dict[Packing, Literal["gzip", "bz2", "zstd"]] = {
    Packing.GZIP: "gzip",
    Packing.BZIP2: "bz2",
    Packing.ZSTD: "zstd",
}
_LFS_POINTER = b"version https://git-lfs"
_ARROW_STREAM = b"\xff\xff\xff\xff"


def read_records(path: Path, name: str, wanted: frozenset[str]) -> Iterator[Record | BadRow]:
    """Records of `path` in order; `name` is what error messages call it.

    Of files of columns only those in `wanted` are read.

    Raises:
        DataError: the file is empty, cut short, or not what its name says, or none of its columns is wanted.
    """
    kind = _checked_kind(path, name)
    match kind.form:
        case Form.PARQUET:
            yield from parquet_rows(path, name, wanted)
        case Form.ARROW:
            yield from arrow_rows(path, name, wanted)
        case Form.JSON_LINES:
            with _unpacked(path, name, kind.packing) as file:
                yield from json_lines(file, name)
        case Form.JSON:
            with _unpacked(path, name, kind.packing) as file:
                yield from json_values(file, name)
        case Form.CSV | Form.TSV:
            with _unpacked(path, name, kind.packing) as file:
                yield from csv_rows(file, name, "," if kind.form is Form.CSV else "\t")


def _checked_kind(path: Path, name: str) -> Kind:
    """What the file is. Raises DataError: it is nothing that is read, empty, or not what its name says."""
    with path.open("rb") as file:
        head = file.read(len(_LFS_POINTER))
    if head == _LFS_POINTER:
        raise bad(name, "file", "a Git LFS pointer", "it names the content and does not hold it; run git lfs pull")
    for magic, packed in _OTHER_PACKED.items():
        if head.startswith(magic):
            raise bad(name, "file", f"{packed} compression", f"unpack it; {READ}")
    kind = kind_of(name)
    if kind is None:
        raise bad(name, "file", PurePosixPath(name).suffix or "no suffix", f"only {READ}; convert it")
    if not head:
        raise bad(name, "file", "0 bytes", "it is empty; remove it or write it again")
    packing = next((packing for magic, packing in MAGIC.items() if head.startswith(magic)), Packing.NONE)
    is_arrow = head.startswith((b"ARROW1", _ARROW_STREAM))
    found = (
        str(packing) if packing is not Packing.NONE
        else "Parquet" if head.startswith(b"PAR1")
        else "Arrow" if is_arrow
        else "text"
    )  # fmt: skip
    expected = {Form.PARQUET: "Parquet", Form.ARROW: "Arrow"}.get(kind.form, str(kind.packing) or "text")
    if found != expected:
        raise bad(name, "file", found, f"its content does not fit its suffix {kind}; rename or convert it")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise bad(name, "file", "UTF-16", "save it as UTF-8")
    return kind


@contextmanager
def _unpacked(path: Path, name: str, packing: Packing) -> Iterator[IO[bytes]]:
    """The file's content. Raises DataError while it is read: the compressed file is damaged or cut short."""
    if packing is Packing.NONE:
        with path.open("rb") as file:
            yield file
        return
    try:
        with pa.OSFile(str(path), "rb") as raw, pa.CompressedInputStream(raw, _CODECS[packing]) as stream:
            yield io.BufferedReader(cast("io.RawIOBase", stream))
    except (pa.ArrowException, OSError) as error:
        raise damaged(error, name, str(packing)) from error
