"""Data sources to rows: which files belong to a source, and their rows as PromptRows, one shape a source.

`choose_files` is pure and works the same for a folder, a prefix and a Hub repository; `read_rows` streams. Nothing here
knows where the bytes came from (`moaa.data.origin`).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from moaa.data.files import SUFFIXES, bad, read_records
from moaa.data.shapes import RowError, Shape, Use, shape_of, to_row
from moaa.errors import DataError
from moaa.rows import PromptRow

_LOOKS_LIKE_DATA = (".gz", ".zst", ".bz2", ".xz", ".zip", ".csv", ".tsv", ".arrow", ".feather", ".ndjson", ".txt")


def choose_files(names: Sequence[str], uri: str, split: str) -> list[str]:
    """Files of a source among `names`, in the order in which they are read: by name.

    A single file is the source. In a folder or prefix, files at the top count. On the Hub, files of the split count:
    `<split>.jsonl`, `<split>-00000-of-00002.parquet`, or anything in a folder of that name; Parquet wins over JSON.

    Raises:
        DataError: no file fits, or what is there is ambiguous or unreadable.
    """
    if uri.startswith("hf://"):
        return _of_split(names, uri, split)
    if len(names) == 1 and uri.endswith("/" + names[0]):
        return list(names)
    top = [name for name in names if "/" not in name and not name.startswith(("_", "."))]
    unreadable = [name for name in top if name.lower().endswith(_LOOKS_LIKE_DATA)]
    if unreadable:
        raise bad(uri, "file", unreadable[0], "only .jsonl, .json and .parquet are read; convert it or move it away")
    files = sorted(name for name in top if name.lower().endswith(SUFFIXES))
    if not files:
        raise bad(uri, "files", ", ".join(names) or "nothing", "no .jsonl, .json or .parquet lies directly in it")
    suffixes = sorted({PurePosixPath(name).suffix.lower() for name in files})
    if len(suffixes) > 1:
        raise bad(uri, "files", " and ".join(suffixes), "one kind a folder; name the files of one kind alone")
    return files


def _of_split(names: Sequence[str], uri: str, split: str) -> list[str]:
    data = sorted(name for name in names if name.lower().endswith(SUFFIXES))
    pattern = re.compile(rf"{re.escape(split)}([-._][0-9]{{1,6}}.*)?$")
    fitting = [
        name for name in data if pattern.match(PurePosixPath(name).stem) or split in PurePosixPath(name).parts[:-1]
    ]
    for suffix in (".parquet", ".jsonl", ".json"):
        if files := [name for name in fitting if name.lower().endswith(suffix)]:
            folders = sorted({str(PurePosixPath(name).parent) for name in files})
            if len(folders) > 1:
                remedy = f"several folders hold split {split!r}; write {uri}/<folder>"
                raise bad(uri, "source", ", ".join(folders), remedy)
            return files
    raise bad(
        uri, "split", split, f"no file is of that split; the repository has {', '.join(data[:8]) or 'no data files'}"
    )


@dataclass(frozen=True)
class SourcedRow:
    where: str
    """File and line or row."""
    row: PromptRow


def read_rows(files: Sequence[tuple[Path, str]], use: Use) -> Iterator[SourcedRow]:
    """Rows of (path, name) files in order. The first record decides the shape for all.

    Raises:
        DataError: naming file, line or row, field, what was found and what to do.
    """
    shape: Shape | None = None
    for path, name in files:
        rows = 0
        for record in read_records(path, name):
            rows += 1
            try:
                found = shape_of(record.columns)
                shape = shape or found
                if found is not shape:
                    raise RowError("columns", found.value, f"the source began with {shape.value}; one shape a source")
                yield SourcedRow(record.where, to_row(record.columns, shape, use))
            except RowError as error:
                raise DataError(f"{record.where}: {error} (read as {use})") from error
        if not rows:
            raise bad(name, "rows", "0", "it has no row; remove it or write it again")
