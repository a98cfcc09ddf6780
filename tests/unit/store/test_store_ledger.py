"""The ledger, its segments and their compaction."""

import asyncio
import errno
import os

import pytest
import zstandard

from moaa.errors import Fenced, StoreError
from moaa.store.fencing import claim
from moaa.store.ledger.compaction import choose_run, list_segments
from moaa.store.ledger.ledger import Ledger, LedgerLimits
from moaa.store.ledger.segments import (
    Answer,
    Entry,
    Failure,
    Segment,
    decode_segment,
    encode_segment,
    parse_segment_key,
    readable_order,
    segment_key,
)
from tests.store_helpers import FailingStore, MemoryStore
from tests.store_worker import INPUTS, LEDGER, SHARD, STAGE, request_hash

PATIENT = LedgerLimits(flush_s=3600.0)
FOLDER = f"{LEDGER}/{SHARD}"


def entry(row: str, text: str = "text", *, path: str = "p") -> Entry:
    answer = Answer(text=text, finish_reason="stop")
    return Entry(row=row, path=path, key=request_hash(path), model="m", answer=answer, prompt_tokens=3)


async def load(store: MemoryStore | FailingStore, stage: str = STAGE, limits: LedgerLimits = PATIENT) -> Ledger:
    return await Ledger.load(store, LEDGER, await claim(store, stage, SHARD), limits=limits)


async def look(ledger: Ledger, row: str, path: str = "p") -> Entry | None:
    return await ledger.lookup(row, path, request_hash(path))


async def test_a_recorded_call_is_found_at_once_and_by_the_next_attempt() -> None:
    store = MemoryStore()
    failed = Entry(row="b", path="p", key=request_hash("p"), model="m", failure=Failure(reason="too-long", message="x"))
    async with await load(store) as ledger:
        await ledger.record(entry("a", "naïve 日本 \u2028 text"))
        await ledger.record(failed)
        assert await look(ledger, "a") == entry("a", "naïve 日本 \u2028 text")
        assert await look(ledger, "c") is None
        assert await ledger.lookup("a", "p", "another request") is None
    async with await load(store) as ledger:
        assert await look(ledger, "a") == entry("a", "naïve 日本 \u2028 text")
        assert await look(ledger, "b") == failed
        assert len(ledger) == 2


async def test_the_first_record_of_a_call_counts() -> None:
    store = MemoryStore()
    async with await load(store) as ledger:
        await ledger.record(entry("a", "first"))
        await ledger.record(entry("a", "second"))
        assert await look(ledger, "a") == entry("a", "first")
    async with await load(store) as ledger:
        assert await look(ledger, "a") == entry("a", "first")


def test_an_entry_is_an_answer_or_a_failure() -> None:
    with pytest.raises(ValueError, match="exactly one of answer, letters, score and failure"):
        Entry(row="a", path="p", key="k", model="m")


async def test_another_fingerprint_reuses_a_call_and_says_so_each_time() -> None:
    store = MemoryStore()
    async with await load(store) as ledger:
        await ledger.record(entry("a"))
    for _ in range(2):
        async with await load(store, f"{INPUTS}/{'b' * 32}") as ledger:
            found = await look(ledger, "a")
            assert found is not None
            assert found.reused
            assert found.answer == entry("a").answer


async def test_a_reused_answer_stays_when_a_chain_with_a_smaller_name_records_the_call_later() -> None:
    store = MemoryStore()
    user = f"{INPUTS}/{'c' * 32}"
    late = await load(store, f"{INPUTS}/{'0' * 32}")  # opened before anybody recorded the call
    async with await load(store) as ledger:
        await ledger.record(entry("a", "used"))
    async with await load(store, user) as ledger:
        assert (await look(ledger, "a")).answer == Answer(text="used", finish_reason="stop")  # type: ignore[union-attr]
    await late.record(entry("a", "late"))
    await late.close()
    async with await load(store, user) as ledger:
        assert (await look(ledger, "a")).answer == Answer(text="used", finish_reason="stop")  # type: ignore[union-attr]


def failed(row: str) -> Entry:
    return Entry(
        row=row,
        path="p",
        key=request_hash("p"),
        model="m",
        failure=Failure(reason="bad-request", message="no template"),
    )


