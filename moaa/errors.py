"""Every exception MoAA raises on purpose, in one tree.

    MoaaError
    ├── ResourceError      the user's file is wrong: every mistake at once
    ├── DataError          a data source is wrong: file, line, field, remedy
    ├── StoreError         the store could not do what was asked
    │   ├── AlreadyExists  put-if-absent lost: the object is there
    │   ├── NotFound       the object is not there
    │   └── Fenced         a newer attempt owns this work; leave without writing
    ├── CallError          a model call failed for good
    ├── ModelAbsent        the call needs a model that is not being served right now
    ├── UsageError         a command cannot be carried out as it was given
    ├── ServerError        a model server did not start or died
    ├── StageError         a stage ended without its manifest
    └── BudgetExhausted    a limit of spec.budget keeps the run from going on

A failure is never a value: no empty answer, zero score or skipped row stands for one of these.
"""

import errno
from collections.abc import Sequence
from dataclasses import dataclass


class MoaaError(Exception):
    """Root of the tree; its text is meant for the user."""


@dataclass(frozen=True)
class Problem:
    """One mistake in a resource: where, what was found, what to do."""

    path: str
    """Dotted path with list indexes, for example `spec.mixture.layers[0].proposers[1].model`."""
    found: str
    """The offending value as the user wrote it, shortened; empty when something is missing."""
    remedy: str
    """A sentence that says what is wrong and what to write instead."""
    line: int | None = None
    """Line of the file, from 1; None where there is no file or the field is not in it."""

    def __str__(self) -> str:
        line = f"line {self.line}: " if self.line else ""
        found = f" {self.found}" if self.found else ""
        return f"{line}{self.path}:{found} {self.remedy}" if self.path != "." else f"{line}{self.remedy}"


class ResourceError(MoaaError):
    """The resource is not valid. Holds every problem found, in the order of the file."""

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        self.file = file
        self.problems = tuple(problems)
        count = len(self.problems)
        lines = "\n".join(f"  {p}" for p in self.problems)
        super().__init__(f"{file}: {count} problem{'s' if count != 1 else ''}\n{lines}")


NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Codes of a full disk, or of a used-up quota."""


def outside(error: OSError) -> str:
    """A refusal of the machine, in a user's words: a full disk, a read-only folder, too many open files."""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}; free space or mend its permissions, or name another folder"


class DataError(MoaaError):
    """A data source cannot be used; the text names file, line and field."""


class StoreError(MoaaError):
    """The store could not do what was asked."""


class AlreadyExists(StoreError):
    """Put-if-absent found the key taken."""


class NotFound(StoreError):
    """There is no object under the key."""


class Fenced(StoreError):
    """A newer attempt has claimed this work. The holder must stop and must not write again."""


@dataclass(frozen=True)
class Spent:
    """What a call cost, whatever came of it."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    """Thoughts included."""
    is_counted: bool = True
    """False: the server did not say, and the numbers are 0."""
    thought: str = ""
    """What the model thought, where that was separated from its answer."""


NOTHING_SPENT = Spent()


class CallError(MoaaError):
    """A model call failed for good. `reason` is one of a small fixed set, counted in manifests."""

    def __init__(self, reason: str, message: str, *, spent: Spent = NOTHING_SPENT) -> None:
        self.reason = reason
        self.spent = spent
        super().__init__(message)


class ModelAbsent(MoaaError):
    """The call needs `model`, which is not served right now; the row waits."""

    def __init__(self, model: str) -> None:
        self.model = model
        super().__init__(f"model {model!r} is not being served")


class UsageError(MoaaError):
    """A command cannot be carried out as it was given; the text names the option and what to give instead."""


class ServerError(MoaaError):
    """A model server did not start in time or died; the text says why, or ends with its last log lines.

    `is_permanent`: another start would end in the same way.
    """

    def __init__(self, message: str, *, is_permanent: bool = False) -> None:
        self.is_permanent = is_permanent
        super().__init__(message)


class StageError(MoaaError):
    """A stage ended without its manifest; the text says why and what to do."""


class BudgetExhausted(MoaaError):
    """A limit of spec.budget keeps the run from going on; the text says which, what is spent, what is left to do."""
