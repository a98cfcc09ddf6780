"""Data sources to rows: which files belong to a source, and their rows as PromptRows, one shape a source.

`choose_files` is pure and works the same for a folder, a prefix and a Hub repository; `read_rows` streams. Nothing here
knows where the bytes came from (`moaa.data.origin`).
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from moaa.api.data import Columns
from moaa.data.further.completion import NOTHING_MORE, Completion, Unasked
from moaa.data.reading.bad_rows import BadRow, RowError, Why
from moaa.data.reading.columns import mapped, wanted
from moaa.data.reading.files import read_records
from moaa.data.reading.formats import READ, Form, is_metadata, kind_of, stem_of
from moaa.data.reading.records import Record, bad
from moaa.data.reading.shapes import NO_COLUMNS, Read, Shape, Use, read_record
from moaa.rows import PromptRow
from moaa.text import unfit

_LOOKS_LIKE_DATA = (".gz", ".zst", ".bz2", ".xz", ".zip", ".tar", ".feather", ".ndjson", ".txt", ".xlsx", ".pkl")
_SPLITS = ("train", "training", "test", "validation", "valid", "val", "dev", "eval", "evaluation", "heldout")
"""Names that say that a folder's files are splits."""
_PREFERRED = (Form.PARQUET, Form.ARROW, Form.JSON_LINES, Form.JSON, Form.CSV, Form.TSV)
"""On the Hub, where a repository holds the same rows in several forms."""
_DEFAULT_SPLIT = "train"


def choose_files(names: Sequence[str], uri: str, split: str) -> list[str]:
    """Files of a source among `names`, in the order in which they are read: by name.

    A single file is the source. Elsewhere files of the split count: `<split>.jsonl`,
    `<split>-00000-of-00002.parquet`, or anything in a folder of that name. On the Hub one form wins where there are
    several. In a folder or prefix, files at the top count whole when none of them is called after a split and
    `split` was left at `train`.

    Raises:
        DataError: no file fits, or what is there is ambiguous or unreadable.
    """
    if uri.startswith("hf://"):
        chosen = _on_the_hub(names, uri, split)
    elif len(names) == 1 and uri.endswith("/" + names[0]):
        chosen = list(names)
    else:
        chosen = _in_folder(names, uri, split)
    for name in chosen:
        if kind_of(name) is None:
            raise bad(uri, "file", PurePosixPath(name).suffix or "no suffix", f"only {READ}; convert or rename it")
        if found := unfit(name):
            raise bad(uri, "file", name, f"its name is not UTF-8 ({found}); rename it")
    return chosen


def _on_the_hub(names: Sequence[str], uri: str, split: str) -> list[str]:
    data = sorted(name for name in names if kind_of(name) is not None)
    fitting = [name for name in data if _is_of(name, split)]
    for form in _PREFERRED:
        if files := [name for name in fitting if (kind := kind_of(name)) and kind.form is form]:
            return _of_one_folder(files, uri, split)
    found = ", ".join(data[:8]) or "no data files"
    raise bad(uri, "split", split, f"no file is of that split; the repository has {found}")


def _in_folder(names: Sequence[str], uri: str, split: str) -> list[str]:
    seen = [name for name in names if not any(part.startswith(("_", ".")) for part in PurePosixPath(name).parts)]
    top = [name for name in seen if "/" not in name]
    unreadable = [name for name in top if kind_of(name) is None and name.lower().endswith(_LOOKS_LIKE_DATA)]
    if unreadable:
        raise bad(uri, "file", unreadable[0], f"only {READ}; convert it or move it away")
    data = sorted(name for name in seen if kind_of(name) is not None and not is_metadata(name, seen))
    here = [name for name in data if "/" not in name]
    if files := [name for name in data if _is_of(name, split)]:
        if strays := [name for name in here if not any(_is_of(name, other) for other in (split, *_SPLITS))]:
            remedy = f"{files[0]} is of split {split!r} and this is of none; move one away, or name the file alone"
            raise bad(uri, "files", strays[0], remedy)
        return _of_one_kind(_of_one_folder(files, uri, split), uri)
    splits = [name for name in data if any(_is_of(name, other) for other in _SPLITS)]
    if splits or (here and split != _DEFAULT_SPLIT):
        found = ", ".join((splits or here)[:8])
        raise bad(uri, "split", split, f"no file is of that split; the folder has {found}: name one of them in split")
    if not here:
        raise bad(uri, "files", ", ".join(names) or "nothing", f"no data file lies directly in it; {READ}")
    return _of_one_kind(here, uri)


