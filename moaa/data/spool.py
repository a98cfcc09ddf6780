"""Rows on disk while a table is being put together, so that memory holds an index and never the texts.

Rows are appended in source order and read back in the run's order (`moaa.data.permute`). The index costs about 200
bytes a row. The file is scratch: it means nothing to a later process.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from moaa.data.hashing import canonical
from moaa.data.permute import sort_key
from moaa.rows import PromptRow


class Spool:
    """Append rows, then read them permuted. Use as a context manager."""

    def __init__(self, path: Path, seed: int) -> None:
        self._path = path
        self._seed = seed
        self._index: list[tuple[bytes, int, int]] = []
        self._end = 0

    def __enter__(self) -> Self:
        self._file = self._path.open("w+b")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def __len__(self) -> int:
        return len(self._index)

    def append(self, row: PromptRow) -> None:
        line = canonical(row)
        self._file.seek(self._end)
        self._file.write(line)
        self._index.append((sort_key(self._seed, row["id"]), self._end, len(line)))
        self._end += len(line)

    def permuted(self, limit: int | None = None) -> Iterator[PromptRow]:
        """Rows in the run's order; at most the first `limit`."""
        for _, start, size in sorted(self._index)[:limit]:
            self._file.seek(start)
            yield cast(PromptRow, json.loads(self._file.read(size)))
