"""Finished work: shards, then the stage's manifest.

A shard is published in two steps: its tables under keys that carry the attempt, then `<stage>/shards/<shard>.json`
put only if absent. Objects without a shard manifest are nobody's and are never read. The stage's manifest comes last,
put only if absent, when every shard's is there and the counts add up. Whoever comes second gets what the first wrote.
Nothing is lost by that: an attempt publishes after its ledger is closed, so a later one has read the same answers and
can differ only in rows that failed in passing (a time-out is not recorded).
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from moaa.errors import AlreadyExists, NotFound, StageError, StoreError
from moaa.plan.result import Output
from moaa.store.fencing import Token
from moaa.store.objects.base import Store
from moaa.store.objects.tasks import map_bounded
from moaa.store.stages.manifest import ObjectRef, ShardManifest, StageManifest, TokenUsage
from moaa.store.stages.tables import Row, RowsDigest, TableRows, decode, encode

_READ_AHEAD = 8
"""Shard manifests fetched at once."""


def shard_count(rows: int, rows_per_shard: int) -> int:
    """ceil(rows ÷ rows_per_shard), and one shard for no rows, so that an empty stage ends like any other."""
    return max(1, -(-rows // rows_per_shard))


def shard_name(index: int) -> str:
    """`00000`, `00001`, …: key order is row order. Raises ValueError: the index has more than five digits."""
    if not 0 <= index < 100_000:
        raise ValueError(f"shard {index}: at most 100,000 shards; use more rows per shard")
    return f"{index:05d}"


def shard_names(rows: int, rows_per_shard: int) -> list[str]:
    return [shard_name(index) for index in range(shard_count(rows, rows_per_shard))]


def shard_slice(index: int, rows: int, rows_per_shard: int) -> slice:
    """The input rows of a shard; depends on nothing but these numbers."""
    return slice(index * rows_per_shard, min(rows, (index + 1) * rows_per_shard))


@dataclass(frozen=True)
class StageTotals:
    """What all shards of a stage come to; the part of a `StageManifest` that follows from them."""

    attempt: int
    """The highest that published a shard."""
    outputs: dict[str, Output]
    tables: dict[str, list[ObjectRef]]
    rows_in: int
    failures: dict[str, int]
    usage: dict[str, TokenUsage]
    started: datetime
    """Of the earliest shard."""
    seconds: float
    """As `seconds_worked`."""
    shards: tuple[ShardManifest, ...]
    examples: dict[str, str] = field(default_factory=dict)
    """One failed row of each reason, of the first shard that has one."""


async def publish_shard(
    store: Store,
    stage_path: str,
    token: Token,
    tables: Mapping[str, TableRows],
    *,
    main_table: str,
    rows_in: int,
    started: datetime,
    seconds: float,
    failures: Mapping[str, int] | None = None,
    examples: Mapping[str, str] | None = None,
    usage: Mapping[str, TokenUsage] | None = None,
) -> ShardManifest:
    """Write the shard's tables and then its manifest; close its ledger before.

    `main_table` has one row for each input row that did not fail. `started` and `seconds` say when the shard was worked
    on; both belong to the manifest. Returns the manifest that counts, which is another
    attempt's when that published first.

    Raises:
        Fenced: a later attempt owns the shard and has not published it yet.
        StageError: rows in ≠ rows out + failures, which is a bug in the stage.
        ValueError: a row does not fit its schema.
    """
    failures = dict(failures or {})
    where = f"{stage_path} shard {token.shard}"
    _check_counts(where, rows_in, len(tables[main_table].rows), failures)
    existing = await read_shard(store, stage_path, token.shard)
    if existing is not None:
        return existing
    refs: dict[str, ObjectRef] = {}
    rows: dict[str, int] = {}
    digests: dict[str, str] = {}
    for name, table in tables.items():
        encoded = await asyncio.to_thread(encode, table)
        await token.check()
        key = token.out_key(f"{name}.parquet")
        await store.put(key, encoded.body)
        sha256 = hashlib.sha256(encoded.body).hexdigest()
        refs[name] = ObjectRef(key=key, size_bytes=len(encoded.body), sha256=sha256)
        rows[name], digests[name] = encoded.rows, encoded.digest
    manifest = ShardManifest(
        shard=token.shard,
        attempt=token.attempt,
        tables=refs,
        rows=rows,
        row_digests=digests,
        rows_in=rows_in,
        failures=failures,
        examples=dict(examples or {}),
        usage=dict(usage or {}),
        started=started,
        seconds=seconds,
    )
    await token.check()
    try:
        await store.put_if_absent(_shard_key(stage_path, token.shard), manifest.model_dump_json(by_alias=True).encode())
    except AlreadyExists:
        existing = await read_shard(store, stage_path, token.shard)
        assert existing is not None
        return existing
    return manifest


async def read_shard(store: Store, stage_path: str, shard: str) -> ShardManifest | None:
    """The shard's manifest, or None while it is not finished."""
    key = _shard_key(stage_path, shard)
    try:
        return ShardManifest.model_validate_json(await store.get(key))
    except NotFound:
        return None
    except ValidationError as error:
        raise _unreadable(store, key, error) from error


