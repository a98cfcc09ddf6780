"""Whether a stage is worked on: by anybody, as far as what was written tells."""

from datetime import UTC, datetime, timedelta

import pytest

from moaa.store.fencing import QUIET, claim, is_worked_on
from tests.store_helpers import MemoryStore

PATH, LEDGER = "stages/generate/aaaa/0123456789abcdef", "stages/generate/aaaa/ledger"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (f"{PATH}/attempts/00000/000002.json", True),
        (f"{PATH}/checkpoints/progress.json", True),
        (f"{LEDGER}/00000/01234567-000001-000001.jsonl.zst", True),
        (f"{LEDGER}/00000/89abcdef-000001-000001.jsonl.zst", False),
        (f"{PATH}0/attempts/00000/000001.json", False),
    ],
    ids=["a claim", "a training", "its calls", "calls of another stage over the same inputs", "a longer name"],
)  # fmt: skip
async def test_what_was_written_a_moment_ago_is_a_sign_of_work(key: str, expected: bool) -> None:
    store = MemoryStore()
    await store.put(key, b"")
    store.written[key] = NOW
    assert await is_worked_on(store, PATH, LEDGER, now=NOW + QUIET - timedelta(seconds=1)) is expected
    assert not await is_worked_on(store, PATH, LEDGER, now=NOW + QUIET)


async def test_a_claim_is_a_sign_of_work() -> None:
    store = MemoryStore()
    assert not await is_worked_on(store, PATH, LEDGER, now=datetime.now(UTC))
    await claim(store, PATH, "00000")
    assert await is_worked_on(store, PATH, LEDGER, now=datetime.now(UTC))
