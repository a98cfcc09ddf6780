"""The command `moaa`. Heavy parts are imported by the command that needs them: `moaa --help` answers at once."""

import argparse
import asyncio
import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from moaa import __version__
from moaa.errors import DataError, MoaaError, ResourceError, StoreError, UsageError, outside

if TYPE_CHECKING:
    from moaa.api import MoAA
    from moaa.store.objects.base import Store

ResultT = TypeVar("ResultT")
PIPE_COLUMNS = 140
ROW_DIGITS = 12
"""Of a number of rows: more than any table has, and what the estimate multiplies stays a number."""
MAX_SHOWN = 60
"""Characters of an option that a message repeats."""
EXIT_OK, EXIT_FAILED, EXIT_INPUT, EXIT_INTERRUPTED = 0, 1, 2, 130
EXTRAS = {"run": "moaa[local], or moaa[train,serve] where there are GPUs"}
"""What a command needs beside the base install; every other one that needs anything reads the store: moaa[data]."""
EPILOG = """\
exit codes:
  0    done, or nothing to do
  1    the run failed; what was finished is kept, and running it again goes on from there
  2    the file or an option is wrong
  130  interrupted (Ctrl-C or SIGTERM); running it again goes on

Secrets are read from the environment only: MOAA_SECRET_<NAME>_<KEY> for each secret the file names, AWS_ACCESS_KEY_ID
and AWS_SECRET_ACCESS_KEY for s3:// without a cloud identity.
"""


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="moaa",
        description="Mixture of Agents Alignment: open models teach and judge one student, again and again.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str, *, file: bool = True) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name, help=text, description=text, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if file:
            command.add_argument("file", type=Path, metavar="FILE", help="the MoAA resource, YAML or JSON")
        return command

    add("validate", "check a resource and report every mistake at once")
    plan = add("plan", "show the stages of a run: which are done, what is left to do, and which models each needs")
    plan.add_argument(
        "--rows",
        action="append",
        default=[],
        metavar="TABLE=N",
        help="rows of a table not staged yet, as sft-0=61135 for the first source of data.sft; repeatable",
    )
    _add_uid(plan)
    run = add("run", "carry out a resource on this machine, from where it stands")
    run.add_argument("--until", metavar="STAGE", help="stop when this stage is done, for example i1-sft")
    run.add_argument("--json", action="store_true", help="print every event as a JSON line instead of a table")
    run.add_argument(
        "--workdir",
        metavar="DIR",
        help="logs and scratch, nothing durable (MOAA_WORKDIR; default: ~/.cache/moaa/runs/NAMESPACE-NAME)",
    )
    run.add_argument(
        "--memory-gib",
        metavar="N",
        help="memory for servers and jobs together (MOAA_MEMORY_GIB; default: what is free now, less 1)",
    )
    run.add_argument("--gpus", metavar="N", help="use only the first N GPUs (MOAA_GPUS; default: all that are visible)")
    add("render", "print every Kubernetes object that the operator would create, for review; nothing is applied")
    report = add("report", "write report.html and summary.json of a run, finished or not")
    report.add_argument("--out", type=Path, metavar="DIR", help="where to (default: ./NAME-report)")
    _add_uid(report)
    add("crd", "print the CustomResourceDefinition that lets a Kubernetes cluster know the resource", file=False)
    add("version", "print the version", file=False)
    return top


def _add_uid(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--uid",
        type=_uid,
        metavar="UID",
        help="metadata.uid of the run on a cluster, whose closed iterations then count: "
        "kubectl get moaa NAME -o jsonpath={.metadata.uid} (default: the run of this machine)",
    )


def _uid(text: str) -> str:
    """It becomes a part of keys in the store. Empty where a cluster knew no such MoAA."""
    if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no uid; write metadata.uid of the MoAA on its cluster")
    return text


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    options = parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = COMMANDS[options.command]
    try:
        return command(options)
    except (ResourceError, DataError, UsageError) as error:
        return _fail(error, EXIT_INPUT)
    except MoaaError as error:
        return _fail(error, EXIT_FAILED)
    except OSError as error:
        return _fail(outside(error), EXIT_FAILED)
    except ModuleNotFoundError as error:
        return _fail(_missing(error, options.command), EXIT_INPUT)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return _fail("interrupted; run the same command again to go on", EXIT_INTERRUPTED)


def _fail(problem: object, code: int) -> int:
    sys.stderr.write(f"moaa: {problem}\n")
    return code


