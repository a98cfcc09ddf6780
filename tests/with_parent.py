"""Servers of tests die with the process that started them, however that ends: `kill -9` of pytest leaves nothing.

Run as a script it becomes the command, with PR_SET_PDEATHSIG set before; a function between fork and exec would do the
same and is not safe beside threads. The kernel looks at the thread that started it: start servers where they live on.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1
"""linux/prctl.h."""


def with_parent(command: Sequence[str | Path]) -> list[str]:
    """The command, to be started by this process under the same process id."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *map(str, command)]


def main(parent: int, command: Sequence[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() == parent:  # it may have died before the line above took effect
        os.execvp(command[0], list(command))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
