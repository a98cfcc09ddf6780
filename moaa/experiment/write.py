"""Reads what the runs of an experiment left, and writes their comparison and the report of each."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from moaa.errors import StageError, StoreError
from moaa.experiment.compare import compare
from moaa.experiment.expand import Expanded
from moaa.experiment.html import render
from moaa.experiment.schema import Comparison
from moaa.report.summary import summarise
from moaa.report.write import report_files, write_files
from moaa.run.collect import collect
from moaa.run.records import run_id
from moaa.run.view import RunView
from moaa.store.objects.base import Store

HTML_NAME, JSON_NAME = "comparison.html", "comparison.json"


async def write_comparison(expanded: Expanded, store: Store, problems: Mapping[str, str], out: Path) -> Comparison:
    """Write `comparison.html` and `comparison.json` into `out`, and each run's own report into a folder of its name.

    Each file replaces an older one whole. `problems` says of runs by name why they could not go on; one that cannot be
    read joins them, and the others are compared.

    Raises:
        StoreError: no run can be read; nothing is written.
        OSError: `out` cannot be written.
    """
    views: dict[str, RunView] = {}
    told = dict(problems)
    for run in expanded.runs:
        try:
            views[run.name] = await collect(run.resource, store, run_id(run.resource))
        except (StoreError, StageError) as error:
            told.setdefault(run.name, f"could not be read: {error}")
    if not views:
        raise StoreError("\n".join(f"{run.label}: {told[run.name]}" for run in expanded.runs))
    found = compare(expanded, views, told)
    for name, view in views.items():
        await asyncio.to_thread(write_files, out / name, report_files(view, summarise(view)))
    await asyncio.to_thread(write_files, out, {HTML_NAME: render(found), JSON_NAME: found.to_json()})
    return found
