"""What a killed process had received and not flushed, and who may take it over."""

import logging
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from moaa.errors import Fenced, StoreError
from moaa.store.fencing import claim
from moaa.store.ledger.ledger import Ledger, LedgerLimits, Worth, no_worth
from moaa.store.ledger.segments import Answer, Entry, Failure
from moaa.store.objects.base import Store
from tests.store_helpers import FailingStore, MemoryStore
from tests.store_worker import INPUTS, LEDGER, SHARD, STAGE, recorded, request_hash

PATIENT = LedgerLimits(flush_s=3600.0)


def entry(row: str, text: str = "text", *, tokens: int = 0) -> Entry:
    answer = Answer(text=text, finish_reason="stop")
    return Entry(row=row, path="p", key=request_hash("p"), model="m", answer=answer, completion_tokens=tokens)


async def load(store: Store, folder: Path, *, stage: str = STAGE, worth: Worth = no_worth) -> Ledger:
    token = await claim(store, stage, SHARD)
    return await Ledger.load(store, LEDGER, token, limits=PATIENT, journals=folder, worth=worth)


def kill(ledger: Ledger) -> None:
    """What SIGKILL does: nothing is flushed, files are closed and their locks end."""
    assert ledger._flusher is not None
    assert ledger._journal is not None
    ledger._flusher.cancel()
    os.close(ledger._journal._fd)
    ledger._calls.close()


async def text_of(ledger: Ledger, row: str) -> str | None:
    found = await ledger.lookup(row, "p", request_hash("p"))
    return found.answer.text if found and found.answer else None


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


async def killed(store: Store, folder: Path, *rows: str) -> Path:
    """An attempt that is killed after it received answers; returns its journal."""
    ledger = await load(store, folder)
    for row in rows:
        await ledger.record(entry(row, f"answer {row}"))
    kill(ledger)
    (file,) = files(folder)
    return file


async def test_answers_that_were_received_are_durable_before_the_next_attempt_asks(tmp_path: Path) -> None:
    store = MemoryStore()
    failed = Entry(row="c", path="p", key=request_hash("p"), model="m", failure=Failure(reason="too-long", message="x"))
    ledger = await load(store, tmp_path)
    await ledger.record(entry("a", "naïve 日本"))
    await ledger.flush()
    await ledger.record(entry("b"))
    await ledger.record(failed)
    kill(ledger)
    assert len(await recorded(store)) == 1
    second = await load(store, tmp_path)
    assert len(await recorded(store)) == 3
    assert await text_of(second, "b") == "text"
    assert await second.lookup("c", "p", request_hash("p")) == failed
    kill(second)
    async with await load(store, tmp_path) as third:
        assert len(third) == 3
    assert files(tmp_path) == []


async def test_a_journal_holds_what_is_not_durable_and_no_more(tmp_path: Path) -> None:
    async with await load(MemoryStore(), tmp_path) as ledger:
        (file,) = files(tmp_path)
        empty = file.stat().st_size
        await ledger.record(entry("a"))
        assert file.stat().st_size > empty
        await ledger.flush()
        assert file.stat().st_size == empty


async def test_an_answer_that_is_recorded_already_stays(tmp_path: Path) -> None:
    store = MemoryStore()
    await killed(store, tmp_path, "a", "b")
    async with await load(store, tmp_path / "another machine") as elsewhere:
        await elsewhere.record(entry("a", "asked again elsewhere"))
    async with await load(store, tmp_path) as back:
        assert await text_of(back, "a") == "asked again elsewhere"
        assert await text_of(back, "b") == "answer b"


async def test_what_was_taken_from_another_chain_stays_taken_from_it(tmp_path: Path) -> None:
    store, user, smaller = MemoryStore(), f"{INPUTS}/{'c' * 32}", f"{INPUTS}/{'0' * 32}"
    async with await load(store, tmp_path / "other") as ledger:
        await ledger.record(entry("a", "used"))
    reader = await load(store, tmp_path, stage=user)
    assert await text_of(reader, "a") == "used"
    kill(reader)
    async with await load(store, tmp_path / "other", stage=smaller) as ledger:
        ledger._calls.clear()
        await ledger.record(entry("a", "late, of a chain with a smaller name"))
    async with await load(store, tmp_path, stage=user) as again:
        assert await text_of(again, "a") == "used"


async def two_frames(store: Store, folder: Path) -> tuple[Path, int]:
    """A journal of two answers, and where the second begins."""
    ledger = await load(store, folder)
    (file,) = files(folder)
    await ledger.record(entry("a"))
    second = file.stat().st_size
    await ledger.record(entry("b"))
    kill(ledger)
    return file, second


