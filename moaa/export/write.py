"""Writes what a run made into folders: a student's weights, and the data that it learned from, each with its card."""

import asyncio
from pathlib import Path

from moaa.data.hashing import digest_of
from moaa.errors import UsageError
from moaa.export.cards import dataset_card, model_card
from moaa.export.folder import CARD, filled, is_export, renew_card
from moaa.export.tables import Dataset, rows_in, write_table, written_by
from moaa.plan.kinds.table import STUDENTS
from moaa.report.schema import Summary
from moaa.run.students import promoted
from moaa.run.view import RunView
from moaa.store.objects.base import Store
from moaa.store.stages.folders import copy_folder
from moaa.weights.find import MODEL


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


async def export_model(view: RunView, summary: Summary, store: Store, student: str, target: Path) -> bool:
    """The student's folder as transformers and vLLM take it, and its card. An export of it that is there is checked
    and kept; True: with a card that somebody has edited.

    Raises:
        UsageError: `target` holds something else, or an export that was changed.
        StoreError: its files are missing or differ, or the disk does not take them.
    """
    found = view.of(student[1:])
    manifest = found.manifest if found else None
    assert manifest is not None, "`chosen` has looked"
    source = manifest.outputs[MODEL].digest

    def card() -> str:
        return model_card(view, summary, student)

    if is_export(target):
        return await asyncio.to_thread(renew_card, target, source, card)

    async def fill(folder: Path) -> None:
        await copy_folder(store, manifest, MODEL, folder)
        (folder / CARD).write_text(card(), encoding="utf-8")

    await filled(target, source, fill)
    return False


async def export_dataset(
    view: RunView, summary: Summary, store: Store, dataset: Dataset, target: Path
) -> tuple[int, bool]:
    """One dataset of all iterations and its card; returns the number of rows. An export of them that is there is
    checked and kept; the second is True where somebody has edited its card.

    Raises:
        UsageError: `target` holds something else, or an export that was changed, or no stage has written such rows.
        StoreError: a table is missing or differs, or the disk does not take it.
    """
    stages = written_by(view, dataset)
    if not stages:
        raise UsageError(f"the run has no {dataset.title} yet: no stage of kind {dataset.source} is done")
    made = [s.manifest.fingerprint for s in stages if s.manifest is not None]
    source = digest_of({"table": dataset.table, "stages": made})
    rows: dict[str, int] = {}

    def card() -> str:
        if not rows:
            rows.update(rows_in(target, stages))
        return dataset_card(view, summary, dataset, rows)

    if is_export(target):
        is_edited = await asyncio.to_thread(renew_card, target, source, card)
        return sum(rows_in(target, stages).values()), is_edited

    async def fill(folder: Path) -> None:
        for stage in stages:
            rows[stage.stage.id] = await write_table(store, dataset, stage, folder)
        (folder / CARD).write_text(card(), encoding="utf-8")

    await filled(target, source, fill)
    return sum(rows.values()), False
