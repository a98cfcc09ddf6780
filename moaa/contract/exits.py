"""The exit codes of `python -m moaa_jobs` and `python -m moaa_jobs.fetch`: jobs return them, both executors read them.

64, 69 and 75 are sysexits.h's "usage", "unavailable" and "try later"; 143 is what a shell says of SIGTERM.
"""

from enum import IntEnum


class Exit(IntEnum):
    """The codes with a meaning. Any other code is worth another attempt."""

    DONE = 0
    PERMANENT = 64
    """Trying again cannot help; the last line on stderr says what to do."""
    FENCED = 69
    """A newer attempt owns the work."""
    DEFERRED = 75
    """Rows wait for models that are not served now."""
    STOPPED = 143
    """Ended by SIGTERM."""


TRY_AGAIN = 1
"""The exit code after a failure that another attempt may avoid. Readers treat every unlisted code alike."""


def exit_of(code: int) -> Exit | None:
    """The meaning of an exit code; None when it has none.

    >>> exit_of(75), exit_of(137)
    (<Exit.DEFERRED: 75>, None)
    """
    return next((known for known in Exit if known == code), None)
