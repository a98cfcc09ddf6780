"""What every origin can do: pin what there is now, and later fetch exactly that or fail."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from moaa.errors import DataError
from moaa.store.stages.folders import folder_digest

Select = Callable[[Sequence[str]], list[str]]
"""Chooses among relative file names, before anything is hashed. Raises DataError when none fits."""


@dataclass(frozen=True)
class PinnedFile:
    """One file as it was when its source was pinned."""

    name: str
    """Relative to the source, `/`-separated; of a single file its base name."""
    size_bytes: int
    digest: str
    """`sha256:<hex>` of the content, `git:<blob id>` of a small file on the Hub, or `etag:<ETag>` of an S3 object."""

    @property
    def content(self) -> str:
        kind, _, value = self.digest.partition(":")
        return value if kind == "sha256" else f"{self.digest} {self.size_bytes}"


@dataclass(frozen=True)
class Listing:
    revision: str | None
    """Commit on the Hub; None elsewhere."""
    files: tuple[PinnedFile, ...]
    """In ascending order of names."""

    @property
    def digest(self) -> str:
        """As that of a folder the store holds, where every file has a sha256; else of names, digests and sizes."""
        return folder_digest({f.name: f.content for f in self.files})


class Origin(Protocol):
    async def pin(self, select: Select) -> Listing:
        """The selected files as they are now. Raises DataError (not there, not allowed), StoreError (try again)."""
        ...

    async def fetch(self, file: PinnedFile, revision: str | None, folder: Path) -> Path:
        """A local path with exactly the pinned content; `folder` takes what must be downloaded.

        Raises:
            DataError: the content is not what was pinned, or is gone.
            StoreError: the other side could not be reached; try again.
        """
        ...


@runtime_checkable
class StartReader(Protocol):
    """An origin whose files can be read from their beginning, without the rest."""

    async def start(self, file: PinnedFile, size_bytes: int) -> bytes:
        """The first bytes of a pinned file, or all of a shorter one. Raises DataError, StoreError: as `fetch`."""
        ...


def changed(uri: str, file: PinnedFile, found: str) -> DataError:
    return DataError(
        f"{uri}: {file.name}: found {found}, but {file.digest} ({file.size_bytes} bytes) was pinned when the run "
        "resolved its sources; put the pinned file back, or give the new one another name and name that in the resource"
    )
