"""Reads what the runs of an experiment left, and writes the two files of its comparison."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from moaa.errors import StageError, StoreError
from moaa.experiment.compare import compare
from moaa.experiment.expand import Expanded
from moaa.experiment.html import render
from moaa.experiment.schema import Comparison
from moaa.report.write import write_files
from moaa.run.collect import collect
from moaa.run.records import run_id
from moaa.run.view import RunView
from moaa.store.objects.base import Store

HTML_NAME, JSON_NAME = "comparison.html", "comparison.json"


async def write_comparison(expanded: Expanded, store: Store, problems: Mapping[str, str], out: Path) -> Comparison:
    """Write `comparison.html` and `comparison.json` into `out`, each replacing an older one whole.

    `problems` says of runs by name why they could not go on. A run that cannot be read joins them; the others are
    compared.

    Raises:
        OSError: `out` cannot be written.
    """
    views: dict[str, RunView] = {}
    told = dict(problems)
    for run in expanded.runs:
        try:
            views[run.name] = await collect(run.resource, store, run_id(run.resource))
        except (StoreError, StageError) as error:
            told.setdefault(run.name, f"could not be read: {error}")
    found = compare(expanded, views, told)
    files = {HTML_NAME: render(found), JSON_NAME: found.to_json()}
    await asyncio.to_thread(write_files, out, files)
    return found
