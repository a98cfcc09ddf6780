"""`moaa plan`: stages, what is done, what is left and what it takes."""

import argparse
import asyncio
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from moaa.cli.common import EXIT_OK, columns, missing_extra, say, with_store
from moaa.errors import StoreError, UsageError

if TYPE_CHECKING:
    from moaa.api import MoAA

ROW_DIGITS = 12
"""Most digits of `--rows`. No table has more rows, and a longer number would break the arithmetic of the estimate."""
MAX_SHOWN = 60
"""Characters of an option that an error repeats."""


def plan(options: argparse.Namespace) -> int:
    from rich.console import Console

    from moaa.api.reading.load import load
    from moaa.plan.forecast.fits import memory_view
    from moaa.plan.show import plan_view
    from moaa.plan.slices import tables

    resource = load(options.file)
    counts = row_counts(options.rows, [table for table, _ in tables(resource)])
    config = student_config(resource, options.student_config)
    console = Console(width=columns())
    try:
        from moaa.cli.stored_plan import read_plan
        from moaa.run.records import LOCAL_UID

        uid = options.uid or LOCAL_UID
        view = asyncio.run(with_store(resource, lambda store: read_plan(resource, store, counts, uid=uid)))
    except (StoreError, ModuleNotFoundError) as error:  # a plan helps most when there is no bucket yet
        why = missing_extra(error, options.command) if isinstance(error, ModuleNotFoundError) else error
        say(f"the store cannot be read, so this is the plan of a run that has not begun: {why}\n")
        view = plan_view(resource, {}, counts=counts)
    console.print(view)
    console.print(memory_view(resource, config))
    return EXIT_OK


def row_counts(options: Sequence[str], known: Sequence[str]) -> dict[str, int]:
    """Rows by table. Raises UsageError: not a number, or a table that is not among those known."""
    counts: dict[str, int] = {}
    for option in options:
        shown = option if len(option) <= MAX_SHOWN else f"{option[:MAX_SHOWN]}…"
        table, _, count = option.partition("=")
        if not re.fullmatch(rf"[0-9]{{1,{ROW_DIGITS}}}", count):
            raise UsageError(
                f"--rows {shown}: write a table and its number of rows, of at most {ROW_DIGITS} digits, for example "
                "sft-0=61135"
            )
        if table not in known:
            raise UsageError(f"--rows {shown}: there is no such table; the tables are {', '.join(known)}")
        counts[table] = int(count)
    return counts


def student_config(resource: "MoAA", given: str | None) -> Mapping[str, object] | None:
    """The student's config.json: the file that is given, else that of its folder. None: it is not on this machine.

    Raises:
        DataError: the file that is given, or the folder's, cannot be read as a JSON object.
    """
    from moaa.api.file_uri import SCHEME, file_path
    from moaa.json_file import read_json_object

    source = resource.spec.model(resource.spec.student).source or ""
    if given is not None:
        file = Path(given)
    elif not source.startswith(SCHEME) or not (file := file_path(source) / "config.json").exists():
        return None
    return read_json_object(file, remedy="give the student's config.json")
