"""`moaa run`: carry out a resource on this machine."""

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING

from moaa.cli.common import EXIT_OK, columns, say, with_store
from moaa.errors import UsageError

if TYPE_CHECKING:
    from moaa.store.objects.base import Store


def run(options: argparse.Namespace) -> int:
    """Raises UsageError: not on Linux, or an option is wrong."""
    if sys.platform != "linux":
        raise UsageError(f"moaa run needs Linux (/proc and prctl) to leave no process behind; this is {sys.platform}")
    from rich.console import Console

    from moaa.api.reading.load import load
    from moaa.cli.outcome import outcome_text
    from moaa.local.executor import Finished, execute
    from moaa.local.options import read_options, settings_of
    from moaa.local.processes.process import become_subreaper
    from moaa.local.processes.signals import until_signalled
    from moaa.local.show.display import display

    resource = load(options.file)
    if resource.spec.suspend:
        say(f"{options.file}: spec.suspend is true; nothing is started")
        return EXIT_OK
    flags = {name: getattr(options, name) for name in ("workdir", "memory_gib", "gpus")}
    settings = settings_of(resource, read_options(flags), until=options.until)
    become_subreaper()
    console = Console(width=columns())

    async def carry_out(store: "Store") -> None:
        with display(as_json=options.json, console=console) as notify:
            finished: Finished = await until_signalled(execute(resource, store, settings, notify), notify)
        if not options.json:
            console.print(await outcome_text(resource, store, finished, settings))

    asyncio.run(with_store(resource, carry_out))
    return EXIT_OK
