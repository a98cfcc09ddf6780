"""`moaa experiment`: several arms of one resource, planned, carried out one after the other, and compared."""

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from moaa.cli.common import EXIT_OK, columns, missing_extra, say, with_store
from moaa.errors import MoaaError, StoreError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from moaa.experiment.expand import Expanded, Run
    from moaa.local.executor import Settings
    from moaa.local.options import RunOptions
    from moaa.store.objects.base import Store
    from moaa.store.stages.manifest import StageManifest


UNUSED = {
    "plan": ("report", "out", "json", "workdir", "memory_gib", "gpus"),
    "report": ("plan", "rows", "until", "json", "workdir", "memory_gib", "gpus"),
    "run": ("rows",),
}
"""Options that have no part in planning, in comparing what is there, and in carrying out."""


def experiment(options: argparse.Namespace) -> int:
    """Raises UsageError: not on Linux, or an option is wrong."""
    from moaa.experiment.expand import expand

    doing = "plan" if options.plan else "report" if options.report else "run"
    if unused := [name for name in UNUSED[doing] if getattr(options, name)]:
        place = "without --plan or --report" if doing == "run" else f"with --{doing}"
        raise UsageError(f"--{unused[0].replace('_', '-')} has no effect {place}; leave it out")
    expanded = expand(options.file).only(options.arm)
    if options.plan:
        return _plan(options, expanded)
    out = options.out or Path(f"{expanded.name}-experiment")
    if options.report:
        asyncio.run(with_store(expanded.runs[0].resource, lambda store: _compare(expanded, store, {}, out)))
        say(f"{out}/comparison.html")
        return EXIT_OK
    return _carry_out(options, expanded, out)


def _plan(options: argparse.Namespace, expanded: "Expanded") -> int:
    from rich.console import Console

    from moaa.cli.plan import row_counts
    from moaa.experiment.sharing import shares
    from moaa.experiment.show import plan_view
    from moaa.plan.slices import tables

    known = {table for run in expanded.runs for table, _ in tables(run.resource)}
    counts = row_counts(options.rows, sorted(known))

    async def nothing(_path: str) -> "StageManifest | None":
        return None

    try:
        from moaa.store.stages.shards import read_manifest

        found = asyncio.run(
            with_store(
                expanded.runs[0].resource,
                lambda store: shares(
                    expanded.runs, lambda path: read_manifest(store, path), counts, until=options.until
                ),
            )
        )
    except (StoreError, ModuleNotFoundError) as error:
        why = missing_extra(error, options.command) if isinstance(error, ModuleNotFoundError) else error
        say(f"the store cannot be read, so this is the plan of an experiment that has not begun: {why}\n")
        found = asyncio.run(shares(expanded.runs, nothing, counts, until=options.until))
    Console(width=columns()).print(plan_view(expanded, found))
    return EXIT_OK


def _carry_out(options: argparse.Namespace, expanded: "Expanded", out: Path) -> int:
    """Every run in order; a failed one does not stop the others. The page is written after each."""
    from rich.console import Console

    from moaa.cli.run import be_runner
    from moaa.local.options import read_options
    from moaa.plan.graph import build, wanted

    first = expanded.runs[0].resource
    if first.spec.suspend:
        say(f"{options.file}: spec.suspend of its base is true; nothing is started")
        return EXIT_OK
    for run in expanded.runs:
        wanted(build(run.resource), options.until)
    be_runner()
    flags = read_options({name: getattr(options, name) for name in ("workdir", "memory_gib", "gpus")})
    tell = _Tell(Console(width=columns()), as_json=options.json)
    problems: dict[str, str] = {}

    async def every_run(store: "Store") -> None:
        for run in expanded.runs:
            await _one(run, store, _settings(run, flags, options.until), tell, problems)
            await _compare(expanded, store, problems, out)

    asyncio.run(with_store(first, every_run))
    if not options.json:
        say(f"{out}/comparison.html")
    if problems:
        raise MoaaError(
            f"{len(problems)} of {len(expanded.runs)} runs failed: {', '.join(problems)}; what was finished is kept, "
            "and the same command goes on from there"
        )
    return EXIT_OK


async def _one(run: "Run", store: "Store", settings: "Settings", tell: "_Tell", problems: dict[str, str]) -> None:
    """Carry out one run; a failure joins `problems`."""
    from moaa.cli.run import carry_out

    tell.started(run)
    try:
        await carry_out(run.resource, store, settings, as_json=tell.as_json, console=tell.console)
    except MoaaError as error:
        problems[run.name] = str(error)
        tell.failed(run, str(error))


class _Tell:
    """Tells of runs on the terminal, in sentences, or as JSON lines among those of their stages."""

    def __init__(self, console: "Console", *, as_json: bool) -> None:
        self.console = console
        self.as_json = as_json

    def started(self, run: "Run") -> None:
        self._tell("experiment_run_started", f"arm {run.label}: run {run.name}", run)

    def failed(self, run: "Run", error: str) -> None:
        self._tell("experiment_run_failed", f"arm {run.label} failed: {error}", run, error=error)

    def _tell(self, event: str, sentence: str, run: "Run", **fields: str) -> None:
        from moaa.local.show.display import JsonLines

        if self.as_json:
            JsonLines(self.console.file)(event, run=run.name, arm=run.arm, seed=run.seed, **fields)
        else:
            self.console.print(sentence, markup=False, highlight=False)


def _settings(run: "Run", flags: "RunOptions", until: str | None) -> "Settings":
    """Each run has a folder of its own below the one that was asked for."""
    from moaa.local.options import settings_of

    own = None if flags.workdir is None else flags.workdir / run.name
    return settings_of(run.resource, flags.model_copy(update={"workdir": own}), until=until)


async def _compare(expanded: "Expanded", store: "Store", problems: dict[str, str], out: Path) -> None:
    from moaa.experiment.write import write_comparison

    await write_comparison(expanded, store, problems, out)
