"""Stores for tests: one in memory, and one that dies, stalls or fails at a chosen operation."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from moaa.errors import AlreadyExists, NotFound
from moaa.store.objects.base import ObjectInfo, Store, whole_range

Result = TypeVar("Result")


class MemoryStore:
    """The protocol over a dict; every method is one atomic step."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.written: dict[str, datetime] = {}
        """When an object was written, where a test says so; else now."""

    @property
    def uri(self) -> str:
        return "memory://"

    async def get(self, key: str) -> bytes:
        await asyncio.sleep(0)
        if key not in self.objects:
            raise NotFound(key)
        return self.objects[key]

    async def get_range(self, key: str, start: int, size_bytes: int) -> bytes:
        return whole_range(key, (await self.get(key))[start : start + size_bytes], start, size_bytes)

    async def put(self, key: str, body: bytes) -> None:
        await asyncio.sleep(0)
        self.objects[key] = body

    async def put_if_absent(self, key: str, body: bytes) -> None:
        await asyncio.sleep(0)
        if key in self.objects:
            raise AlreadyExists(key)
        self.objects[key] = body

    async def exists(self, key: str) -> bool:
        await asyncio.sleep(0)
        return key in self.objects

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        await asyncio.sleep(0)
        for key in sorted(self.objects):
            if key.startswith(prefix) and key in self.objects:
                yield ObjectInfo(key, len(self.objects[key]), self.written.get(key, datetime.now(UTC)))

    async def delete(self, key: str) -> None:
        await asyncio.sleep(0)
        self.objects.pop(key, None)

    async def upload(self, key: str, file: Path) -> None:
        await self.put(key, file.read_bytes())

    async def download(self, key: str, file: Path) -> None:
        file.write_bytes(await self.get(key))

    def local_path(self, key: str) -> Path | None:  # noqa: ARG002 - the protocol's name
        return None

    async def close(self) -> None: ...


class Killed(BaseException):
    """The process is gone: nothing after this operation happens."""


class Interposed:
    """A store that asks `before` and `after` about each operation, numbered from 0."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.count = 0

    @property
    def uri(self) -> str:
        return self.inner.uri

    async def before(self, number: int, verb: str, key: str, /) -> None: ...

    async def after(self, number: int, verb: str, key: str, /) -> None: ...

    async def _do(self, verb: str, key: str, act: Callable[[], Awaitable[Result]]) -> Result:
        number, self.count = self.count, self.count + 1
        await self.before(number, verb, key)
        result = await act()
        await self.after(number, verb, key)
        return result

    async def get(self, key: str) -> bytes:
        return await self._do("get", key, lambda: self.inner.get(key))

    async def get_range(self, key: str, start: int, size_bytes: int) -> bytes:
        return await self._do("get_range", key, lambda: self.inner.get_range(key, start, size_bytes))

    async def put(self, key: str, body: bytes) -> None:
        await self._do("put", key, lambda: self.inner.put(key, body))

    async def put_if_absent(self, key: str, body: bytes) -> None:
        await self._do("put_if_absent", key, lambda: self.inner.put_if_absent(key, body))

    async def exists(self, key: str) -> bool:
        return await self._do("exists", key, lambda: self.inner.exists(key))

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        async def everything() -> list[ObjectInfo]:
            return [found async for found in self.inner.list(prefix)]

        for found in await self._do("list", prefix, everything):
            yield found

    async def delete(self, key: str) -> None:
        await self._do("delete", key, lambda: self.inner.delete(key))

    async def upload(self, key: str, file: Path) -> None:
        await self._do("upload", key, lambda: self.inner.upload(key, file))

    async def download(self, key: str, file: Path) -> None:
        await self._do("download", key, lambda: self.inner.download(key, file))

    def local_path(self, key: str) -> Path | None:
        return self.inner.local_path(key)

    async def close(self) -> None: ...


class KilledStore(Interposed):
    """Dies at operation `at`, with or without its effect, and stays dead."""

    def __init__(self, inner: Store, at: int, *, with_effect: bool) -> None:
        super().__init__(inner)
        self._at = at
        self._with_effect = with_effect

    async def before(self, number: int, *_: str) -> None:
        if number > self._at or (number == self._at and not self._with_effect):
            raise Killed

    async def after(self, number: int, *_: str) -> None:
        if number >= self._at:
            raise Killed


class FailingStore(Interposed):
    """Raises what `fault(verb, key)` returns, before the operation."""

    def __init__(self, inner: Store, fault: Callable[[str, str], Exception | None]) -> None:
        super().__init__(inner)
        self._fault = fault

    async def before(self, _: int, verb: str, key: str, /) -> None:
        error = self._fault(verb, key)
        if error is not None:
            raise error


class StalledStore(Interposed):
    """Stalls before operation `at` until `go` is set; `stalled` tells when it got there."""

    def __init__(self, inner: Store, at: int) -> None:
        super().__init__(inner)
        self._at = at
        self.stalled = asyncio.Event()
        self.go = asyncio.Event()

    async def before(self, number: int, *_: str) -> None:
        if number == self._at:
            self.stalled.set()
            await self.go.wait()
