"""`moaa validate`, `render`, `crd`, `schema`, `explain` and `version`: the commands that read no store."""

import argparse
import importlib.util
import json
import shutil
import subprocess
import sys

from moaa import __version__
from moaa.cli.common import EXIT_OK, columns, say
from moaa.errors import UsageError


def version(_options: argparse.Namespace) -> int:
    say(__version__)
    return EXIT_OK


def crd(_options: argparse.Namespace) -> int:
    from moaa.api.crd.definition import crd_yaml

    sys.stdout.write(crd_yaml())
    return EXIT_OK


def validate(options: argparse.Namespace) -> int:
    from moaa.api.reading.load import load
    from moaa.plan.show import validate_text

    say(validate_text(load(options.file)))
    return EXIT_OK


def schema(_options: argparse.Namespace) -> int:
    from moaa.api.crd.reference import json_schema

    say(json.dumps(json_schema(), indent=1, ensure_ascii=False))
    return EXIT_OK


def explain(options: argparse.Namespace) -> int:
    from moaa.api.crd.reference import fields, in_words, markdown

    found = fields(options.field)
    say(
        markdown(found)
        if options.markdown
        else in_words(found, columns=columns() or shutil.get_terminal_size().columns)
    )
    return EXIT_OK


def render(options: argparse.Namespace) -> int:
    """The operator's own code prints them, in a process of its own: nothing in this package imports it.

    Raises UsageError: the operator is not installed.
    """
    if importlib.util.find_spec("moaa_operator") is None:
        raise UsageError("`moaa render` needs the operator, which is not installed; install moaa[operator]")
    return subprocess.run([sys.executable, "-m", "moaa_operator.render", str(options.file)], check=False).returncode
