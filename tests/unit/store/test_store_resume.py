"""Killed anywhere then resumed = never killed; a zombie changes nothing."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moaa.errors import Fenced
from moaa.plan.stage import Kind
from moaa.store.objects.base import Store
from moaa.store.stages.manifest import ShardManifest, StageManifest
from moaa.store.stages.shards import StageTotals, finalise, read_manifest, read_table
from tests.store_helpers import Interposed, Killed, KilledStore, MemoryStore, StalledStore
from tests.store_worker import (
    OTHER_STAGE,
    ROWS,
    SHARD,
    STAGE,
    Server,
    published_rows,
    recorded,
    replay,
    run_shard,
)


def _stage_manifest(totals: StageTotals) -> StageManifest:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return StageManifest(
        stage="i1-generate",
        kind=Kind.GENERATE,
        iteration=1,
        run="default-test-1",
        inputs="1" * 64,
        fingerprint="a" * 64,
        attempt=totals.attempt,
        document={},
        outputs=totals.outputs,
        tables=totals.tables,
        rows_in=totals.rows_in,
        failures=totals.failures,
        usage=totals.usage,
        started=now,
        finished=now,
        seconds=totals.seconds,
    )


async def _finalise(store: Store) -> StageManifest:
    return await finalise(store, STAGE, [SHARD], main_table="conversations", build=_stage_manifest)


KILLS = st.lists(st.tuples(st.integers(0, 90), st.booleans()), max_size=4)


@given(kills=KILLS)
@settings(max_examples=25, deadline=None)
def test_no_durable_call_is_made_again_and_the_ledger_repeats_the_result(kills: list[tuple[int, bool]]) -> None:
    asyncio.run(_run_with_kills(kills))


async def _run_with_kills(kills: list[tuple[int, bool]]) -> None:
    store, server = MemoryStore(), Server()
    for at, with_effect in kills:
        durable, before = await recorded(store), server.asked.copy()
        with contextlib.suppress(Killed):
            await run_shard(KilledStore(store, at, with_effect=with_effect), server)
        again = {" ".join(call) for call in server.asked - before}
        assert not durable & again
    shard = await run_shard(store, server)
    manifest = await _finalise(store)
    rows = await read_table(store, manifest, "conversations")
    assert [row["id"] for row in rows] == list(ROWS)
    assert rows == await published_rows(store, shard) == await replay(store)
    assert max(server.asked.values()) <= 1 + len(kills)
    assert await _finalise(store) == manifest == await read_manifest(store, STAGE)


@given(kills=KILLS)
@settings(max_examples=12, deadline=None)
def test_killed_and_resumed_equals_never_killed(kills: list[tuple[int, bool]]) -> None:
    async def digest(kills: list[tuple[int, bool]]) -> str:
        store, server = MemoryStore(), Server(deterministic=True)
        for at, with_effect in kills:
            with contextlib.suppress(Killed):
                await run_shard(KilledStore(store, at, with_effect=with_effect), server)
        await run_shard(store, server)
        return (await _finalise(store)).outputs["conversations"].digest

    assert asyncio.run(digest(kills)) == asyncio.run(digest([]))


@given(kills=KILLS)
@settings(max_examples=12, deadline=None)
def test_another_fingerprint_resumes_on_the_proposals_it_began_with(kills: list[tuple[int, bool]]) -> None:
    """Proposals come from the first stage's chain; only the aggregator is asked again, however often it is killed."""

    async def run() -> None:
        store, first, second = MemoryStore(), Server(), Server()
        await run_shard(store, first)
        for at, with_effect in kills:
            with contextlib.suppress(Killed):
                await run_shard(KilledStore(store, at, with_effect=with_effect), second, stage=OTHER_STAGE)
        shard = await run_shard(store, second, stage=OTHER_STAGE)
        assert {path for _, path, _ in second.asked} == {"agg"}
        assert await published_rows(store, shard) == await replay(store, stage=OTHER_STAGE)
        assert {row["id"] for row in await replay(store)} == set(ROWS)

    asyncio.run(run())


@pytest.mark.parametrize("at", range(90))
async def test_a_zombie_changes_nothing_wherever_it_stalled(at: int) -> None:
    store, server = MemoryStore(), Server()
    zombie_store = StalledStore(store, at)
    zombie = asyncio.create_task(run_shard(zombie_store, server))
    stalled = asyncio.create_task(zombie_store.stalled.wait())
    await asyncio.wait({zombie, stalled}, return_when=asyncio.FIRST_COMPLETED)
    successor = await run_shard(store, server)
    manifest = await _finalise(store)
    rows = await read_table(store, manifest, "conversations")
    zombie_store.go.set()
    outcome = (await asyncio.gather(zombie, return_exceptions=True))[0]
    stalled.cancel()
    assert isinstance(outcome, Fenced) or outcome == successor
    assert await _finalise(store) == manifest
    assert await read_table(store, manifest, "conversations") == rows == await replay(store)


class TurnStore(Interposed):
    """Every operation waits until the driver lets its worker take one step."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.turns = asyncio.Semaphore(0)
        self.waiting = asyncio.Event()

    async def before(self, *_: object) -> None:
        self.waiting.set()
        await self.turns.acquire()


@given(turns=st.lists(st.integers(0, 2), max_size=250))
@settings(max_examples=25, deadline=None)
def test_workers_in_any_interleaving_publish_what_the_ledger_repeats(turns: list[int]) -> None:
    """Three attempts at one shard run at once, one store operation at a time in the drawn order."""

    async def run() -> None:
        store, server = MemoryStore(), Server()
        stores = [TurnStore(store) for _ in range(3)]
        workers = [asyncio.create_task(run_shard(each, server)) for each in stores]
        for turn in turns:
            await _step(stores[turn], workers[turn])
        for each in stores:
            for _ in range(1000):
                each.turns.release()
        outcomes = await asyncio.gather(*workers, return_exceptions=True)
        published = [outcome for outcome in outcomes if isinstance(outcome, ShardManifest)]
        assert all(isinstance(outcome, ShardManifest | Fenced) for outcome in outcomes)
        assert published
        assert all(outcome == published[0] for outcome in published)
        assert await published_rows(store, published[0]) == await replay(store)

    asyncio.run(run())


async def _step(store: TurnStore, worker: "asyncio.Task[ShardManifest]") -> None:
    """Let the worker do one operation and run up to its next."""
    waiting = asyncio.create_task(store.waiting.wait())
    await asyncio.wait({worker, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    store.waiting.clear()
    store.turns.release()


def test_the_interposed_store_counts_far_enough() -> None:
    """The ranges above reach past the last operation of an undisturbed attempt."""

    async def operations(build: Callable[[], Interposed]) -> int:
        store = build()
        await run_shard(store, Server())
        return store.count

    assert 60 < asyncio.run(operations(lambda: Interposed(MemoryStore()))) < 90
