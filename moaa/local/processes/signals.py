"""Ctrl-C and SIGTERM: the first stops a run in order, the second at once."""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from moaa.local.show.events import Notify

ValueT = TypeVar("ValueT")
EXIT_INTERRUPTED = 130
SHOW_CURSOR = "\x1b[?25h"


async def until_signalled(work: Coroutine[Any, Any, ValueT], notify: Notify) -> ValueT:
    """The result of `work`. A signal cancels it: jobs get SIGTERM and flush, servers stop.

    A second signal ends the process on the spot; the guards then end what still runs.

    Raises asyncio.CancelledError: a signal came.
    """
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    received: list[int] = []

    def stop(number: int) -> None:
        received.append(number)
        if len(received) > 1:
            # Nothing else runs any more, so restore here what a live display hid.
            sys.stdout.write(SHOW_CURSOR if sys.stdout.isatty() else "")
            sys.stdout.flush()
            sys.stderr.write("moaa: stopped at once; run the same command again to go on\n")
            sys.stderr.flush()
            os._exit(EXIT_INTERRUPTED)
        notify("run_stopping", signal=signal.Signals(number).name)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        return await task
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