async def test_a_failure_counts_for_its_own_fingerprint_only() -> None:
    store = MemoryStore()
    async with await load(store) as ledger:
        await ledger.record(failed("a"))
        await ledger.record(failed("b"))
    other = f"{INPUTS}/{'b' * 32}"
    async with await load(store, other) as ledger:
        assert await look(ledger, "a") is None
        await ledger.record(entry("a", "mended"))
        assert await look(ledger, "b") is None
        await ledger.record(failed("b"))
    async with await load(store, other) as ledger:  # a resumed attempt has the outcomes of its own
        assert await look(ledger, "a") == entry("a", "mended")
        assert await look(ledger, "b") == failed("b")
    async with await load(store) as ledger:
        assert await look(ledger, "a") == failed("a")


async def test_a_failure_hides_no_answer_of_a_chain_with_a_later_name() -> None:
    store = MemoryStore()
    for letter, recorded in (("0", failed("a")), ("1", entry("a", "answer"))):
        async with await load(store, f"{INPUTS}/{letter * 32}") as ledger:
            await ledger.record(recorded)
    for _ in range(2):
        async with await load(store) as ledger:
            found = await look(ledger, "a")
            assert found is not None
            assert found.answer == entry("a", "answer").answer


async def test_lines_are_flushed_after_a_while_and_past_a_size() -> None:
    store = MemoryStore()
    async with await load(store, limits=LedgerLimits(flush_s=0.01)) as ledger:
        await ledger.record(entry("a"))
        await _until_segments(store, 2)
    async with await load(store, limits=LedgerLimits(flush_s=3600, flush_bytes=10)) as ledger:
        await ledger.record(entry("b"))
        await _until_segments(store, 4)


async def _until_segments(store: MemoryStore, count: int) -> None:
    async with asyncio.timeout(5):
        while len(await list_segments(store, FOLDER)) < count:  # noqa: ASYNC110 - objects in a store wake nobody
            await asyncio.sleep(0.005)


async def _record_until_told(ledger: Ledger) -> None:
    async with asyncio.timeout(5):
        while True:
            await ledger.record(entry(os.urandom(4).hex()))
            await asyncio.sleep(0.005)


async def test_the_recording_worker_waits_when_the_buffer_is_full() -> None:
    store = MemoryStore()
    limits = LedgerLimits(flush_s=3600, flush_bytes=1, max_buffer_bytes=1)
    async with await load(store, limits=limits) as ledger:
        await ledger.record(entry("a"))
        assert len(await list_segments(store, FOLDER)) == 2


async def test_a_fenced_ledger_writes_no_more() -> None:
    store = MemoryStore()
    first = await load(store)
    await first.record(entry("a"))
    async with await load(store) as second:
        assert await look(second, "a") is None
        before = dict(store.objects)
        with pytest.raises(Fenced, match="attempt 2 has taken over from attempt 1"):
            await first.flush()
        with pytest.raises(Fenced):
            await first.record(entry("b"))
        with pytest.raises(Fenced):
            await first.close()
        assert store.objects == before


async def test_the_background_flush_of_a_fenced_ledger_tells_the_worker() -> None:
    store = MemoryStore()
    ledger = await load(store, limits=LedgerLimits(flush_s=0.01))
    await claim(store, STAGE, SHARD)
    with pytest.raises(Fenced):
        await _record_until_told(ledger)
    with pytest.raises(Fenced):
        await ledger.close()


async def test_a_writer_that_looked_before_it_was_fenced_finds_its_number_taken() -> None:
    """The look and the write are two steps; the seal closes the gap between them."""
    inner = MemoryStore()
    store = FailingStore(inner, lambda *_: None)
    first = await load(store)
    await first.record(entry("a"))
    async with await load(inner):
        first._token = await claim(inner, STAGE, SHARD)  # as if its look had come before the claim
        with pytest.raises(Fenced, match="written by a later attempt"):
            await first.flush()
    with pytest.raises(Fenced):
        await first.close()


