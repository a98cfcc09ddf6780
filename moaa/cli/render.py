"""`moaa render`: the Kubernetes objects that the operator would create."""

import argparse
import importlib.util
import subprocess
import sys

from moaa.errors import UsageError


def render(options: argparse.Namespace) -> int:
    """The operator's own code prints them, in a process of its own: nothing in this package imports it.

    Raises UsageError: the operator is not installed.
    """
    if importlib.util.find_spec("moaa_operator") is None:
        raise UsageError("`moaa render` needs the operator, which is not installed; install moaa[operator]")
    return subprocess.run([sys.executable, "-m", "moaa_operator.render", str(options.file)], check=False).returncode
