"""Make calls side by side. Every call that can be made is made before a missing model or a failure counts.

Only here is it decided which failures a row may do without: permanent ones. A failure that may pass (a time-out, a
server's error) ends the row's attempt, as a missing model does. A row that went on without that call would be published
with less than it could have, and no count would show it.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from moaa.asking.reasons import TRANSIENT
from moaa.errors import CallError, ModelAbsent

T = TypeVar("T")


async def gather_calls(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T | CallError]:
    """Results in the order of `calls`. A permanent CallError is a result; the caller decides what it means.

    ModelAbsent and a CallError that may pass are raised only once all others have ended, so that what can be asked is
    asked (and is in the ledger) before the row waits or fails. Anything else ends the siblings at once. None of the
    calls outlives this one.

    Raises:
        ModelAbsent: the first one. It comes before any CallError, since a row that waits is tried again in any case.
        CallError: the first whose reason is one of `TRANSIENT`.
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
    passing: CallError | None = None
    for task in tasks:
        error = task.exception()
        if isinstance(error, CallError):
            passing = passing or (error if error.reason in TRANSIENT else None)
            results.append(error)
        elif error is not None:
            raise error
        else:
            results.append(task.result())
    if passing is not None:
        raise passing
    return results


async def gather_all(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """As `gather_calls`, but any CallError is raised. Results are in the order of `calls`.

    Raises:
        ModelAbsent: the first one.
        CallError: the first, once all others have ended.
    """
    results: list[T] = []
    for result in await gather_calls(calls):
        if isinstance(result, CallError):
            raise result
        results.append(result)
    return results
