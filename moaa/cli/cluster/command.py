"""Hands a cluster's commands to the operator's package, in place of this process: nothing here imports Kubernetes."""

import argparse
import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from moaa.cli.common import columns
from moaa.errors import UsageError

_PLACE = ("kubeconfig", "context", "namespace")
FIELDS = {
    "submit": ("file", "dry_run", "yes"),
    "status": ("name", "all_namespaces"),
    "logs": ("name", "stage", "follow", "tail"),
    "cancel": ("name", "delete", "yes"),
}
"""Options of each command, beside those that say which cluster."""
Add = Callable[..., argparse.ArgumentParser]


def add_cluster_commands(add: Add) -> None:
    """`add` makes the parser of a command from its name and what it does."""
    hand_in = add("submit", "start a run on a cluster, or change one there to what the file says")
    hand_in.add_argument("--dry-run", action="store_true", help="say what would change and repeat; change nothing")
    hand_in.add_argument("--yes", action="store_true", help="do not ask before finished stages are repeated")
    look = add("status", "show the runs of a namespace on a cluster, or the stages of one", file=False)
    look.add_argument("name", nargs="?", metavar="NAME", help="of the run (metadata.name); default: all of them")
    look.add_argument("-A", "--all-namespaces", action="store_true", help="runs of every namespace")
    read = add("logs", "show what the pods of a stage on a cluster have written", file=False)
    read.add_argument("name", metavar="NAME", help="of the run (metadata.name)")
    read.add_argument("--stage", metavar="STAGE", help="for example i1-sft (default: the one at work, or the last)")
    read.add_argument("-f", "--follow", action="store_true", help="go on until the stage's pods have ended")
    read.add_argument("--tail", type=_count, metavar="N", help="only the last N lines of each pod")
    stop = add("cancel", "suspend a run on a cluster, or delete it; what is finished stays in the store", file=False)
    stop.add_argument("name", metavar="NAME", help="of the run (metadata.name)")
    stop.add_argument("--delete", action="store_true", help="delete it, after a question, in place of suspending it")
    stop.add_argument("--yes", action="store_true", help="do not ask before it is deleted")
    for command in (hand_in, look, read, stop):
        command.add_argument("-n", "--namespace", metavar="NAME", help="default: that of the file or of the context")
        command.add_argument("--context", metavar="NAME", help="of the kubeconfig (default: the current one)")
        command.add_argument(
            "--kubeconfig",
            type=Path,
            metavar="FILE",
            help="default: KUBECONFIG, then ~/.kube/config, then the pod's own",
        )


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of lines")
    return int(text)


def request_of(options: argparse.Namespace) -> str:
    """The request as JSON (`moaa_operator.remote.requests`). Raises UsageError: the options cannot be meant."""
    if options.command == "status" and options.name and options.all_namespaces:
        raise UsageError("--all-namespaces lists the runs of all namespaces; leave out NAME, or name its --namespace")
    names = (*_PLACE, *FIELDS[options.command])
    given = {name: getattr(options, name) for name in names}
    return json.dumps({"command": options.command, "width": columns(), **given}, default=str)


def on_cluster(options: argparse.Namespace) -> int:
    """Become the process that carries it out; it returns only by an exception.

    Raises UsageError: the operator's package is not installed, or the options cannot be meant; ResourceError: the file
    holds mistakes, which nobody needs a cluster to see.
    """
    from moaa.api.reading.load import load

    if options.command == "submit":
        load(options.file)
    if importlib.util.find_spec("moaa_operator") is None or importlib.util.find_spec("kubernetes") is None:
        raise UsageError(f"`moaa {options.command}` needs the Kubernetes client, which is not installed; install "
                         "moaa[operator]")  # fmt: skip
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "moaa_operator.remote", request_of(options)])
