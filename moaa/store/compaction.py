"""Fewer, larger segments: merge neighbours of a chain into one, then delete what it covers.

Safe at every instruction and beside any reader or writer. The merged segment is durable before anything is deleted,
and only what it covers is deleted, so every number of the chain stays readable; a reader that listed before and reads
after finds an object gone and lists again. Leftovers of a kill are covered, hence ignored, and go with the next merge.
"""

import asyncio
import contextlib
from collections.abc import Sequence

from moaa.errors import AlreadyExists
from moaa.store.base import Store
from moaa.store.segments import Segment, decode_segment, encode_segment, parse_segment_key, segment_key


def choose_run(segments: Sequence[Segment], max_bytes: int) -> tuple[int, int] | None:
    """The longest run of neighbours [start, stop) of at most `max_bytes` together, or None when none has two.

    The bound keeps the cost of a merge, in memory and traffic, independent of the chain's length.
    """
    best: tuple[int, int] | None = None
    start = total = 0
    for stop, segment in enumerate(segments, start=1):
        total += segment.size_bytes
        while total > max_bytes:
            total -= segments[start].size_bytes
            start += 1
        if stop - start >= 2 and (best is None or stop - start > best[1] - best[0]):
            best = start, stop
    return best


async def merge(
    store: Store, folder: str, segments: Sequence[Segment], run: tuple[int, int], writer: str
) -> list[Segment]:
    """Merge `segments[run[0]:run[1]]` of one chain; returns the chain's segments afterwards.

    Raises:
        StoreError: the store fails; the chain is as readable as before.
    """
    start, stop = run
    merged = segments[start:stop]
    lines: list[bytes] = []
    for segment in merged:
        records = await asyncio.to_thread(decode_segment, segment.key, await store.get(segment.key))
        lines += [line for line, _ in records]
    first, last = merged[0].first, merged[-1].last
    key = segment_key(folder, merged[0].chain, first, last)
    body = await asyncio.to_thread(encode_segment, {"format": 1, "merged": len(merged), "writer": writer}, lines)
    with contextlib.suppress(AlreadyExists):  # a fenced attempt merged the same segments; the lines are the same
        await store.put_if_absent(key, body)
    result = Segment(key, merged[0].chain, first, last, len(body))
    await _delete_covered(store, folder, result)
    return [*segments[:start], result, *segments[stop:]]


async def _delete_covered(store: Store, folder: str, merged: Segment) -> None:
    """Also what earlier kills left behind, hence the listing."""
    async for found in store.list(f"{folder}/{merged.chain}-"):
        segment = parse_segment_key(found.key, found.size_bytes)
        if segment.key != merged.key and merged.covers(segment):
            await store.delete(segment.key)
