"""file:// sources: one file, or a folder. Content is read in place and pinned by sha256."""

import asyncio
import os
from pathlib import Path

from moaa.data.origin.base import Listing, PinnedFile, Select, changed
from moaa.errors import DataError
from moaa.store.stages.folders import file_digest


class LocalOrigin:
    def __init__(self, uri: str, path: Path) -> None:
        self._uri = uri
        self._path = path

    async def pin(self, select: Select) -> Listing:
        return await asyncio.to_thread(self._pin, select)

    async def fetch(self, file: PinnedFile, revision: str | None, folder: Path) -> Path:  # noqa: ARG002
        path = self._path if self._path.is_file() else self._path / file.name
        found = await asyncio.to_thread(self._describe, path, file.name)
        if found != file:
            raise changed(self._uri, file, f"{found.digest} ({found.size_bytes} bytes)")
        return path

    async def start(self, file: PinnedFile, size_bytes: int) -> bytes:
        """As `StartReader.start`; whether the content is the pinned one is not looked at."""
        return await asyncio.to_thread(self._start, file, size_bytes)

    def _start(self, file: PinnedFile, size_bytes: int) -> bytes:
        path = self._path if self._path.is_file() else self._path / file.name
        try:
            with path.open("rb") as opened:
                return opened.read(size_bytes)
        except OSError as error:
            raise DataError(f"{self._uri}: {file.name}: {error.strerror}; make it readable") from error

    def _pin(self, select: Select) -> Listing:
        names = [self._path.name] if self._path.is_file() else self._names()
        root = self._path.parent if self._path.is_file() else self._path
        return Listing(None, tuple(self._describe(root / name, name) for name in sorted(select(names))))

    def _names(self) -> list[str]:
        """Every file below the folder, hidden ones (`.git`, `.cache`) left out."""
        if not self._path.is_dir():
            raise DataError(f"{self._uri}: there is no such file or folder on this machine; correct the path")
        found: list[str] = []
        for root, folders, names in os.walk(self._path, followlinks=False):
            folders[:] = sorted(f for f in folders if not f.startswith("."))
            base = Path(root).relative_to(self._path)
            found += [(base / name).as_posix() for name in sorted(names) if not name.startswith(".")]
        return found

    def _describe(self, path: Path, name: str) -> PinnedFile:
        try:
            return PinnedFile(name, path.stat().st_size, f"sha256:{file_digest(path)}")
        except OSError as error:
            raise DataError(f"{self._uri}: {name}: {error.strerror}; make it readable or correct the path") from error
