"""Calls side by side: every call that can be made is made, before a missing model or a failure is acted upon."""

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

from moaa.errors import CallError, ModelAbsent

T = TypeVar("T")


async def gather_calls(calls: Iterable[Awaitable[T]]) -> list[T | CallError]:
    """Results in the order of `calls`; a CallError is a result, to be judged by the caller.

    ModelAbsent is raised only once all others have ended, so that what can be asked is asked (and is in the ledger)
    before the row waits. Anything else ends the siblings at once.

    Raises:
        ModelAbsent: of the first call that needs a model that nobody serves.
    """

    async def settled(call: Awaitable[T]) -> T | CallError | ModelAbsent:
        try:
            return await call
        except (CallError, ModelAbsent) as error:
            return error

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(settled(call)) for call in calls]
    except BaseExceptionGroup as errors:
        # One cause ended the group; callers know exceptions of MoAA, not groups of them.
        raise errors.exceptions[0] from errors
    results: list[T | CallError] = []
    for task in tasks:
        result = task.result()
        if isinstance(result, ModelAbsent):
            raise result
        results.append(result)
    return results
