"""`moaa export`: the promoted student and the data it learned from, as folders for other programs."""

import argparse
import asyncio
from typing import TYPE_CHECKING

from moaa.cli.common import EXIT_OK, say, with_store
from moaa.errors import UsageError

if TYPE_CHECKING:
    from moaa.api import MoAA
    from moaa.store.objects.base import Store


def export(options: argparse.Namespace) -> int:
    """Raises UsageError: nothing is asked for, a folder is there already, or the run has not made what is asked for."""
    from moaa.api.reading.load import load
    from moaa.export.write import require_empty
    from moaa.run.records import LOCAL_UID, run_id

    targets = [folder for folder in (options.model, options.sft, options.pairs) if folder is not None]
    if not targets:
        raise UsageError("say what to export: --model DIR, --sft DIR, --pairs DIR, or several")
    if len({folder.resolve() for folder in targets}) < len(targets):
        raise UsageError("give each export a folder of its own")
    if options.stage is not None and options.model is None:
        raise UsageError("--stage names the student of --model, which is not asked for")
    for folder in targets:
        require_empty(folder)
    resource = load(options.file)
    run = run_id(resource, uid=options.uid or LOCAL_UID)
    asyncio.run(with_store(resource, lambda store: _export(resource, store, run, options)))
    return EXIT_OK


async def _export(resource: "MoAA", store: "Store", run: str, options: argparse.Namespace) -> None:
    from moaa.export.tables import PAIRS, SFT
    from moaa.export.write import chosen, export_dataset, export_model
    from moaa.report.summary import summarise
    from moaa.run.collect import collect

    view = await collect(resource, store, run)
    summary = summarise(view)
    if options.model is not None:
        student = chosen(view, options.stage)
        await export_model(view, summary, store, student, options.model)
        say(f"{options.model}: the student of {student[1:]}; load it with transformers, or: vllm serve {options.model}")
    for dataset, folder in ((SFT, options.sft), (PAIRS, options.pairs)):
        if folder is not None:
            rows = await export_dataset(view, summary, store, dataset, folder)
            say(f"{folder}: {rows:,} {dataset.title}; read them with datasets.load_dataset({str(folder)!r})")