async def read_shards(store: Store, stage_path: str, shards: Sequence[str]) -> dict[str, ShardManifest]:
    """Manifests of those shards that are finished, in the given order."""

    async def read(shard: str) -> ShardManifest | None:
        return await read_shard(store, stage_path, shard)

    manifests = await map_bounded(shards, read, at_once=_READ_AHEAD)
    return {shard: manifest for shard, manifest in zip(shards, manifests, strict=True) if manifest is not None}


async def finalise(
    store: Store,
    stage_path: str,
    shards: Sequence[str],
    *,
    main_table: str,
    build: Callable[[StageTotals], StageManifest],
) -> StageManifest:
    """Write the stage's manifest from its shards', or return the one that is there.

    `build` adds what only the stage knows. Every table is read once, which proves that its objects are what the shard
    manifests say and gives the digest over all rows.

    Raises:
        StageError: a shard is missing or the counts do not add up.
        StoreError: an object is missing or damaged.
    """
    existing = await read_manifest(store, stage_path)
    if existing is not None:
        return existing
    found = await read_shards(store, stage_path, shards)
    missing = [shard for shard in shards if shard not in found]
    if missing:
        raise StageError(
            f"{stage_path}: {len(missing)} of {len(shards)} shards are not finished ({', '.join(missing[:10])}); "
            "run the stage again"
        )
    return await write_manifest(store, stage_path, build(await _totals(store, stage_path, found, main_table)))


async def write_manifest(store: Store, stage_path: str, manifest: StageManifest) -> StageManifest:
    """Put the manifest unless there is one; returns the one that counts. Check the token before."""
    try:
        await store.put_if_absent(_manifest_key(stage_path), manifest.model_dump_json(by_alias=True, indent=2).encode())
    except AlreadyExists:
        existing = await read_manifest(store, stage_path)
        assert existing is not None
        return existing
    return manifest


async def read_manifest(store: Store, stage_path: str) -> StageManifest | None:
    """The stage's manifest, or None while the stage is not done.

    Raises:
        StoreError: it is there but unreadable.
    """
    key = _manifest_key(stage_path)
    try:
        return StageManifest.model_validate_json(await store.get(key))
    except NotFound:
        return None
    except ValidationError as error:
        raise _unreadable(store, key, error) from error


def refs_of(manifest: StageManifest, table: str) -> list[ObjectRef]:
    """The objects of a table, in order. Raises StoreError: the manifest has no such table."""
    if table not in manifest.tables:
        raise StoreError(
            f"{manifest.stage}: its manifest has no table {table!r}, only {', '.join(manifest.tables) or 'none'}"
        )
    return manifest.tables[table]


async def iter_table(store: Store, manifest: StageManifest, table: str) -> AsyncIterator[list[Row]]:
    """The rows of a table shard by shard, each object checked against size and sha256.

    Raises:
        StoreError: the manifest has no such table, or an object is missing or differs; names it.
    """
    for ref in refs_of(manifest, table):
        yield await asyncio.to_thread(decode, await read_object(store, ref), source=ref.key)


async def read_table(store: Store, manifest: StageManifest, table: str) -> list[Row]:
    """All rows of a table, in order. Raises StoreError like `iter_table`."""
    return [row async for rows in iter_table(store, manifest, table) for row in rows]


async def read_published(store: Store, stage_path: str, table: str) -> list[Row]:
    """Rows of a table from those shards of a stage that are finished, in order; whether all are is not known.

    Raises:
        StoreError: a shard has no such table, or an object is missing or damaged; names it.
    """
    prefix = f"{stage_path}/shards/"
    names = sorted([found.key.removeprefix(prefix).removesuffix(".json") async for found in store.list(prefix)])
    rows: list[Row] = []
    for shard in (await read_shards(store, stage_path, names)).values():
        if table not in shard.tables:
            raise StoreError(f"{_shard_key(stage_path, shard.shard)}: it has no table {table!r}")
        ref = shard.tables[table]
        rows += await asyncio.to_thread(decode, await read_object(store, ref), source=ref.key)
    return rows


