"""Writes the two files of a report."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from moaa.api import MoAA
from moaa.report.html import render
from moaa.report.schema import Summary
from moaa.report.summary import summarise
from moaa.run.collect import collect
from moaa.run.view import RunView
from moaa.store.objects.base import Store

HTML_NAME, SUMMARY_NAME = "report.html", "summary.json"


async def write_report(resource: MoAA, store: Store, run: str, out: Path) -> Summary:
    """Write `report.html` and `summary.json` into the folder `out` and return the summary.

    A run in progress gives a partial report that says so. `run` is `<namespace>-<name>-<uid>`. Each file replaces an
    older one whole: a reader sees the old or the new text, never a part.

    Raises:
        StoreError: the store cannot be reached, or a stage's manifest is there but unreadable.
        OSError: `out` cannot be written.
    """
    view = await collect(resource, store, run)
    summary = summarise(view)
    await asyncio.to_thread(write_files, out, report_files(view, summary))
    return summary


def report_files(view: RunView, summary: Summary) -> dict[str, str]:
    """Both texts by file name; `summary` is the view's."""
    return {HTML_NAME: render(view, summary), SUMMARY_NAME: summary.to_json()}


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Texts by file name. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        partial = folder / f".{name}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(folder / name)
