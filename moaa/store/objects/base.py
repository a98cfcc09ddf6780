"""The store's narrow waist: whole objects under string keys.

A directory and S3 implement it (`moaa.store.objects.directory`, `moaa.store.objects.s3`); everything above, manifests,
ledgers, shards and fencing, is written once against this protocol. Keys are relative, `/`-separated, without `..`.
All methods are coroutines and safe to call concurrently.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from moaa.errors import StoreError


@dataclass(frozen=True)
class ObjectInfo:
    key: str
    size_bytes: int
    written: datetime
    """By the store's clock, with a time zone."""


def whole_range(name: str, body: bytes, start: int, size_bytes: int) -> bytes:
    """`body`, which is to be a range of the object `name`. Raises StoreError: it is shorter or longer."""
    if len(body) != size_bytes:
        raise StoreError(
            f"{name}: {len(body)} bytes came for {size_bytes} bytes from byte {start}; the object was cut short, or "
            "the server does not honour ranges"
        )
    return body


class Store(Protocol):
    """Objects under keys. Whole objects only: nothing is ever appended or partly written."""

    @property
    def uri(self) -> str:
        """The root, as the resource names it."""
        ...

    async def get(self, key: str) -> bytes:
        """The object's bytes. Raises NotFound, StoreError."""
        ...

    async def get_range(self, key: str, start: int, size_bytes: int) -> bytes:
        """`size_bytes` bytes of the object from byte `start` (from 0). Raises NotFound, StoreError: it has fewer."""
        ...

    async def put(self, key: str, body: bytes) -> None:
        """Write or replace, atomically and durably. Only for unique keys and pointers. Raises StoreError."""
        ...

    async def put_if_absent(self, key: str, body: bytes) -> None:
        """Create, atomically and durably. Raises AlreadyExists when the key is taken, by any writer; a time-out is
        resolved by reading back, so that the caller's own write counts as success. Raises StoreError."""
        ...

    async def exists(self, key: str) -> bool: ...

    def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        """Objects whose keys start with `prefix`, in ascending key order. Complete: what was written before the call
        is in it."""
        ...

    async def delete(self, key: str) -> None:
        """Remove; a missing key is no error. Only what a manifest has made useless is deleted: merged ledger
        segments and the checkpoints of a finished stage."""
        ...

    async def upload(self, key: str, file: Path) -> None:
        """`put` from a file of any size."""
        ...

    async def download(self, key: str, file: Path) -> None:
        """Write the object to `file` through a temporary name beside it. Raises NotFound, StoreError."""
        ...

    def local_path(self, key: str) -> Path | None:
        """Where the object or folder lies on this machine, or None when it must be downloaded."""
        ...

    async def close(self) -> None: ...
