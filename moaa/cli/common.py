"""What commands share: exit codes, lines on the terminal, common options, a store that is closed afterwards."""

import argparse
import re
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from moaa.api import MoAA
    from moaa.store.objects.base import Store

ResultT = TypeVar("ResultT")
PIPE_COLUMNS = 140
EXIT_OK, EXIT_FAILED, EXIT_INPUT, EXIT_BUDGET, EXIT_INTERRUPTED, EXIT_PIPE = 0, 1, 2, 3, 130, 141
_RUNS = "moaa[local], or moaa[train,serve] where there are GPUs"
EXTRAS = {"run": _RUNS, "experiment": _RUNS, "search": "moaa[local,search]"}
"""What a command needs beside the base install. A command that is not listed needs at most moaa[data], for the
store."""


def say(text: str) -> None:
    """A line is out at once, into files and pipes, too: what goes on for days is followed there."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def columns() -> int | None:
    """Width of the terminal's tables; None: rich asks the terminal. A pipe tells no width, and 80 columns would cut."""
    return None if sys.stdout.isatty() else PIPE_COLUMNS


def missing_extra(error: ModuleNotFoundError, command: str) -> str:
    """What to install.

    Raises:
        ModuleNotFoundError: the module is one of ours, which is a bug.
    """
    if (error.name or "").startswith("moaa"):
        raise error
    extra = EXTRAS.get(command, "moaa[data]")
    return f"`moaa {command}` needs {error.name}, which is not installed; install {extra}"


def a_file(text: str) -> Path:
    """Of an option or argument. An empty one, as an unset variable of a shell gives it, would be this folder."""
    return Path(a_name(text))


def a_name(text: str) -> str:
    """Raises ArgumentTypeError: it is empty."""
    if not text:
        raise argparse.ArgumentTypeError("an empty name; is a variable of the shell not set?")
    return text


def add_uid(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--uid",
        type=_uid,
        metavar="UID",
        help="count the closed iterations of a run on a cluster, by its metadata.uid: "
        "kubectl get moaa NAME -o jsonpath={.metadata.uid} (default: the run on this machine)",
    )


def add_rows(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--rows",
        action="append",
        default=[],
        metavar="TABLE=N",
        help="rows of a table that is not staged yet: sft-0=61135 for the first source of data.sft; repeatable",
    )


def add_student_config(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--student-config",
        metavar="FILE",
        help="config.json of the student, to see what training takes of memory (default: that of a file:// source)",
    )


def add_machine(command: argparse.ArgumentParser) -> None:
    """What `moaa.local.options.RunOptions` reads."""
    command.add_argument(
        "--workdir",
        metavar="DIR",
        help="folder for logs and scratch files (MOAA_WORKDIR; default: ~/.cache/moaa/runs/NAMESPACE-NAME)",
    )
    command.add_argument(
        "--memory-gib",
        metavar="N",
        help="memory for all servers and jobs (MOAA_MEMORY_GIB; default: what is free now, less 1)",
    )
    command.add_argument(
        "--gpus", metavar="N", help="use only the first N GPUs (MOAA_GPUS; default: all that are visible)"
    )


def _uid(text: str) -> str:
    """It becomes a part of keys in the store. Empty where a cluster knew no such MoAA."""
    if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no uid; write metadata.uid of the MoAA on its cluster")
    return text


async def with_store(resource: "MoAA", use: "Callable[[Store], Coroutine[Any, Any, ResultT]]") -> "ResultT":
    from moaa.store.objects.open import open_store

    store = open_store(resource.spec.storage)
    try:
        return await use(store)
    finally:
        await store.close()
