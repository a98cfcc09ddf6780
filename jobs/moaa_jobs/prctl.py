"""What a process asks of Linux about itself (man 2 prctl)."""

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38


def prctl(option: int, value: int) -> None:
    """Raises OSError: the kernel refused."""
    if ctypes.CDLL(None, use_errno=True).prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}): {os.strerror(code)}")


def die_with_parent() -> None:
    """The kernel kills this process when the one that started it ends, however that happens. Holds while the thread
    that calls this lives.

    Raises OSError: the kernel refused.
    """
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
