"""The command `moaa`: its options, and the function behind each command.

Commands import what they need inside their functions: `moaa --help` answers at once.
"""

import argparse
import asyncio
import difflib
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from moaa import __version__
from moaa.cli.check import crd, explain, render, schema, validate, version
from moaa.cli.cluster.command import FIELDS as ON_CLUSTER
from moaa.cli.cluster.command import add_cluster_commands, on_cluster
from moaa.cli.common import (
    EXIT_BUDGET,
    EXIT_FAILED,
    EXIT_INPUT,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_PIPE,
    a_file,
    a_name,
    add_machine,
    add_rows,
    add_student_config,
    add_uid,
    missing_extra,
    say,
)
from moaa.cli.experiment import experiment
from moaa.cli.export import add_export_options, export
from moaa.cli.init import add_options, init
from moaa.cli.plan import plan
from moaa.cli.report import report
from moaa.cli.run import run
from moaa.cli.search import search
from moaa.cli.view import WHERE, view
from moaa.errors import BudgetExhausted, DataError, MoaaError, ResourceError, UsageError, outside


def completion(options: argparse.Namespace) -> int:
    """A script that completes commands and options, and files where one is wanted."""
    import shtab

    top, commands = _parsers()
    for command in commands.values():
        for action in command._actions:  # argparse lists them nowhere else
            if action.type is Path:
                wanted = shtab.DIRECTORY if action.metavar == "DIR" else shtab.FILE
                action.complete = wanted  # type: ignore[attr-defined]  # how shtab is told
    say(shtab.complete(top, shell=options.shell))
    return EXIT_OK


COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "init": init,
    "validate": validate,
    "plan": plan,
    "run": run,
    "experiment": experiment,
    "search": search,
    "render": render,
    "report": report,
    "export": export,
    "view": view,
    **dict.fromkeys(ON_CLUSTER, on_cluster),
    "explain": explain,
    "schema": schema,
    "crd": crd,
    "version": version,
    "completion": completion,
}
SHELLS = ("bash", "zsh", "fish", "tcsh", "powershell")
FILES = {
    "init": "the resource to write, YAML",
    "experiment": "the experiment, YAML or JSON",
    "search": "the search, YAML or JSON",
}
"""What FILE is, where it is no resource."""
EPILOG = """\
exit codes:
  0    done, or nothing to do
  1    the run failed; finished work is kept, and the same command goes on from there
  2    the file or an option is wrong
  3    a limit of spec.budget was reached; raise it, and the same command goes on
  130  interrupted (Ctrl-C or SIGTERM); the same command goes on
  141  what read the output has closed it

Secrets come from the environment only: MOAA_SECRET_<NAME>_<KEY> for each secret that the file names, and
AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for s3:// without a cloud identity; HF_TOKEN for --push-to-hub.
"""


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong and where the options are told."""

    def error(self, message: str) -> NoReturn:
        lacking = message.removeprefix("the following arguments are required: ")
        if lacking != message:
            message = f"{lacking} is missing"
        self.exit(EXIT_INPUT, f"{self.prog}: {message} (`{self.prog} --help` tells more)\n")


def _nearest(word: str, words: Iterable[str]) -> str:
    near = difflib.get_close_matches(word.lower(), list(words), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command and its options.

    Raises:
        SystemExit: they are wrong, and what is wrong is on the terminal; or they ask for help or the version.
    """
    top, commands = _parsers()
    if argv and not argv[0].startswith("-") and argv[0] not in COMMANDS:
        top.error(f"there is no command {argv[0]!r}{_nearest(argv[0], COMMANDS)}")
    options, unknown = top.parse_known_args(argv)
    if unknown:
        command = commands[options.command]
        known = re.findall(r"--[a-z-]+", command.format_usage())
        command.error(f"cannot use {unknown[0]!r}{_nearest(unknown[0].partition('=')[0], known)}")
    return options