async def test_a_flush_whose_answer_was_lost_is_recognised_and_nothing_is_written_twice() -> None:
    inner = MemoryStore()
    armed = False

    async def lose_answer(key: str, body: bytes) -> None:
        nonlocal armed
        await MemoryStore.put_if_absent(inner, key, body)
        if armed:
            armed = False
            raise StoreError("no answer")

    inner.put_if_absent = lose_answer  # type: ignore[method-assign]
    ledger = await load(inner)
    await ledger.record(entry("a"))
    armed = True
    with pytest.raises(StoreError, match="no answer"):
        await ledger.flush()
    await ledger.record(entry("b"))
    await ledger.close()
    assert [s.first for s in await list_segments(inner, FOLDER)] == [0, 1, 2]
    async with await load(inner) as ledger:
        assert len(ledger) == 2


async def test_a_store_that_keeps_failing_ends_the_work() -> None:
    down = False
    store = FailingStore(
        MemoryStore(), lambda verb, _: StoreError("down") if down and verb == "put_if_absent" else None
    )
    ledger = await load(store, limits=LedgerLimits(flush_s=0.005, max_failed_flushes=3))
    down = True
    with pytest.raises(StoreError, match="down"):
        await _record_until_told(ledger)
    with pytest.raises(StoreError, match="down"):
        await ledger.close()


async def test_a_short_outage_is_sat_out() -> None:
    remaining = 2

    def fault(verb: str, key: str) -> Exception | None:
        nonlocal remaining
        if verb == "put_if_absent" and "/ledger/" in key and "000001" in key and remaining:
            remaining -= 1
            return StoreError("down")
        return None

    inner = MemoryStore()
    ledger = await load(FailingStore(inner, fault), limits=LedgerLimits(flush_s=0.005))
    await ledger.record(entry("a"))
    await _until_segments(inner, 2)
    await ledger.close()
    assert remaining == 0


async def test_what_was_made_is_kept_when_the_work_fails() -> None:
    store = MemoryStore()

    async def work() -> None:
        async with await load(store) as ledger:
            await ledger.record(entry("a"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await work()
    async with await load(store) as ledger:
        assert len(ledger) == 1


async def test_a_long_chain_is_compacted_and_reads_the_same() -> None:
    store = MemoryStore()
    async with await load(store, limits=LedgerLimits(flush_s=3600, max_segments=8)) as ledger:
        for number in range(40):
            await ledger.record(entry(f"r{number}", f"text {number}"))
            await ledger.flush()
            assert len(await list_segments(store, FOLDER)) <= 9
    async with await load(store) as ledger:
        for number in range(40):
            assert await look(ledger, f"r{number}") == entry(f"r{number}", f"text {number}")


async def test_a_failed_compaction_is_put_off() -> None:
    down = True
    inner = MemoryStore()
    store = FailingStore(inner, lambda verb, _: StoreError("down") if down and verb == "delete" else None)
    async with await load(store, limits=LedgerLimits(flush_s=3600, max_segments=2)) as ledger:
        for number in range(4):
            await ledger.record(entry(f"r{number}"))
            await ledger.flush()
        assert len(await list_segments(inner, FOLDER)) > 3
        down = False
        for number in range(4, 6):
            await ledger.record(entry(f"r{number}"))
            await ledger.flush()
    assert len(await list_segments(inner, FOLDER)) <= 3
    async with await load(inner) as ledger:
        assert len(ledger) == 6


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda body: body[:-3], "not a readable ledger segment", id="cut off"),
        pytest.param(lambda _: b"", "not a readable ledger segment", id="empty"),
        pytest.param(lambda body: bytes([*body[:-1], body[-1] ^ 1]), "not a readable ledger segment", id="bit flip"),
        pytest.param(lambda _: zstandard.compress(b'{"format":1}\n{"row":1}\n'), "line 2 is not a", id="bad line"),
        pytest.param(lambda _: zstandard.compress(b'{"format":1}\n{"row"'), "no last line end", id="cut line"),
    ],
)
async def test_a_damaged_segment_is_named(damage, message: str) -> None:  # type: ignore[no-untyped-def]
    store = MemoryStore()
    async with await load(store) as ledger:
        await ledger.record(entry("a", "a secret prompt"))
    key = segment_key(FOLDER, "a" * 8, 1, 1)
    store.objects[key] = damage(store.objects[key])
    with pytest.raises(StoreError, match=message) as caught:
        await load(store)
    assert key in str(caught.value)
    assert "delete it and all later segments" in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_a_missing_segment_and_a_foreign_object_are_named() -> None:
    store = MemoryStore()
    async with await load(store) as ledger:
        await ledger.record(entry("a"))
    del store.objects[segment_key(FOLDER, "a" * 8, 0, 0)]
    with pytest.raises(StoreError, match="segment 0 of its chain is missing"):
        await load(store)
    store.objects = {f"{FOLDER}/notes.txt": b""}
    with pytest.raises(StoreError, match="MoAA did not write it"):
        await load(store)