async def read_object(store: Store, ref: ObjectRef) -> bytes:
    """The object's bytes. Raises StoreError: it is missing, or not what the manifest names."""
    try:
        body = await store.get(ref.key)
    except NotFound as error:
        raise StoreError(f"{store.uri}/{ref.key}: named by a manifest but missing; restore it") from error
    check_object(store, ref, len(body), hashlib.sha256(body).hexdigest())
    return body


def check_object(store: Store, ref: ObjectRef, size_bytes: int, sha256: str) -> None:
    """Raises StoreError: size or digest is not what the manifest says."""
    if (size_bytes, sha256) != (ref.size_bytes, ref.sha256):
        raise StoreError(
            f"{store.uri}/{ref.key}: {size_bytes} bytes with sha256 {sha256[:12]}…, but its manifest says "
            f"{ref.size_bytes} bytes and {ref.sha256[:12]}…; restore the object"
        )


async def _totals(store: Store, stage_path: str, found: Mapping[str, ShardManifest], main_table: str) -> StageTotals:
    shards = tuple(found.values())
    failures: dict[str, int] = {}
    examples: dict[str, str] = {}
    usage: dict[str, TokenUsage] = {}
    for shard in shards:
        _check_counts(f"{stage_path} shard {shard.shard}", shard.rows_in, shard.rows[main_table], shard.failures)
        for reason, count in shard.failures.items():
            failures[reason] = failures.get(reason, 0) + count
        examples = {**shard.examples, **examples}
        for model, used in shard.usage.items():
            usage[model] = usage.get(model, TokenUsage()) + used
    tables = {name: [shard.tables[name] for shard in shards] for name in shards[0].tables}
    outputs = {name: await _output(store, shards, name) for name in tables}
    return StageTotals(
        attempt=max(shard.attempt for shard in shards),
        outputs=outputs,
        tables=tables,
        rows_in=sum(shard.rows_in for shard in shards),
        failures=failures,
        usage=usage,
        started=min(shard.started for shard in shards),
        seconds=seconds_worked(shards),
        shards=shards,
        examples=examples,
    )


def seconds_worked(shards: Iterable[ShardManifest]) -> float:
    """Seconds in which at least one of the shards was worked on: the length of the union of their intervals.

    Seconds 0 to 10, 2 to 12 and 100 to 105 come to 17.
    """
    worked, until = timedelta(), datetime.min.replace(tzinfo=UTC)
    for begin, end in sorted((shard.started, shard.started + timedelta(seconds=shard.seconds)) for shard in shards):
        worked += max(end, until) - max(begin, until)
        until = max(end, until)
    return worked.total_seconds()


async def _output(store: Store, shards: Sequence[ShardManifest], table: str) -> Output:
    """Digest over the rows of all shards in order; one shard in memory at a time."""
    whole = RowsDigest()
    for shard in shards:
        ref = shard.tables[table]
        rows = await asyncio.to_thread(decode, await read_object(store, ref), source=ref.key)
        part = RowsDigest()
        await asyncio.to_thread(part.update, rows)
        if part.hexdigest() != shard.row_digests[table] or len(rows) != shard.rows[table]:
            raise StoreError(f"{store.uri}/{ref.key}: its rows are not those its shard manifest counts; restore it")
        await asyncio.to_thread(whole.update, rows)
    return Output(digest=whole.hexdigest(), rows=sum(shard.rows[table] for shard in shards))


def _check_counts(where: str, rows_in: int, rows_out: int, failures: Mapping[str, int]) -> None:
    failed = sum(failures.values())
    if rows_in != rows_out + failed:
        raise StageError(
            f"{where}: {rows_in} rows went in, but {rows_out} came out and {failed} failed; nothing was published. "
            "This is a bug in MoAA, please report it"
        )


def _unreadable(store: Store, key: str, error: ValidationError) -> StoreError:
    return StoreError(
        f"{store.uri}/{key}: not a manifest this version reads ({error.error_count()} problems, first: "
        f"{error.errors()[0]['msg']}); use the version that wrote it, or remove the object to redo the work"
    )


def _shard_key(stage_path: str, shard: str) -> str:
    return f"{stage_path}/shards/{shard}.json"


def _manifest_key(stage_path: str) -> str:
    return f"{stage_path}/manifest.json"
