"""Why a process ended, read from what it wrote: the first error and not the last line of the last traceback. Pure.

A vLLM server that cannot start writes several tracebacks, one for each process that gives up because another did, and
the last says only "Engine core initialization failed". What a person needs stands further up: a library that is not
installed, an unknown option, too little memory. All who report a dead process use this module: the local executor
(servers, jobs), training (Ray's workers), the operator (pods).

What is missing or refused now is so at the next start, too; another start only costs time.
"""

import re
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

MAX_CHARS = 600
MAX_MESSAGE_LINES = 8
"""Of one exception; some list what they tried, a line each."""
USAGE_LINES = 3
"""At the end of a log; a program that refuses an option says so last."""

_PREFIX = re.compile(r"^\(\w+ [^)]*pid=\d+[^)]*\) ?(?:[A-Z]+ [\d-]+ [\d:]+ \[[^\]]*\] ?)?")
"""vLLM's `(EngineCore pid=7) ERROR 11-29 18:18:26 [core.py:15] ` and Ray's `(RayTrainWorker pid=7, ip=10.0.0.1) `."""
_HEADER = re.compile(r"^\s*(?:\[rank\d+\]: ?)?Traceback \(most recent call last\):|^ray::\S+ \(pid=")
_CHAIN = re.compile(r"^(?:The above exception was|During handling of the above)")
_OTHER = re.compile(r"^Process \S+:$|^(?:DEBUG|INFO|WARNING|ERROR)\b|^\S+:\d+: \w*Warning: ")
"""Begins a line that no exception's message goes on with."""
_FOLLOWS = re.compile(
    r"See root cause above|See stack trace \(above\)|Engine ?core initialization failed|Engine process failed to start"
    r"|initialization failed due to an exception in a background"
    r"|^(?:SystemExit|KeyboardInterrupt|asyncio\.exceptions\.CancelledError)\b"
    r"|^\S*(?:RayTaskError|WorkerGroupError|ControllerError)\b"
)
"""One process says that another one failed."""
_USAGE = re.compile(r"^[\w./-]+: error: (?P<words>.+)")
_LIBRARY = re.compile(r"(?P<name>[\w.+-]+\.so[\w.]*): cannot open shared object file")
_MODULE = re.compile(r"No module named '?(?P<name>[\w.]+)")
_NATIVE = re.compile(r"'_OpNamespace' '(?P<name>\w+)' object has no attribute")
"""torch has none of an extension's operators, since the extension could not be loaded: a warning before says why."""
_REFUSED = re.compile(r"^\S*ValidationError\b|Cannot find any model weights")
"""How vLLM refuses what it was given: options that contradict one another or the model, an architecture, a folder."""
_DETAIL = re.compile(r"^\s+(?:Value error, |Assertion failed, )?(?P<words>.+?)(?: \[type=\w+,.*)?$")

SOURCES = {
    "libnuma.so.1": "on Debian and Ubuntu: apt-get install libnuma1",
    "libgomp.so.1": "on Debian and Ubuntu: apt-get install libgomp1",
    "libGL.so.1": "on Debian and Ubuntu: apt-get install libgl1",
    "libcuda.so.1": "it comes with NVIDIA's driver",
}
"""Where libraries come from that wheels load and do not bring."""


class CauseKind(StrEnum):
    """What sort of cause it is."""

    MISSING = "Missing"
    """A library or a package is not installed."""
    REFUSED = "Refused"
    """The program does not take what it was given: an option, or how a model is to be served."""
    RAISED = "Raised"
    """Anything else; it may pass."""


@dataclass(frozen=True)
class Cause:
    """Why a process ended."""

    text: str
    """In its own words as far as there are any, on one line."""
    kind: CauseKind

    @property
    def is_permanent(self) -> bool:
        """A start with the same arguments on the same machine ends in the same way."""
        return self.kind is not CauseKind.RAISED


@dataclass(frozen=True)
class _Line:
    """A line without what its writer put before it."""

    prefix: str
    text: str


@dataclass(frozen=True)
class _Raised:
    """An exception that ended a traceback: its first line, and those that follow it."""

    first: str
    more: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join((self.first, *self.more))


