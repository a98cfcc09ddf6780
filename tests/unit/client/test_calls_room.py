import asyncio
from collections.abc import Iterable

import pytest

from moaa.client.pool.replicas import Address, Replica
from moaa.client.pool.room import Room
from moaa.client.target import Target
from moaa.errors import CallError


def room(*, concurrency: int) -> Room:
    return Room(Target("m", ("http://127.0.0.1:1/v1",), "m", concurrency), resolve_s=30.0)


async def take(place: Room) -> Replica:
    replica = await place.acquire("row", order=0, timeout_s=5.0)
    assert replica is not None
    return replica


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_those_who_wait_are_served_in_order_and_before_newcomers() -> None:
    place = room(concurrency=1)
    held = await take(place)
    order: list[str] = []

    async def wait(name: str) -> None:
        replica = await take(place)
        order.append(name)
        await asyncio.sleep(0)
        place.release(replica)

    waiting = [asyncio.create_task(wait(f"waiter {i}")) for i in range(3)]
    await settle()
    place.release(held)  # wakes the first, which has not run yet when the newcomer asks
    await wait("newcomer")
    await asyncio.gather(*waiting)
    assert order == ["waiter 0", "waiter 1", "waiter 2", "newcomer"]
    assert place.in_flight == 0


async def test_a_turn_given_to_a_call_that_is_cancelled_goes_to_the_next() -> None:
    place = room(concurrency=1)
    held = await take(place)
    first, second = asyncio.create_task(take(place)), asyncio.create_task(take(place))
    await settle()
    place.release(held)
    first.cancel()  # it was woken, and is cancelled before it could run
    async with asyncio.timeout(1):
        assert await second is held
    assert first.cancelled()
    assert place.in_flight == 1


async def test_one_who_gave_up_waiting_takes_no_turn() -> None:
    place = room(concurrency=1)
    held = await take(place)
    with pytest.raises(CallError, match="room"):
        await place.acquire("row", order=0, timeout_s=0.01)
    place.release(held)
    assert await take(place) is held


async def test_a_lower_limit_holds_back_the_next() -> None:
    place = room(concurrency=4)
    held = [await take(place) for _ in range(4)]
    held[0].limit.overloaded(sent_in=0)  # now 2
    waiting = asyncio.create_task(take(place))
    for replica in held[:2]:
        place.release(replica)
        await settle()
        assert not waiting.done()
    place.release(held[2])
    await settle()
    assert waiting.done()


async def test_many_who_wait_are_served_in_order_however_room_comes_and_goes() -> None:
    place, order = room(concurrency=4), list[int]()
    place.release(await take(place))  # its address is looked up

    async def call(number: int) -> None:
        replica = await take(place)
        order.append(number)
        for _ in range(number % 3):
            await asyncio.sleep(0)
        place.release(replica)

    await asyncio.gather(*(call(number) for number in range(200)))
    assert order == list(range(200))
    assert place.in_flight == 0


async def test_those_who_wait_learn_that_no_address_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    place = room(concurrency=1)
    held = await take(place)
    waiting = asyncio.create_task(place.acquire("row", order=0, timeout_s=5.0))
    await settle()

    async def gone(urls: Iterable[str]) -> list[Address]:
        assert tuple(urls) == ("http://127.0.0.1:1/v1",)
        return []

    monkeypatch.setattr("moaa.client.pool.room.resolve", gone)
    monkeypatch.setattr("moaa.client.pool.room.REST_S", 0.0)
    place.rest(held)
    assert await place.acquire("row", order=0, timeout_s=5.0) is None
    assert await waiting is None


async def test_rows_that_were_begun_are_ended_before_others() -> None:
    place, served = room(concurrency=1), list[str]()
    held = await take(place)

    async def call(row: int, number: int) -> None:
        replica = await place.acquire(f"row {row}", order=row, timeout_s=5.0)
        assert replica is not None
        served.append(f"{row}/{number}")
        place.release(replica)

    calls = [asyncio.create_task(call(row, number)) for number in range(2) for row in (2, 0, 1)]
    await settle()
    place.release(held)
    await asyncio.gather(*calls)
    assert served == ["0/0", "0/1", "1/0", "1/1", "2/0", "2/1"]
