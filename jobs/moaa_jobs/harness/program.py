"""`python -m moaa_jobs.harness.program`: answers requests of `messages`, one JSON object a line, until its input ends.

Its environment is made by `child`; what tasks print goes to the log. With `--sandbox FOLDER PATH…` it can write nowhere
but in that folder and read nothing but Python, the system's libraries and those paths.
"""

import os
import signal
import sys

from moaa_jobs.harness.sandbox import shut_in
from moaa_jobs.prctl import die_with_parent


def main(arguments: list[str]) -> None:
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the job decides
    # Tasks and libraries print; the line of answers is ours alone.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if arguments and arguments[0] == "--sandbox":
        shut_in(readable=arguments[2:], writable=[arguments[1], "/dev/null"])
    from moaa_jobs.harness.serve import answer  # seconds of imports, in the sandbox like all that follows

    for line in sys.stdin:
        answers.write(answer(line) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