def _is_of(name: str, split: str) -> bool:
    pattern = rf"{re.escape(split)}([-._][0-9]{{1,6}}.*)?$"
    return re.match(pattern, stem_of(name)) is not None or split in PurePosixPath(name).parts[:-1]


def _of_one_folder(files: list[str], uri: str, split: str) -> list[str]:
    folders = sorted({str(PurePosixPath(name).parent) for name in files})
    if len(folders) > 1:
        remedy = f"several folders hold split {split!r}; write {uri.rstrip('/')}/<folder>"
        raise bad(uri, "source", ", ".join(folders), remedy)
    return files


def _of_one_kind(files: list[str], uri: str) -> list[str]:
    kinds = sorted({str(kind_of(name)) for name in files})
    if len(kinds) > 1:
        raise bad(uri, "files", " and ".join(kinds), "one kind a folder; name the files of one kind alone")
    return files


@dataclass(frozen=True)
class SourcedRow:
    where: str
    """File and line or row."""
    row: PromptRow
    ignored: frozenset[str] = frozenset()
    """Columns with content that are not read."""


def read_rows(
    files: Sequence[tuple[Path, str]],
    use: Use,
    columns: Columns = NO_COLUMNS,
    completion: Completion = NOTHING_MORE,
) -> Iterator[SourcedRow | BadRow | Unasked]:
    """Rows of (path, name) files in order, good and bad. The first that can be read decides the shape for all.
    `completion` adds what other files say of them.

    Raises:
        DataError: a file cannot be read, has no row, or no row has a column that the resource names.
    """
    reader = _Reader(use, columns, completion)
    place = itertools.count()
    for path, name in files:
        rows = 0
        for record in read_records(path, name, wanted(columns) | completion.columns):
            rows += 1
            at = next(place)
            yield record if isinstance(record, BadRow) else reader.read(record, at)
        if not rows:
            raise bad(name, "rows", "0", "it has no row; remove it or write it again")
    if files:
        reader.check_names(files[0][1])


class _Reader:
    """What one source has shown so far."""

    def __init__(self, use: Use, columns: Columns, completion: Completion) -> None:
        self._use = use
        self._columns = columns
        self._completion = completion
        self._shape: Shape | None = None
        self._unseen = dict(mapped(columns))
        self._names: tuple[str, ...] = ()

    def read(self, record: Record, place: int) -> SourcedRow | BadRow | Unasked:
        if self._unseen:
            self._names = self._names or (*record.columns, *record.unread)
            self._unseen = {meaning: name for meaning, name in self._unseen.items() if name not in record.columns}
        try:
            found = read_record(record.columns, self._use, self._columns)
            self._check_shape(found)
            row = self._completion.complete(place, record.columns, found.row)
        except RowError as error:
            return BadRow(record.where, error.why, f"{error} (read as {self._use})")
        if isinstance(row, Unasked):
            return row
        ignored = found.ignored.union(name for name in record.unread if name not in self._columns.ignore)
        return SourcedRow(record.where, row, ignored - self._completion.columns)

    def _check_shape(self, found: Read) -> None:
        self._shape = self._shape or found.shape
        if found.shape is not self._shape:
            remedy = f"the source began with {self._shape.value}; one shape a source"
            raise RowError(Why.OTHER_SHAPE, "columns", found.shape.value, remedy)

    def check_names(self, file: str) -> None:
        """Raises DataError: a column that the resource names is in no row."""
        for meaning, name in self._unseen.items():
            found: Iterable[str] = self._names or ("nothing",)
            raise bad(file, f"columns.{meaning}", name, f"no row has such a column; there are {', '.join(found)}")
