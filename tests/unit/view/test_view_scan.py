"""Pages of tables and searches in them: nothing left out, nothing twice, never longer than they may take."""

import asyncio
import hashlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moaa.data.schemas import CONVERSATIONS, RANKINGS
from moaa.errors import StoreError, UsageError
from moaa.store.stages import tables
from moaa.store.stages.manifest import ObjectRef
from moaa.store.stages.row_groups import TAIL_BYTES, open_part, read_group
from moaa.store.stages.tables import TableRows, encode
from moaa.view import scan
from moaa.view.filters import FILTERS, Query, query_of
from moaa.view.scan import ROWS, Page, Place, page, row
from tests.store_helpers import MemoryStore

Row = dict[str, Any]
COLUMNS = ("id",)


def talk(number: int, text: str = "fine", **more: object) -> Row:
    return {
        "id": f"r{number}",
        "messages": [{"role": "user", "content": f"ask {number}"}, {"role": "assistant", "content": text}],
        "proposals": [],
        "missing": 0,
        "absent": [],
        "shortened": 0,
        "wrote": None,
        **more,
    }


def ranking(
    number: int, outcome: str = "pair", *verdicts: tuple[int | None, int | None], votes: Sequence[Any] = ()
) -> Row:
    comparisons = [
        {
            "a": 0,
            "b": 1,
            "criteria": ["Accuracy"],
            "chosen": True,
            "score": None,
            "forward": forward,
            "backward": backward,
            "votes": list(votes),
        }
        for forward, backward in verdicts
    ]
    return {
        "id": f"r{number}",
        "messages": [],
        "samples": ["a", "bb"],
        "points": [1.0, None],
        "comparisons": comparisons,
        "outcome": outcome,
    }


def stored(parts: Mapping[int, Sequence[Row]], schema: pa.Schema) -> tuple[MemoryStore, dict[int, ObjectRef]]:
    store, refs = MemoryStore(), {}
    for number, rows in parts.items():
        body = encode(TableRows(rows, schema)).body
        store.objects[f"p{number}"] = body
        refs[number] = ObjectRef(key=f"p{number}", size_bytes=len(body), sha256=hashlib.sha256(body).hexdigest())
    return store, refs


def ids(found: Page) -> list[str]:
    return [one["id"] for _, one in found.rows]


async def walk(
    store: MemoryStore, parts: Mapping[int, ObjectRef], query: Query, clock: Callable[[], float] = lambda: 0.0
) -> tuple[list[str], int, int]:
    """Ids of all pages, rows looked at, and pages."""
    place: Place | None = Place(0, 0)
    seen: list[str] = []
    looked = pages = 0
    while place is not None:
        found = await page(store, parts, place, COLUMNS, query, clock=clock)
        assert len(found.rows) <= ROWS
        seen, looked, pages, place = seen + ids(found), looked + found.looked, pages + 1, found.next
    return seen, looked, pages


@settings(max_examples=10, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 110), min_size=1, max_size=4),
    share=st.sampled_from([0.0, 0.02, 0.5, 1.0]),
    group=st.sampled_from([7, 40, 4096]),
    steps=st.integers(0, 3),
)
def test_pages_together_are_the_table(sizes: list[int], share: float, group: int, steps: int) -> None:
    """Whatever the parts, their row groups, what is searched for, and however early the time is over."""
    chance, number = random.Random(sum(sizes)), iter(range(10_000))
    rows = {
        part * 2: [talk(next(number), "needle" if chance.random() < share else "hay") for _ in range(size)]
        for part, size in enumerate(sizes)
    }
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tables, "ROW_GROUP_ROWS", group)
        store, parts = stored(rows, CONVERSATIONS)
    every = [one for some in rows.values() for one in some]
    wanted = [one["id"] for one in every if one["messages"][-1]["content"] == "needle"]

    def ticking() -> Iterator[float]:
        now = 0.0
        while True:
            yield now
            now += scan.SEARCH_S / steps if steps else 0.0

    ticks = ticking()
    found, looked, _ = asyncio.run(
        walk(store, parts, query_of("conversations", {"text": "NEEDLE"}), lambda: next(ticks))
    )
    assert found == wanted
    assert looked == len(every), "each row is looked at once, and counted"
    shown, looked, _ = asyncio.run(walk(store, parts, query_of("conversations", {})))
    assert shown == [one["id"] for one in every]


async def test_a_search_ends_in_time_and_says_how_far_it_came() -> None:
    store, parts = stored({number: [talk(number)] for number in range(20)}, CONVERSATIONS)
    times = iter([0.0, *[scan.SEARCH_S] * 100])
    found = await page(
        store, parts, Place(0, 0), COLUMNS, query_of("conversations", {"text": "no"}), clock=lambda: next(times)
    )
    assert (ids(found), found.looked, found.next) == ([], scan.AT_ONCE, Place(scan.AT_ONCE, 0))


