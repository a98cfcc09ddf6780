"""What a reader of files hands on: records, and the errors that name a file or a row of it."""

from dataclasses import dataclass

from moaa.data.reading.bad_rows import BadRow, Why, shorten
from moaa.errors import DataError
from moaa.text import printable


@dataclass(frozen=True)
class Record:
    """A row as the file has it."""

    where: str
    """File and line or row, for example `train.jsonl line 7`."""
    columns: dict[str, object]
    unread: tuple[str, ...] = ()
    """Further columns of the file, whose content was not looked at."""


def bad(where: str, field: str, found: object, remedy: str) -> DataError:
    return DataError(printable(f"{where}: {field}: found {shorten(found)}; {remedy}"))


def bad_row(where: str, why: Why, field: str, found: object, remedy: str) -> BadRow:
    return BadRow(where, why, f"{field}: found {shorten(found)}; {remedy}")


def damaged(error: Exception, name: str, what: str) -> DataError:
    """The error of a reader as ours. Raises it as it is where it is the disk's failure and not the file's."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error
    return bad(name, "file", str(error).split("\n")[0], f"it is not readable {what}, perhaps cut short; copy it again")
