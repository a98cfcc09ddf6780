"""Do several pieces of work at once: bounded, in order, and failing like a plain loop."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


async def map_bounded(
    items: Iterable[Item], work: Callable[[Item], Awaitable[Result]], *, at_once: int
) -> list[Result]:
    """`[await work(item) for item in items]`, with at most `at_once` under way.

    The first failure cancels the rest and is raised as it is, not inside a group, so that callers catch what they
    would catch from a loop.
    """
    limit = asyncio.Semaphore(at_once)

    async def one(item: Item) -> Result:
        async with limit:
            return await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(item)) for item in items]
    except BaseExceptionGroup as failures:
        first = failures.exceptions[0]
        raise first from first.__cause__
    return [task.result() for task in tasks]
