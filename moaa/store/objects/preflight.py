"""Proof that a store keeps its promises, before anything is trusted to it.

Everything above rests on put-if-absent, on reading one's own writes, and on complete listings in key order. A server
that ignores `If-None-Match` would let two writers overwrite each other in silence; it is refused here.
"""

import asyncio
import contextlib
from uuid import uuid4

from moaa.errors import AlreadyExists, NotFound, StoreError
from moaa.store.objects.base import Store

_FOLDER = "preflight"
_RACERS = 8

_ANOTHER = "use another for spec.storage (AWS S3, MinIO, Ceph RGW and versitygw can do it, each in a recent version)"


async def preflight(store: Store) -> None:
    """Write, read, list and remove probe objects under `preflight/`.

    Raises:
        StoreError: the store cannot be reached or does not keep a promise; the text says which and what to do.
    """
    probe = f"{_FOLDER}/{uuid4().hex}"
    try:
        await _check_create(store, f"{probe}/a")
        await _check_race(store, f"{probe}/b")
        await _check_listing(store, probe)
        await _check_replace(store, f"{probe}/a")
    except StoreError:
        with contextlib.suppress(StoreError):  # the first failure says more
            await _remove(store, probe)
        raise
    await _remove(store, probe)
    if await store.exists(f"{probe}/a"):
        raise StoreError(f"{store.uri}: a deleted object is still there, so the server is not consistent; {_ANOTHER}")


async def _remove(store: Store, probe: str) -> None:
    for name in ("a", "b"):
        await store.delete(f"{probe}/{name}")


async def _check_create(store: Store, key: str) -> None:
    await store.put_if_absent(key, b"first")
    await _expect(store, key, b"first")
    try:
        await store.put_if_absent(key, b"second")
    except AlreadyExists:
        await _expect(store, key, b"first")
        return
    raise StoreError(
        f"{store.uri}: a second conditional write (If-None-Match: *) was accepted, so two writers could overwrite each "
        f"other; {_ANOTHER}"
    )


async def _check_race(store: Store, key: str) -> None:
    """Exactly one of several writers at once may win, and its bytes stay."""

    async def race(number: int) -> int | None:
        try:
            await store.put_if_absent(key, f"racer {number}".encode())
        except AlreadyExists:
            return None
        return number

    won = [number for number in await asyncio.gather(*map(race, range(_RACERS))) if number is not None]
    if len(won) != 1:
        raise StoreError(
            f"{store.uri}: of {_RACERS} conditional writes at once {len(won)} were accepted instead of one; {_ANOTHER}"
        )
    await _expect(store, key, f"racer {won[0]}".encode())


async def _check_listing(store: Store, probe: str) -> None:
    found = [info.key async for info in store.list(f"{probe}/")]
    if found != [f"{probe}/a", f"{probe}/b"]:
        raise StoreError(f"{store.uri}: objects just written are listed as {found}, not both in key order; {_ANOTHER}")


async def _check_replace(store: Store, key: str) -> None:
    await store.put(key, b"replaced")
    await _expect(store, key, b"replaced")


async def _expect(store: Store, key: str, body: bytes) -> None:
    try:
        found = await store.get(key)
    except NotFound as error:
        raise StoreError(f"{store.uri}/{key}: not there right after it was written; {_ANOTHER}") from error
    if found != body:
        raise StoreError(f"{store.uri}/{key}: reads {found[:40]!r} right after {body!r} was written; {_ANOTHER}")
