"""`Completion`: a benchmark's questions become whole rows, each with what its files say of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from moaa.data.reading.bad_rows import BadRow
from moaa.data.reading.files import read_records
from moaa.data.reading.records import Record
from moaa.errors import DataError
from moaa.rows import PromptRow

Files = Sequence[tuple[Path, str]]
"""Local path, and the name that errors use."""


@dataclass(frozen=True)
class Unasked:
    """What a question is that can be read and that the benchmark does not ask."""

    category: str


Complete = Callable[[int, Mapping[str, object], PromptRow], PromptRow | Unasked]
"""The row of a question, from its place in the source (from 0), its record's columns and the row as it was read.
Raises RowError: the files say too little or something wrong of this question."""


@dataclass(frozen=True)
class Completion:
    complete: Complete
    columns: frozenset[str] = frozenset()
    """Columns of a question's record that it reads, beside those that are read anyway."""


def _as_read(_place: int, _columns: Mapping[str, object], row: PromptRow) -> PromptRow:
    return row


NOTHING_MORE = Completion(_as_read)
"""Of a source whose rows are whole as they are read."""


def records_of(files: Files, columns: frozenset[str]) -> Iterator[Record]:
    """Every record of a further file, in order; of files of columns only `columns` are read.

    Raises:
        DataError: a file or any of its rows cannot be read. These files are small, and one row that is missing would
            leave its question without what it needs.
    """
    for path, name in files:
        for record in read_records(path, name, columns):
            if isinstance(record, BadRow):
                raise DataError(f"{record}; every row of this file is needed")
            yield record


def count_of(files: Files, columns: frozenset[str]) -> int:
    """Rows of a source, good and bad. Raises DataError: as `read_records`."""
    return sum(1 for path, name in files for _ in read_records(path, name, columns))
