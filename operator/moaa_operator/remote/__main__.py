"""`python -m moaa_operator.remote REQUEST`, which `moaa` runs; REQUEST is JSON (`moaa_operator.remote.requests`).

Exit codes are those of `moaa`: 0 done, 1 the cluster failed, 2 the file or an option is wrong, 130 interrupted, 141
what reads the output has closed it.
"""

import os
import sys
from typing import assert_never

from rich.console import Console

from moaa.errors import MoaaError, ResourceError, UsageError
from moaa_operator.remote.cancel import cancel
from moaa_operator.remote.cluster import Cluster, connected
from moaa_operator.remote.logs import logs
from moaa_operator.remote.requests import REQUEST, Cancel, Logs, Request, Status, Submit
from moaa_operator.remote.show import show
from moaa_operator.remote.submit import asker, submit

EXIT_OK, EXIT_FAILED, EXIT_INPUT, EXIT_INTERRUPTED, EXIT_PIPE = 0, 1, 2, 130, 141


def say(text: str) -> None:
    """At once, since logs are watched."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def carry_out(request: Request, cluster: Cluster) -> None:
    """Raises MoaaError."""
    ask = asker(is_terminal=sys.stdin.isatty())
    match request:
        case Submit():
            submit(request, cluster, say, ask)
        case Status():
            show(request, cluster, Console(width=request.width, highlight=False))
        case Logs():
            logs(request, cluster, say)
        case Cancel():
            cancel(request, cluster, say, ask)
        case _:
            assert_never(request)


def main(text: str) -> int:
    """Carry out one request; returns the exit code."""
    request = REQUEST.validate_json(text)
    try:
        with connected(request) as cluster:
            carry_out(request, cluster)
        sys.stdout.flush()
        return EXIT_OK
    except BrokenPipeError:  # `| head` has read enough; Python would complain when it flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE
    except (ResourceError, UsageError) as error:
        sys.stderr.write(f"moaa: {error}\n")
        return EXIT_INPUT
    except MoaaError as error:
        sys.stderr.write(f"moaa: {error}\n")
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