def _parsers() -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """The parser of the whole line, and those of the commands by name."""
    top = _Parser(
        prog="moaa",
        description="Mixture of Agents Alignment: open models teach and judge one student, again and again.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str, *, file: bool = True) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name, help=text, description=text, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if file:
            command.add_argument(
                "file", type=a_file, metavar="FILE", help=FILES.get(name, "the MoAA resource, YAML or JSON")
            )
        return command

    add_options(add("init", "write a resource to begin with, from options or a few questions, for this machine's GPUs"))
    add("validate", "check a resource and list every mistake at once")
    plan = add("plan", "show the stages of a run: which are done, what the rest will take, and what an edit repeats")
    add_rows(plan)
    add_uid(plan)
    add_student_config(plan)
    run = add("run", "carry out a resource on this machine; started again, it goes on where it was")
    run.add_argument("--until", metavar="STAGE", help="stop after this stage, for example i1-sft")
    run.add_argument("--json", action="store_true", help="print events as JSON lines instead of a table")
    add_machine(run)
    trial = add("experiment", "carry out the arms of an experiment one after the other, sharing work, and compare them")
    trial.add_argument("--plan", action="store_true", help="show what each arm shares and adds; start nothing")
    trial.add_argument("--report", action="store_true", help="compare what is there; start nothing")
    trial.add_argument(
        "--arm", action="append", default=[], metavar="NAME", help="only the first arm and this one; repeatable"
    )
    trial.add_argument("--until", metavar="STAGE", help="stop every arm after this stage, for example i0-evaluate")
    trial.add_argument("--out", type=Path, metavar="DIR", help="folder of the comparison (default: ./NAME-experiment)")
    trial.add_argument("--json", action="store_true", help="print events as JSON lines instead of a table")
    add_rows(trial)
    add_machine(trial)
    seek = add("search", "measure mixtures that an optimiser suggests, within a limit of cost, and name the best")
    seek.add_argument("--plan", action="store_true", help="show what a trial takes; start nothing")
    seek.add_argument("--out", type=Path, metavar="DIR", help="folder of search.json (default: ./NAME-search)")
    add_rows(seek)
    add_machine(seek)
    add("render", "print the Kubernetes objects that the operator would create; applies nothing")
    report = add("report", "write report.html and summary.json of a run, finished or not")
    report.add_argument("--out", type=Path, metavar="DIR", help="folder to write to (default: ./NAME-report)")
    add_uid(report)
    take = add("export", "take a run's student and its training data as folders that other programs read, or to a hub")
    add_export_options(take)
    add_uid(take)
    _add_view(
        add("view", "show runs, scores and every row as read-only web pages, also while a run goes on", file=False)
    )
    add_cluster_commands(add)
    told = add("explain", "say what the fields of a resource are: type, limits, default, meaning", file=False)
    told.add_argument("field", nargs="?", default="spec", metavar="FIELD", help="for example training.dpo.pairs")
    told.add_argument("--markdown", action="store_true", help="as tables in Markdown")
    add("schema", "print a JSON Schema of the resource's file, for editors", file=False)
    add("crd", "print the CustomResourceDefinition to install on a cluster", file=False)
    add("version", "print the version", file=False)
    fill_in = add("completion", "print a script that lets Tab complete commands and options", file=False)
    fill_in.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))
    return top, commands.choices


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"{text!r} is no port; write a number from 0 to 65535")
    return int(text)


def _add_view(look: argparse.ArgumentParser) -> None:
    look.add_argument("where", type=a_name, metavar="FILE|STORE", help=WHERE)
    look.add_argument("--port", type=_port, default=8800, metavar="N", help="default: 8800; 0: any that is free")
    look.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="default: 127.0.0.1, this machine alone")
    look.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name under which browsers reach it, beside addresses and localhost; repeatable",
    )
    add_uid(look)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    options = parse(sys.argv[1:] if argv is None else argv)
    command: Callable[[argparse.Namespace], int] = COMMANDS[options.command]
    try:
        code = command(options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `| head` has read enough; Python would complain when it flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE
    except (ResourceError, DataError, UsageError) as error:
        return _fail(error, EXIT_INPUT)
    except BudgetExhausted as error:
        return _fail(error, EXIT_BUDGET)
    except MoaaError as error:
        return _fail(error, EXIT_FAILED)
    except OSError as error:
        return _fail(outside(error), EXIT_FAILED)
    except ModuleNotFoundError as error:
        return _fail(missing_extra(error, options.command), EXIT_INPUT)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return _fail("interrupted; run the same command again to go on", EXIT_INTERRUPTED)


def _fail(problem: object, code: int) -> int:
    sys.stderr.write(f"moaa: {problem}\n")
    return code
