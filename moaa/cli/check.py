"""`moaa validate`, `moaa crd` and `moaa version`: the commands that read no store."""

import argparse
import sys

from moaa import __version__
from moaa.cli.common import EXIT_OK, say


def version(_options: argparse.Namespace) -> int:
    say(__version__)
    return EXIT_OK


def crd(_options: argparse.Namespace) -> int:
    from moaa.api.crd.definition import crd_yaml

    sys.stdout.write(crd_yaml())
    return EXIT_OK


def validate(options: argparse.Namespace) -> int:
    from moaa.api.reading.load import load
    from moaa.plan.forecast.show import validate_text

    say(validate_text(load(options.file)))
    return EXIT_OK
