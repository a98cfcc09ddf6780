"""Writes what a run made into folders: a student's weights, and the data that it learned from, each with its card."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from moaa.errors import StoreError, UsageError
from moaa.export.cards import dataset_card, model_card
from moaa.export.tables import Dataset, write_table, written_by
from moaa.plan.kinds.table import STUDENTS
from moaa.report.schema import Summary
from moaa.run.students import promoted
from moaa.run.view import RunView
from moaa.store.objects.base import Store
from moaa.store.stages.folders import copy_folder
from moaa.store.stages.partial import partial_folder
from moaa.weights.find import MODEL

CARD = "README.md"
Fill = Callable[[Path], Awaitable[None]]


def chosen(view: RunView, stage: str | None) -> str:
    """The student to export, `@<stage>`: of the stage that was named, else the promoted one.

    Raises:
        UsageError: the stage makes no student or is not done, or no promotion has chosen a trained one.
    """
    done = [s.stage.id for s in view.stages if s.manifest is not None and s.stage.kind in STUDENTS]
    there = f"students that are there: {', '.join(done) or 'none yet'}"
    if stage is not None:
        if stage not in done:
            raise UsageError(f"--stage {stage}: no finished stage of this run that trains a student; {there}")
        return f"@{stage}"
    student = promoted(view)
    if not student.startswith("@"):
        raise UsageError(
            f"the run has promoted no trained student: {student!r} is still the one it started from; name another with "
            f"--stage ({there})"
        )
    return student


async def export_model(view: RunView, summary: Summary, store: Store, student: str, target: Path) -> None:
    """The student's folder as transformers and vLLM take it, and its card.

    Raises:
        UsageError: `target` holds something.
        StoreError: its files are missing or differ, or the disk does not take them.
    """
    found = view.of(student[1:])
    manifest = found.manifest if found else None
    assert manifest is not None, "`chosen` has looked"

    async def fill(folder: Path) -> None:
        await copy_folder(store, manifest, MODEL, folder)
        (folder / CARD).write_text(model_card(view, summary, student), encoding="utf-8")

    await _filled(target, fill)


async def export_dataset(view: RunView, summary: Summary, store: Store, dataset: Dataset, target: Path) -> int:
    """One dataset of all iterations and its card; returns the number of rows.

    Raises:
        UsageError: `target` holds something, or no stage has written such rows.
        StoreError: a table is missing or differs, or the disk does not take it.
    """
    stages = written_by(view, dataset)
    if not stages:
        raise UsageError(f"the run has no {dataset.title} yet: no stage of kind {dataset.source} is done")
    rows: dict[str, int] = {}

    async def fill(folder: Path) -> None:
        for stage in stages:
            rows[stage.stage.id] = await write_table(store, dataset, stage, folder)
        (folder / CARD).write_text(dataset_card(view, summary, dataset, rows), encoding="utf-8")

    await _filled(target, fill)
    return sum(rows.values())


def require_empty(target: Path) -> None:
    """Raises UsageError: there is something at `target`, which is never written over."""
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists() or target.is_symlink():
        raise UsageError(f"{target}: is there already, and nothing is written over; name a folder that is not there")


async def _filled(target: Path, fill: Fill) -> None:
    """`target` as `fill` leaves it; it is whole or absent at every instant."""
    require_empty(target)
    try:
        async with partial_folder(target) as partial:
            await fill(partial)
            await asyncio.to_thread(partial.replace, target)
    except OSError as error:
        raise StoreError(f"{target}: {error.strerror or error}; mend it, then start again") from error
