"""A call stage in miniature: rows with two proposals and an aggregate, on a ledger, published as one shard.

The server answers every request differently each time it is asked, so a result that mixed answers of two attempts, or
that a resumed run would not repeat, shows.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from moaa.store.fencing import Token, claim
from moaa.store.ledger.compaction import list_segments
from moaa.store.ledger.ledger import Ledger, LedgerLimits
from moaa.store.ledger.segments import Answer, Entry, decode_segment
from moaa.store.objects.base import Store
from moaa.store.stages.manifest import ShardManifest
from moaa.store.stages.shards import publish_shard, read_object
from moaa.store.stages.tables import Row, TableRows, decode

INPUTS = "stages/generate/" + "1" * 32
STAGE = f"{INPUTS}/" + "a" * 32
OTHER_STAGE = f"{INPUTS}/" + "b" * 32
LEDGER = f"{INPUTS}/ledger"
SHARD = "00000"
ROWS = tuple(f"row{number}" for number in range(4))
SCHEMA = pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("text", pa.string(), nullable=False)])

EAGER = LedgerLimits(flush_bytes=1, flush_s=3600.0, max_buffer_bytes=150, max_segments=3)
"""Flushes every other call and compacts often; no timer, so that a test is the same each time."""

SELDOM = LedgerLimits(flush_s=3600.0)
"""Flushes at the end alone."""

Call = tuple[str, str, str]


class Server:
    """Answers `<path> <n-th request>` or, when deterministic, a digest of the request."""

    def __init__(self, *, deterministic: bool = False) -> None:
        self._deterministic = deterministic
        self.asked: Counter[Call] = Counter()

    def answer(self, call: Call) -> str:
        self.asked[call] += 1
        return request_hash(*call) if self._deterministic else f"{call[1]} {self.asked.total()}"


def request_hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


async def ask(ledger: Ledger, server: Server | None, row: str, path: str, prompt: str) -> str:
    """The recorded answer, else the server's; without a server the answer has to be recorded."""
    key = request_hash(path, prompt)
    entry = await ledger.lookup(row, path, key)
    if entry is None:
        assert server is not None, f"{row} {path} is not in the ledger"
        text = server.answer((row, path, key))
        entry = Entry(row=row, path=path, key=key, model="m", answer=Answer(text=text, finish_reason="stop"))
        await ledger.record(entry)
    assert entry.answer is not None
    return entry.answer.text


async def answer_rows(ledger: Ledger, server: Server | None, rows: Sequence[str], aggregator: str) -> list[Row]:
    result = []
    for row in rows:
        proposals = [await ask(ledger, server, row, f"p{number}", row) for number in range(2)]
        result.append({"id": row, "text": await ask(ledger, server, row, "agg", "|".join([aggregator, *proposals]))})
    return result


async def run_shard(
    store: Store,
    server: Server | None,
    *,
    stage: str = STAGE,
    rows: Sequence[str] = ROWS,
    limits: LedgerLimits = EAGER,
    journals: Path | None = None,
) -> ShardManifest:
    """One attempt, from claim to publication. The aggregator differs by stage, the proposers do not."""
    token = await claim(store, stage, SHARD)
    async with await Ledger.load(store, LEDGER, token, limits=limits, journals=journals) as ledger:
        answered = await answer_rows(ledger, server, rows, stage)
    return await publish(store, token, answered)


async def publish(store: Store, token: Token, answered: list[Row]) -> ShardManifest:
    tables = {"conversations": TableRows(answered, SCHEMA)}
    now, rows_in = datetime.now(UTC), len(answered)
    return await publish_shard(
        store, token.stage_path, token, tables, main_table="conversations", rows_in=rows_in, started=now, seconds=1.0
    )


async def replay(store: Store, *, stage: str = STAGE, rows: Sequence[str] = ROWS) -> list[Row]:
    """What a new attempt reads from the ledger alone."""
    async with await Ledger.load(store, LEDGER, await claim(store, stage, SHARD), limits=EAGER) as ledger:
        return await answer_rows(ledger, None, rows, stage)


async def published_rows(store: Store, manifest: ShardManifest) -> list[Row]:
    ref = manifest.tables["conversations"]
    return decode(await read_object(store, ref), source=ref.key)


async def recorded(store: Store) -> set[str]:
    """What is durable: `row path key` of every entry in the segments, read without the ledger."""
    found: set[str] = set()
    for segment in await list_segments(store, f"{LEDGER}/{SHARD}/"):
        for line in decode_segment(segment.key, await store.get(segment.key)):
            if line.pinned is None:
                entry = Entry.model_validate_json(line.raw)
                found.add(f"{entry.row} {entry.path} {entry.key}")
    return found
