"""`python -m moaa_operator.render FILE`, which `moaa render` runs: print what the operator would create.

Settings come from MOAA_OPERATOR_* variables, as in the operator. Exit codes: 0 printed; 2 the file is wrong.
"""

import argparse
import sys
from pathlib import Path

from moaa.api.reading.load import load
from moaa.errors import MoaaError
from moaa_operator.render.preview import preview
from moaa_operator.settings import Settings

EXIT_OK, EXIT_INPUT = 0, 2


def main() -> int:
    parser = argparse.ArgumentParser(prog="moaa render", description="Print every object the operator would create.")
    parser.add_argument("file", type=Path, metavar="FILE", help="the MoAA resource, YAML or JSON")
    options = parser.parse_args()
    try:
        for document in preview(load(options.file), Settings()):
            sys.stdout.write(document)
    except MoaaError as error:
        sys.stderr.write(f"moaa: {error}\n")
        return EXIT_INPUT
    except BrokenPipeError:  # the reader (`| head`) has seen enough
        sys.stderr.close()
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