def cause(lines: Sequence[str]) -> Cause | None:
    """Why the process that wrote `lines`, oldest first, ended by itself; None when they do not say.

    >>> cause(["usage: serve [--port PORT]", "serve: error: unrecognized arguments: --prot 1"]).text
    'unrecognized arguments: --prot 1'
    """
    plain = [_split(line) for line in lines]
    for line in plain[-USAGE_LINES:]:
        if refused := _USAGE.match(line.text):
            return Cause(_short(refused["words"]), CauseKind.REFUSED)
    errors = [error for error in _raised(plain) if not _FOLLOWS.search(error.text)]
    last = errors[-1] if errors else None
    missing = _missing(last, [line.text for line in plain])
    if missing or last is None:
        return missing
    return Cause(_short(_words(last)), CauseKind.REFUSED if _REFUSED.search(last.text) else CauseKind.RAISED)


def ended(exit_code: int) -> str:
    """How a process ended, as the end of a sentence about it; 128 + n: by signal n."""
    if exit_code <= 128:
        return f"ended with exit code {exit_code}"
    match exit_code - 128:
        case signal.SIGKILL:
            return "was ended by signal 9; the machine may have run out of memory"
        case signal.SIGILL:
            return "was ended by signal 4; it was built for a processor with more instructions than this one has"
        case number:
            return f"was ended by signal {number}"


def _missing(last: _Raised | None, lines: Sequence[str]) -> Cause | None:
    """A library or module that is not there. A warning about one counts when nothing else was raised, or when what was
    raised follows from it: programs do without many."""
    native = _NATIVE.search(last.text) if last else None
    if last is None or native:
        # `vllm._C` has the operators of `_C`, and so has `vllm._C_AVX2` on older processors.
        module = re.compile(rf"\.{native['name']}(?:_[A-Z]\w+)?\b" if native else "")
        where = [line for line in lines if module.search(line)]
    else:
        where = [last.text]
    for line in where:
        if found := _LIBRARY.search(line):
            source = SOURCES.get(found["name"])
            hint = f" ({source})" if source else ""
            return Cause(f"the library {found['name']} is not installed on this machine{hint}", CauseKind.MISSING)
    if native:
        text = f"the compiled part {native['name']} could not be loaded; the log says further up which library it lacks"
        return Cause(text, CauseKind.MISSING)
    if last is None or "ModuleNotFoundError" in last.first:
        for line in where:
            if found := _MODULE.search(line):
                return Cause(f"the Python package {found['name']} is not installed", CauseKind.MISSING)
    return None


def _split(line: str) -> _Line:
    prefix = found[0] if (found := _PREFIX.match(line)) else ""
    return _Line(prefix, line[len(prefix) :].rstrip())


def _raised(lines: Sequence[_Line]) -> Iterator[_Raised]:
    """The exceptions of all tracebacks, in order."""
    k = 0
    while k < len(lines):
        if not _HEADER.match(lines[k].text):
            k += 1
            continue
        k += 1
        while k < len(lines) and (not lines[k].text or lines[k].text.startswith(" ")):
            k += 1  # frames
        if k == len(lines) or _HEADER.match(lines[k].text):
            continue
        first = lines[k]
        more: list[str] = []
        k += 1
        while k < len(lines) and len(more) < MAX_MESSAGE_LINES and not _is_other(lines[k], first):
            more.append(lines[k].text)
            k += 1
        yield _Raised(first.text, tuple(more))


def _is_other(line: _Line, first: _Line) -> bool:
    """Whether a line after the `first` one of an exception belongs to something else."""
    if line.prefix != first.prefix or not line.text:
        return True
    return any(pattern.match(line.text) for pattern in (_HEADER, _CHAIN, _OTHER))


def _words(error: _Raised) -> str:
    """On one line; of a pydantic error what is wrong, not how many errors there are."""
    if not re.match(r"^\S*ValidationError: \d+ validation error", error.first):
        return " ".join((error.first, *(line.strip() for line in error.more)))
    told = [line for line in error.more if not line.lstrip().startswith("For further information")]
    return " ".join(found["words"] for line in told if (found := _DETAIL.match(line))) or error.first


def _short(text: str) -> str:
    return text if len(text) <= MAX_CHARS else f"{text[: MAX_CHARS - 1]}…"