def _missing(error: ModuleNotFoundError, command: str) -> str:
    """What to install. Raises the error itself where the module is one of ours: that is a bug."""
    if (error.name or "").startswith("moaa"):
        raise error
    extra = EXTRAS.get(command, "moaa[data]")
    return f"`moaa {command}` needs {error.name}, which is not installed; install {extra}"


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _columns() -> int | None:
    """A pipe tells no width, and 80 columns would cut tables."""
    return None if sys.stdout.isatty() else PIPE_COLUMNS


def version(_options: argparse.Namespace) -> int:
    _print(__version__)
    return EXIT_OK


def crd(_options: argparse.Namespace) -> int:
    from moaa.api.crd.definition import crd_yaml

    sys.stdout.write(crd_yaml())
    return EXIT_OK


def validate(options: argparse.Namespace) -> int:
    from moaa.api.reading.load import load
    from moaa.plan.forecast.show import validate_text

    _print(validate_text(load(options.file)))
    return EXIT_OK


def plan(options: argparse.Namespace) -> int:
    from rich.console import Console

    from moaa.api.reading.load import load
    from moaa.plan.forecast.show import plan_view

    resource = load(options.file)
    counts = _row_counts(options.rows, resource)
    console = Console(width=_columns())
    try:
        from moaa.cli.plan import read_plan
        from moaa.run.records import LOCAL_UID

        uid = options.uid or LOCAL_UID
        view = asyncio.run(_with_store(resource, lambda store: read_plan(resource, store, counts, uid=uid)))
    except (StoreError, ModuleNotFoundError) as error:  # a plan helps most before there is a bucket, or moaa[data]
        why = _missing(error, options.command) if isinstance(error, ModuleNotFoundError) else error
        _print(f"the store cannot be read, so this is the plan of a run that has not begun: {why}\n")
        view = plan_view(resource, {}, counts=counts)
    console.print(view)
    return EXIT_OK


def _row_counts(options: Sequence[str], resource: "MoAA") -> dict[str, int]:
    """Rows by table. Raises UsageError: a count is none, or its table is not the resource's."""
    from moaa.plan.slices import tables

    known = [table for table, _ in tables(resource)]
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


def run(options: argparse.Namespace) -> int:
    """Raises UsageError: not on Linux, or an option is wrong."""
    if sys.platform != "linux":
        raise UsageError(f"moaa run needs Linux (/proc and prctl) to leave no process behind; this is {sys.platform}")
    from rich.console import Console

    from moaa.api.reading.load import load
    from moaa.cli.outcome import outcome_text
    from moaa.local.executor import Finished, execute
    from moaa.local.options import read_options, settings_of
    from moaa.local.processes.process import become_subreaper
    from moaa.local.processes.signals import until_signalled
    from moaa.local.show.display import display

    resource = load(options.file)
    if resource.spec.suspend:
        _print(f"{options.file}: spec.suspend is true; nothing is started")
        return EXIT_OK
    flags = {name: getattr(options, name) for name in ("workdir", "memory_gib", "gpus")}
    settings = settings_of(resource, read_options(flags), until=options.until)
    become_subreaper()
    console = Console(width=_columns())

    async def carry_out(store: "Store") -> None:
        with display(as_json=options.json, console=console) as notify:
            finished: Finished = await until_signalled(execute(resource, store, settings, notify), notify)
        if not options.json:
            console.print(await outcome_text(resource, store, finished, settings))

    asyncio.run(_with_store(resource, carry_out))
    return EXIT_OK


def render(options: argparse.Namespace) -> int:
    """The operator's own code prints them, in a process of its own: nothing in this package imports it.

    Raises UsageError: the operator is not installed.
    """
    if importlib.util.find_spec("moaa_operator") is None:
        raise UsageError("`moaa render` needs the operator, which is not installed; install moaa[operator]")
    return subprocess.run([sys.executable, "-m", "moaa_operator.render", str(options.file)], check=False).returncode


def report(options: argparse.Namespace) -> int:
    from moaa.api.reading.load import load
    from moaa.report.write import write_report
    from moaa.run.records import LOCAL_UID, run_id

    resource = load(options.file)
    run = run_id(resource, uid=options.uid or LOCAL_UID)
    out = options.out or Path(f"{resource.metadata.name}-report")
    asyncio.run(_with_store(resource, lambda store: write_report(resource, store, run, out)))
    _print(f"{out}/report.html")
    return EXIT_OK


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "validate": validate,
    "plan": plan,
    "run": run,
    "render": render,
    "report": report,
    "crd": crd,
    "version": version,
}


async def _with_store(resource: "MoAA", use: "Callable[[Store], Coroutine[Any, Any, ResultT]]") -> "ResultT":
    from moaa.store.objects.open import open_store

    store = open_store(resource.spec.storage)
    try:
        return await use(store)
    finally:
        await store.close()
