"""`moaa run`: carry out a resource on this machine."""

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING

from moaa.cli.common import EXIT_OK, columns, say, with_store
from moaa.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from moaa.api import MoAA
    from moaa.local.executor import Settings
    from moaa.store.objects.base import Store


def run(options: argparse.Namespace) -> int:
    """Raises UsageError: not on Linux, or an option is wrong."""
    from rich.console import Console

    from moaa.api.reading.load import load
    from moaa.local.options import read_options, settings_of

    resource = load(options.file)
    if resource.spec.suspend:
        say(f"{options.file}: spec.suspend is true; nothing is started")
        return EXIT_OK
    flags = {name: getattr(options, name) for name in ("workdir", "memory_gib", "gpus")}
    settings = settings_of(resource, read_options(flags), until=options.until)
    be_runner()
    console = Console(width=columns())
    asyncio.run(
        with_store(resource, lambda store: carry_out(resource, store, settings, as_json=options.json, console=console))
    )
    return EXIT_OK


def be_runner() -> None:
    """Make this process one that leaves no process behind. Raises UsageError: not on Linux."""
    from moaa.local.processes.process import become_subreaper

    if sys.platform != "linux":
        raise UsageError(f"moaa run needs Linux (/proc and prctl) to leave no process behind; this is {sys.platform}")
    become_subreaper()


async def carry_out(
    resource: "MoAA", store: "Store", settings: "Settings", *, as_json: bool, console: "Console"
) -> None:
    """Run a resource to its end, showing it, and print how it ended.

    Raises:
        MoaaError: it could not be finished.
        asyncio.CancelledError: a signal came.
    """
    from moaa.cli.outcome import outcome_text
    from moaa.local.executor import execute
    from moaa.local.processes.signals import until_signalled
    from moaa.local.show.display import display

    with display(as_json=as_json, console=console) as notify:
        finished = await until_signalled(execute(resource, store, settings, notify), notify)
    if not as_json:
        console.print(await outcome_text(resource, store, finished, settings))