async def test_a_full_temporary_folder_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with await load(MemoryStore()) as ledger:
        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(StoreError, match="No space left on device; free space or point TMPDIR elsewhere"):
            await ledger.record(entry("a"))


def seg(first: int, last: int, size_bytes: int = 1) -> Segment:
    return Segment(segment_key("f", "a" * 8, first, last), "a" * 8, first, last, size_bytes)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param([], [], id="none"),
        pytest.param([seg(0, 0), seg(1, 1)], [seg(0, 0), seg(1, 1)], id="plain"),
        pytest.param([seg(0, 0), seg(1, 1), seg(0, 1), seg(2, 2)], [seg(0, 1), seg(2, 2)], id="killed before deletion"),
        pytest.param([seg(0, 5), seg(3, 3), seg(6, 6)], [seg(0, 5), seg(6, 6)], id="a zombie's late segment"),
        pytest.param([seg(0, 4), seg(3, 8), seg(9, 9)], [seg(0, 4), seg(3, 8), seg(9, 9)], id="overlap"),
        pytest.param([seg(0, 2), seg(0, 8), seg(3, 4)], [seg(0, 8)], id="merged twice"),
    ],
)
def test_readers_take_each_number_from_the_widest_segment(given: list[Segment], expected: list[Segment]) -> None:
    assert readable_order(reversed(given)) == expected


@pytest.mark.parametrize(
    ("sizes", "run"),
    [
        pytest.param([1] * 5, (0, 5), id="all fit"),
        pytest.param([10, 1, 1, 1], (1, 4), id="a full one before"),
        pytest.param([10, 10, 10], None, id="all full"),
        pytest.param([9, 1, 9, 1, 1], (2, 4), id="longest of those that fit"),
        pytest.param([1], None, id="alone"),
    ],
)
def test_a_merge_is_bounded_in_bytes(sizes: list[int], run: tuple[int, int] | None) -> None:
    chosen = choose_run([seg(n, n, size) for n, size in enumerate(sizes)], 10)
    if run is None:
        assert chosen is None
    else:
        assert chosen is not None
        assert sum(sizes[slice(*chosen)]) <= 10
        assert chosen[1] - chosen[0] == run[1] - run[0]


def test_segment_names_and_bytes_round_trip() -> None:
    assert parse_segment_key(segment_key(FOLDER, "0123abcd", 7, 1234567), 5) == Segment(
        segment_key(FOLDER, "0123abcd", 7, 1234567), "0123abcd", 7, 1234567, 5
    )
    line = entry("a").model_dump_json(exclude_defaults=True).encode()
    assert [each.raw for each in decode_segment("k", encode_segment({"writer": "w"}, [line, line]))] == [line, line]
    assert decode_segment("k", encode_segment({"writer": "w"}, [])) == []


async def test_claims_number_attempts_without_gaps_and_fence_all_before() -> None:
    store = MemoryStore()
    tokens = await asyncio.gather(*(claim(store, STAGE, SHARD) for _ in range(10)))
    assert sorted(token.attempt for token in tokens) == list(range(1, 11))
    assert (await claim(store, STAGE, "00001")).attempt == 1
    for token in tokens:
        if token.attempt == 10:
            await token.check()
        else:
            with pytest.raises(Fenced, match=f"attempt {token.attempt + 1} has taken over"):
                await token.check()
    store.objects[f"{STAGE}/attempts/{SHARD}/x.txt"] = b""
    with pytest.raises(StoreError, match="not an attempt"):
        await claim(store, STAGE, SHARD)