@pytest.mark.parametrize("kept", [1, 7, 8, 30, -1])
async def test_a_torn_end_is_dropped_and_counted(tmp_path: Path, kept: int, caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    file, second = await two_frames(store, tmp_path)
    torn = kept if kept > 0 else file.stat().st_size - second - 1
    os.truncate(file, second + torn)
    caplog.set_level(logging.INFO)
    async with await load(store, tmp_path) as ledger:
        assert await text_of(ledger, "a") == "text"
        assert await text_of(ledger, "b") is None
    assert f"lines=1 new=1 dropped_bytes={torn}" in caplog.text


@pytest.mark.parametrize(
    ("damage", "lines"),
    [
        (lambda body, second: body[: second + 20] + b"!" + body[second + 21 :], 1),
        (lambda body, _: body + bytes(4096), 2),
        (lambda body, second: body[:second] + struct.pack("<II", 2, zlib.crc32(b"{}")) + b"{}" + body[second:], 1),
    ],
    ids=["another byte", "zeros after a power cut", "a line that is no entry"],
)
async def test_damage_ends_what_is_read(tmp_path: Path, damage: Callable[[bytes, int], bytes], lines: int) -> None:
    store = MemoryStore()
    file, second = await two_frames(store, tmp_path)
    file.write_bytes(damage(file.read_bytes(), second))
    async with await load(store, tmp_path) as ledger:
        assert len(ledger) == lines


async def test_a_file_without_a_header_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    (tmp_path / f"{SHARD}-of-another-release.lines").write_bytes(b"no frame")
    async with await load(store, tmp_path) as ledger:
        assert len(ledger) == 0
    assert "journal_not_known" in caplog.text
    assert len(files(tmp_path)) == 1


async def test_a_zombies_journal_waits_until_it_is_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    zombie = await load(store, tmp_path)
    await zombie.record(entry("a", "of the zombie"))
    async with await load(store, tmp_path) as second:
        assert await text_of(second, "a") is None
        assert "journal_in_use" in caplog.text
        with pytest.raises(Fenced):
            await zombie.close()
    async with await load(store, tmp_path) as third:
        assert await text_of(third, "a") == "of the zombie"
    assert files(tmp_path) == []


async def test_a_journal_of_another_stage_or_store_never_matches(tmp_path: Path) -> None:
    store = MemoryStore()
    await killed(store, tmp_path, "a")
    async with await load(store, tmp_path, stage=f"{INPUTS}/{'b' * 32}") as other:
        assert len(other) == 0
    async with await load(MemoryStore(), tmp_path) as emptied:
        assert len(emptied) == 0
    assert len(files(tmp_path)) == 1
    async with await load(store, tmp_path) as ours:
        assert await text_of(ours, "a") == "answer a"


async def test_what_could_not_be_flushed_at_the_end_is_kept(tmp_path: Path) -> None:
    inner, down = MemoryStore(), False
    store = FailingStore(inner, lambda verb, _: StoreError("down") if down and verb == "put_if_absent" else None)
    ledger = await load(store, tmp_path)
    await ledger.record(entry("a"))
    down = True
    with pytest.raises(StoreError, match="down"):
        await ledger.close()
    async with await load(inner, tmp_path) as again:
        assert await text_of(again, "a") == "text"


async def test_a_recovery_that_fails_leaves_everything_for_the_next(tmp_path: Path) -> None:
    inner = MemoryStore()
    await killed(inner, tmp_path, "a")

    def fault(verb: str, key: str) -> Exception | None:
        return StoreError("down") if verb == "put_if_absent" and "000002" in key and "/ledger/" in key else None

    with pytest.raises(StoreError, match="down"):
        await load(FailingStore(inner, fault), tmp_path)
    async with await load(inner, tmp_path) as again:
        assert await text_of(again, "a") == "answer a"


async def test_a_full_disk_is_told_once_and_costs_no_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store, is_full = MemoryStore(), False
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, body: write(fd, body[:11] if is_full else body))
    ledger = await load(store, tmp_path)
    await ledger.record(entry("a"))
    is_full = True
    for row in ("b", "c"):
        await ledger.record(entry(row))
    assert caplog.text.count("answers_not_journaled") == 1
    assert "No space left on device" in caplog.text
    await ledger.flush()
    await ledger.record(entry("d"))
    is_full = False
    await ledger.record(entry("e"))
    assert caplog.text.count("answers_not_journaled") == 1
    await ledger.flush()
    await ledger.record(entry("f"))
    kill(ledger)
    async with await load(store, tmp_path) as again:
        assert len(again) == 6


async def test_a_folder_that_cannot_be_had_costs_no_work(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    store = MemoryStore()
    async with await load(store, tmp_path / "file") as ledger:
        await ledger.record(entry("a"))
    assert "answers_not_journaled" in caplog.text
    assert len(await recorded(store)) == 1


async def test_answers_that_cost_enough_are_flushed_at_once(tmp_path: Path) -> None:
    store = MemoryStore()
    ledger = await load(store, tmp_path, worth=lambda answered: answered.completion_tokens / 100)
    flushed = ledger._wake
    await ledger.record(entry("a", tokens=60))
    assert not flushed.is_set()
    await ledger.record(entry("b", tokens=60))
    assert flushed.is_set()
    await ledger.flush()
    flushed.clear()
    await ledger.record(entry("c", tokens=60))
    assert not flushed.is_set()
    await ledger.close()
