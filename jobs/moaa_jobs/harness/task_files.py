"""The folder of a benchmark's own task files, as a table of stage-data and as a folder again."""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from moaa.data.further.completion import Files
from moaa.errors import DataError
from moaa.rows import TaskFileRow

MAX_BYTES = 16 << 20
"""Of all files together: task files are text, and data sets belong into `source`."""


def task_file_rows(files: Files, folder: str, field: str) -> list[TaskFileRow]:
    """The files as rows, by name; `folder` is what all their names begin with.

    Raises:
        DataError: they are too large.
    """
    rows: list[TaskFileRow] = []
    size = 0
    for path, name in sorted(files, key=lambda file: file[1]):
        size += path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(
                f"{field}: {folder} holds more than {MAX_BYTES >> 20} MiB; keep only task files there, and name the "
                "data set in source"
            )
        body = b64encode(path.read_bytes()).decode()
        rows.append(TaskFileRow(name=name.removeprefix(folder.rstrip("/") + "/"), body=body))
    return rows


def write_task_files(rows: Sequence[TaskFileRow], folder: Path) -> Path:
    """The folder, with every file in its place. Raises DataError: a name leads out of it."""
    for row in rows:
        name = PurePosixPath(row["name"])
        if name.is_absolute() or ".." in name.parts:
            raise DataError(f"include: file {row['name']!r} lies outside of its folder; name the folder that holds it")
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b64decode(row["body"]))
    return folder
