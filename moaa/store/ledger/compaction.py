"""Fewer, larger segments: merge neighbours of a chain into one, then delete what it covers.

Safe at every instruction and beside any reader or writer. The merged segment is durable before anything is deleted,
and only what it covers is deleted, so every number of the chain stays readable; a reader that listed before and reads
after finds an object gone and lists again. Leftovers of a kill are covered, hence ignored, and go with the next merge.
"""

import asyncio
import contextlib
from collections.abc import Sequence

from moaa.errors import AlreadyExists
from moaa.store.ledger.segments import Segment, decode_segment, encode_segment, parse_segment_key, segment_key
from moaa.store.objects.base import Store


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


async def list_segments(store: Store, prefix: str) -> list[Segment]:
    """Every segment under the prefix, of one chain or several, needed or not."""
    return [parse_segment_key(found.key, found.size_bytes) async for found in store.list(prefix)]


async def merge(
    store: Store, folder: str, segments: Sequence[Segment], run: tuple[int, int], writer: str
) -> list[Segment]:
    """Write `segments[run[0]:run[1]]` of one chain as one; returns the chain's segments afterwards.

    Raises:
        StoreError: the store fails, or another process removed a segment; the chain is as readable as before.
    """
    start, stop = run
    merged = segments[start:stop]
    lines: list[bytes] = []
    for segment in merged:
        decoded = await asyncio.to_thread(decode_segment, segment.key, await store.get(segment.key))
        lines += [line.raw for line in decoded]
    first, last = merged[0].first, merged[-1].last
    key = segment_key(folder, merged[0].chain, first, last)
    body = await asyncio.to_thread(encode_segment, {"format": 1, "merged": len(merged), "writer": writer}, lines)
    with contextlib.suppress(AlreadyExists):  # an earlier attempt merged the same segments; the lines are the same
        await store.put_if_absent(key, body)
    return [*segments[:start], Segment(key, merged[0].chain, first, last, len(body)), *segments[stop:]]


async def delete_superfluous(store: Store, listed: Sequence[Segment], needed: Sequence[Segment]) -> None:
    """Delete those of `listed` that one of `needed` covers; `needed` must be durable."""
    keys = {segment.key for segment in needed}
    for segment in listed:
        if segment.key not in keys and any(other.covers(segment) for other in needed):
            await store.delete(segment.key)