async def test_the_end_is_found_without_what_is_before_it() -> None:
    store, parts = stored({0: [talk(n) for n in range(70)], 1: [talk(n) for n in range(70, 200)]}, CONVERSATIONS)
    last = await page(store, parts, Place(1, -ROWS), COLUMNS, Query())
    assert ids(last) == [f"r{n}" for n in range(150, 200)]
    assert (last.start, last.next, last.part_rows) == (Place(1, 80), None, 130)
    beyond = await page(store, parts, Place(1, 1000), COLUMNS, Query())
    assert (ids(beyond), beyond.next) == ([], None)


async def test_a_row_is_whole_and_names_the_next() -> None:
    store, parts = stored({0: [talk(0), talk(1, "second")], 4: [talk(2)]}, CONVERSATIONS)
    read = await row(store, parts, Place(0, 1))
    assert read is not None
    assert (read[0]["messages"][-1]["content"], read[1]) == ("second", Place(4, 0))
    assert [await row(store, parts, place) for place in (Place(0, 2), Place(1, 0), Place(9, 0))] == [None] * 3


RANKED = [
    ranking(0, "pair", (1, 1), (0, 0)),
    ranking(1, "tie", (1, 0)),
    ranking(2, "pair", (None, 0), (1, None)),
    ranking(3, "tie", (1, 1), votes=[[1, 1], [0, 0], [None, 1]]),
    ranking(4, "small-margin", (0, 1), votes=[[1, 1], [0, 1], [1, 1]]),
]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"outcome": "tie"}, [1, 3]),
        ({"disagree": "orders"}, [1, 4]),
        ({"disagree": "judges"}, [3]),
        ({"disagree": "orders", "outcome": "tie"}, [1]),
        ({"id": "r2"}, [2]),
        ({"least": "2"}, [0, 1, 2, 3, 4]),
        ({"least": "3"}, []),
        ({"most": "2", "text": "BB"}, [0, 1, 2, 3, 4]),
        ({"text": ".b"}, []),
        ({"outcome": ""}, [0, 1, 2, 3, 4]),
    ],
)
async def test_rankings_are_found_by(asked: dict[str, str], expected: list[int]) -> None:
    store, parts = stored({0: RANKED}, RANKINGS)
    found, _, _ = await walk(store, parts, query_of("rankings", asked))
    assert found == [f"r{number}" for number in expected]


async def test_conversations_are_found_by_what_failed() -> None:
    failed = [{"path": "p", "model": "m", "reason": "time-out"}]
    rows = [talk(0), talk(1, missing=1, absent=failed), talk(2, shortened=1), talk(3, "é" * 900)]
    store, parts = stored({0: rows}, CONVERSATIONS)
    for asked, expected in (
        ({"failed": "yes"}, ["r1"]),
        ({"reason": "time-out"}, ["r1"]),
        ({"reason": "other"}, []),
        ({"shortened": "yes"}, ["r2"]),
        ({"least": "900", "most": "900"}, ["r3"]),
    ):
        assert (await walk(store, parts, query_of("conversations", asked)))[0] == expected


@pytest.mark.parametrize(
    "asked",
    [{"outcome": "won"}, {"least": "-1"}, {"least": "²"}, {"disagree": "all"}, {"text": "x" * 501}, {"sort": "id"}],
)
def test_what_cannot_be_searched_for_is_refused(asked: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        query_of("rankings", asked)
    assert all(len({one.name for one in some}) == len(some) for some in FILTERS.values())


async def test_of_a_large_object_only_the_columns_and_rows_that_are_needed_are_read() -> None:
    chance = random.Random(0)
    rows = [talk(n, chance.randbytes(600).hex()) for n in range(2000)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tables, "ROW_GROUP_ROWS", 500)
        store, parts = stored({0: rows}, CONVERSATIONS)
    read: list[int] = []

    class Counting(MemoryStore):
        async def get_range(self, key: str, start: int, size_bytes: int) -> bytes:
            read.append(size_bytes)
            return await store.get_range(key, start, size_bytes)

    part = await open_part(Counting(), parts[0])
    assert (part.rows, part.first_rows) == (2000, [0, 500, 1000, 1500])
    table = await read_group(Counting(), part, 1, ("id", "no-such-column"))
    assert table.column_names == ["id"]
    assert table.column("id").to_pylist() == [f"r{n}" for n in range(500, 1000)]
    assert sum(read) < TAIL_BYTES + parts[0].size_bytes / 20
    whole = await read_group(Counting(), part, 0, part.names)
    assert whole.to_pylist() == rows[:500]


async def test_a_damaged_object_is_named() -> None:
    store, parts = stored({0: [talk(0)]}, CONVERSATIONS)
    store.objects["p0"] = b"x" * parts[0].size_bytes
    with pytest.raises(StoreError, match="p0: not a readable Parquet file"):
        await open_part(store, parts[0])
    store.objects["p0"] = b"x"
    with pytest.raises(StoreError, match="p0: 1 bytes came for"):
        await open_part(store, parts[0])
