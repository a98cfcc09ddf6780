"""Calls side by side: every call that can be made is made, before a missing model or a failure is acted upon."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from moaa.errors import CallError, ModelAbsent

T = TypeVar("T")


async def gather_calls(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T | CallError]:
    """Results in the order of `calls`; a CallError is a result, for the caller to judge.

    ModelAbsent is raised only once all others have ended, so that what can be asked is asked (and is in the ledger)
    before the row waits. Anything else ends the siblings at once. None of the calls outlives this one.

    Raises:
        ModelAbsent: of the first call that needs a model that nobody serves.
    """
    tasks = [asyncio.ensure_future(call) for call in calls]
    pending = set(tasks)
    try:
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_EXCEPTION)
            errors = [task.exception() for task in done]
            fatal = [e for e in errors if e is not None and not isinstance(e, CallError | ModelAbsent)]
            if fatal:
                raise fatal[0]
    finally:
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.gather(*pending, return_exceptions=True)
    results: list[T | CallError] = []
    for task in tasks:
        error = task.exception()
        if isinstance(error, CallError):
            results.append(error)
        elif error is not None:
            raise error
        else:
            results.append(task.result())
    return results
