"""`moaa report`: the report of a run, finished or not."""

import argparse
import asyncio
from pathlib import Path

from moaa.cli.common import EXIT_OK, say, with_store


def report(options: argparse.Namespace) -> int:
    from moaa.api.reading.load import load
    from moaa.report.write import write_report
    from moaa.run.records import LOCAL_UID, run_id

    resource = load(options.file)
    run = run_id(resource, uid=options.uid or LOCAL_UID)
    out = options.out or Path(f"{resource.metadata.name}-report")
    asyncio.run(with_store(resource, lambda store: write_report(resource, store, run, out)))
    say(f"{out}/report.html")
    return EXIT_OK
