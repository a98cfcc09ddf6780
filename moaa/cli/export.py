"""`moaa export`: the promoted student and the data it learned from, as folders for other programs, and on a hub."""

import argparse
import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from moaa.cli.common import EXIT_OK, columns, say, with_store
from moaa.errors import UsageError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from moaa.api import MoAA
    from moaa.export.push import Push
    from moaa.store.objects.base import Store

SUFFIXES = {"model": "", "sft": "-sft", "pairs": "-pairs"}
"""What is put behind the name of `--push-to-hub`, by the option that names the folder."""


@dataclass(frozen=True)
class Taken:
    """One export, as it lies in its folder."""

    option: str
    folder: Path
    commit: str
    """What its commit says."""
    is_edited: bool
    """Somebody has edited its card."""


def add_export_options(take: argparse.ArgumentParser) -> None:
    take.add_argument(
        "--model", type=Path, metavar="DIR", help="the promoted student, as transformers and vLLM take it"
    )
    take.add_argument("--stage", metavar="STAGE", help="that of this stage instead, for example i1-sft")
    take.add_argument("--sft", type=Path, metavar="DIR", help="the conversations it was taught, as a dataset")
    take.add_argument("--pairs", type=Path, metavar="DIR", help="the preference pairs, as a dataset")
    take.add_argument(
        "--push-to-hub",
        metavar="OWNER/NAME",
        help="push the folders, too: the model to OWNER/NAME, the datasets to OWNER/NAME-sft and OWNER/NAME-pairs; "
        "with the token of HF_TOKEN or `hf auth login`",
    )
    take.add_argument("--private", action="store_true", help="repositories that the push makes are private")
    take.add_argument("--revision", metavar="BRANCH", help="push to this branch, which is made where it is missing")
    take.add_argument(
        "--dry-run", action="store_true", help="write the folders, list what a push would change, and push nothing"
    )


def export(options: argparse.Namespace) -> int:
    """Raises UsageError: nothing is asked for, a folder holds something else, the run has not made what is asked for,
    or the hub refuses."""
    from moaa.api.reading.load import load
    from moaa.run.records import LOCAL_UID, run_id

    folders = _folders(options)
    resource = load(options.file)
    run = run_id(resource, uid=options.uid or LOCAL_UID)
    api = _signed_in(options)
    taken = asyncio.run(with_store(resource, lambda store: _export(resource, store, run, folders, options.stage)))
    if api is not None:
        _push(api, taken, options)
    return EXIT_OK


def _folders(options: argparse.Namespace) -> dict[str, Path]:
    """Folders by option. Raises UsageError: the options cannot be meant."""
    from moaa.export.folder import require_free

    folders: dict[str, Path] = {name: getattr(options, name) for name in SUFFIXES if getattr(options, name) is not None}
    if not folders:
        raise UsageError("say what to export: --model DIR, --sft DIR, --pairs DIR, or several")
    if len({folder.resolve() for folder in folders.values()}) < len(folders):
        raise UsageError("give each export a folder of its own")
    if options.stage is not None and options.model is None:
        raise UsageError("--stage names the student of --model, which is not asked for")
    for flag in ("private", "revision", "dry_run"):
        if getattr(options, flag) and options.push_to_hub is None:
            raise UsageError(f"--{flag.replace('_', '-')} says how to push; name where, with --push-to-hub OWNER/NAME")
    for folder in folders.values():
        require_free(folder)
    return folders


def _signed_in(options: argparse.Namespace) -> "HfApi | None":
    """Who pushes, before hours of copying. None: nothing is pushed. Raises UsageError, StoreError: they may not."""
    if options.push_to_hub is None:
        return None
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    from moaa.export.hub import repo_name, signed_in

    for suffix in SUFFIXES.values():
        repo_name(options.push_to_hub, suffix)
    if not sys.stderr.isatty():
        disable_progress_bars()
    api = HfApi()
    signed_in(api)
    return api


async def _export(
    resource: "MoAA", store: "Store", run: str, folders: dict[str, Path], stage: str | None
) -> list[Taken]:
    from moaa.export.tables import PAIRS, SFT
    from moaa.export.write import chosen, export_dataset, export_model
    from moaa.report.summary import summarise
    from moaa.run.collect import collect

    view = await collect(resource, store, run)
    summary = summarise(view)
    taken = []
    if (folder := folders.get("model")) is not None:
        student = chosen(view, stage)
        is_edited = await export_model(view, summary, store, student, folder)
        say(f"{folder}: the student of {student[1:]}; load it with transformers, or: vllm serve {folder}")
        taken.append(Taken("model", folder, f"The student of {student[1:]}, run {run}", is_edited))
    for option, dataset in (("sft", SFT), ("pairs", PAIRS)):
        if (folder := folders.get(option)) is not None:
            rows, is_edited = await export_dataset(view, summary, store, dataset, folder)
            say(f"{folder}: {rows:,} {dataset.title}; read them with datasets.load_dataset({str(folder)!r})")
            taken.append(Taken(option, folder, f"{rows:,} {dataset.title}, run {run}", is_edited))
    return taken


def _push(api: "HfApi", taken: list[Taken], options: argparse.Namespace) -> None:
    """Every repository is looked at before the first is changed. Raises UsageError, StoreError."""
    from rich.console import Console

    from moaa.export.hub import repo_name
    from moaa.export.push import RepoKind, look, push
    from moaa.export.show import loaded_with, planned_table

    planned: list[Push] = []
    console = Console(width=columns(), highlight=False)
    for export in taken:
        kind = RepoKind.MODEL if export.option == "model" else RepoKind.DATASET
        repo = repo_name(options.push_to_hub, SUFFIXES[export.option])
        found = look(api, export.folder, repo, kind, branch=options.revision, is_private=options.private)
        console.print(planned_table(found, is_edited=export.is_edited))
        planned.append(found)
    if options.dry_run:
        say("nothing was pushed; leave out --dry-run to push this")
        return
    for export, found in zip(taken, planned, strict=True):
        commit = push(api, found, export.commit)
        say(f"{found.repo}: {f'pushed, {commit}' if commit else 'holds all of it already'}; {loaded_with(found)}")
