"""`moaa search`: mixtures that an optimiser suggests, measured one after the other, and the best of them."""

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from moaa.cli.common import EXIT_OK, columns, say, with_store
from moaa.errors import MoaaError, UsageError

if TYPE_CHECKING:
    from moaa.experiment.expand import Run
    from moaa.search.space import Space
    from moaa.search.trials import Scores, Searched, Tried
    from moaa.store.objects.base import Store


def search(options: argparse.Namespace) -> int:
    """Raises UsageError: not on Linux, an option is wrong, or no mixture is within the limits."""
    from moaa.search.space import open_space

    doing, other = ("--plan", ("out", "workdir", "memory_gib", "gpus")) if options.plan else ("a search", ("rows",))
    if unused := [name for name in other if getattr(options, name)]:
        raise UsageError(f"--{unused[0].replace('_', '-')} has no effect with {doing}; leave it out")
    space = open_space(options.file)
    return _plan(options, space) if options.plan else _carry_out(options, space)


def _plan(options: argparse.Namespace, space: "Space") -> int:
    """What the base's own trial takes; others ask more or fewer proposals and find what is in the ledger."""
    from rich.console import Console

    from moaa.cli.plan import row_counts
    from moaa.plan.forecast.estimate import estimate
    from moaa.plan.ids import BASE_EVALUATE
    from moaa.plan.show import figures
    from moaa.plan.slices import tables
    from moaa.search.space import PROMPTS

    counts = row_counts(options.rows, sorted(table for table, _ in tables(space.resource)))
    part = next(part for part in estimate(space.resource, counts) if part.stage == BASE_EVALUATE)
    names = ("calls", "tokens in", "tokens out", "GPUs", "hours", "GPU-h", "USD")
    told = ", ".join(f"{name} {figure}" for name, figure in zip(names, list(figures(part))[1:], strict=True))
    cost = space.cost(space.baseline())
    usd = "?" if cost.usd is None else f"{cost.usd:.2f}"
    hours = "?" if cost.gpu_hours is None else f"{cost.gpu_hours:.2f}"
    Console(width=columns()).print(
        f"{space.search.metadata.name}: {space.search.trials} of {space.size:,} mixtures beside the base's\n"
        f"the base's trial, whole: {told}\n"
        "others find the answers of student and members in the ledger; each asks for its own proposals, answers and "
        "verdicts\n"
        f"the base's mixture for {PROMPTS:,} prompts: GPU-h {hours}, USD {usd}",
        markup=False,
        highlight=False,
    )
    return EXIT_OK


def _carry_out(options: argparse.Namespace, space: "Space") -> int:
    from rich.console import Console

    from moaa.cli.run import be_runner, carry_out
    from moaa.local.options import read_options, settings_of
    from moaa.plan.ids import BASE_EVALUATE
    from moaa.report.write import write_files
    from moaa.run.collect import collect
    from moaa.run.records import run_id
    from moaa.search.show import result_json, result_view, trial_line
    from moaa.search.trials import scores_of
    from moaa.search.trials import search as searched

    if space.resource.spec.suspend:
        say(f"{options.file}: spec.suspend of its base is true; nothing is started")
        return EXIT_OK
    be_runner()
    flags = read_options({name: getattr(options, name) for name in ("workdir", "memory_gib", "gpus")})
    console = Console(width=columns())
    told: list[Tried] = []

    def tell(one: "Tried") -> None:
        told.append(one)
        console.print(trial_line(one, len(told) - 1), markup=False, highlight=False)

    async def carried(store: "Store") -> "Searched":
        async def measure(run: "Run") -> "Scores":
            own = None if flags.workdir is None else flags.workdir / run.name
            settings = settings_of(run.resource, flags.model_copy(update={"workdir": own}), until=BASE_EVALUATE)
            await carry_out(run.resource, store, settings, as_json=False, console=console)
            scores = scores_of(await collect(run.resource, store, run_id(run.resource)))
            if empty := [name for name, of_benchmark in scores.items() if not of_benchmark]:
                raise MoaaError(
                    f"no question of {empty[0]} has a score of the mixture; look at {BASE_EVALUATE}'s report"
                )
            return scores

        return await searched(space, measure, tell)

    found = asyncio.run(with_store(space.resource, carried))
    console.print(result_view(space, found))
    out = options.out or Path(f"{space.search.metadata.name}-search")
    write_files(out, {"search.json": result_json(found)})
    say(f"{out}/search.json")
    return EXIT_OK
