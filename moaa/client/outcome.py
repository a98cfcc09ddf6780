"""What to do after a request without an answer: try again, or give up and why.

Pure. A failure has one of three outcomes: `Retry` (worth another try, perhaps after a delay the server named),
`Permanent` with a reason that concerns this one call, or `Permanent` with `UNAUTHORISED` or `NO_SUCH_MODEL`, which
every other call would meet too: that ends the job, not a row.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

import aiohttp

from moaa.asking.reasons import Reason
from moaa.client.words import Meaning, meanings
from moaa.errors import NOTHING_SPENT, Spent

SHOWN_CHARACTERS = 300
"""Of a server's message; error pages can be long."""


class Trouble(StrEnum):
    """The kind of a temporary failure; each has its own bound (see `moaa.client.pool.policy`)."""

    THROTTLED = "throttled"
    """The server is there and busy."""
    FAILED = "failed"
    """The server answered with an error that may pass."""
    TIMED_OUT = "timed out"
    DISCONNECTED = "disconnected"
    """No connection, or it broke before the answer was complete: the server may be restarting."""


@dataclass(frozen=True)
class HttpFailure:
    """A response that is not an answer; an error inside a 200 has the status that its code stands for."""

    status: int
    body: str
    retry_after: str | None = None
    """The Retry-After header."""


@dataclass(frozen=True)
class Retry:
    trouble: Trouble
    message: str
    after_s: float | None = None
    """Seconds the server asked us to wait."""


@dataclass(frozen=True)
class Permanent:
    reason: Reason
    message: str
    spent: Spent = NOTHING_SPENT


_THROTTLED = frozenset({429, 503, 529})
_MAY_PASS = frozenset({408, 409, 425, 500, 502, 504})


def is_retryable(failure: HttpFailure | Exception, *, now: datetime | None = None) -> Retry | Permanent:
    """Sort a failed request. `now` is needed for Retry-After dates only.

    Raises:
        Exception: `failure` itself, when it is no failure of a request but a mistake in our code.
    """
    if isinstance(failure, HttpFailure):
        return _sort_status(failure, now)
    # A time-out while connecting means that no server listens there. The order of these tests matters: aiohttp's
    # ConnectionTimeoutError is a TimeoutError too.
    if isinstance(failure, aiohttp.ConnectionTimeoutError):
        return Retry(Trouble.DISCONNECTED, _shown(failure))
    if isinstance(failure, TimeoutError):
        return Retry(Trouble.TIMED_OUT, "no complete answer within the time limit of one try")
    if isinstance(failure, aiohttp.InvalidURL):
        return Permanent(Reason.NO_SUCH_MODEL, f"the base URL is not usable: {_shown(failure)}")
    if isinstance(failure, aiohttp.ClientError | OSError):
        return Retry(Trouble.DISCONNECTED, _shown(failure))
    raise failure


def _sort_status(failure: HttpFailure, now: datetime | None) -> Retry | Permanent:
    message = f"HTTP {failure.status}: {server_message(failure.body)}"
    about = meanings(failure.body)
    status = failure.status
    after_s = retry_after_s(failure.retry_after, now)
    if status in (401, 402) or (status == 403 and Meaning.FILTERED not in about):
        return Permanent(Reason.UNAUTHORISED, message)
    if status in (404, 405, 410) or 300 <= status < 400:
        return Permanent(Reason.NO_SUCH_MODEL, message)
    if status in _THROTTLED:
        # Waiting helps with a quota that fills up again, not with credit that is used up.
        is_final = status == 429 and Meaning.SPENT in about and after_s is None
        return Permanent(Reason.UNAUTHORISED, message) if is_final else Retry(Trouble.THROTTLED, message, after_s)
    if status in _MAY_PASS or status >= 500:
        if Meaning.DYING in about:
            return Retry(Trouble.DISCONNECTED, message, after_s)
        # Some servers raise what the chat template or their own check says as a 500.
        lasting = _lasting(about & {Meaning.TOO_LONG, Meaning.NO_SYSTEM})
        return Permanent(lasting, message) if lasting else Retry(Trouble.FAILED, message, after_s)
    if status == 413:
        return Permanent(Reason.CONTEXT_LENGTH, message)
    if status == 451:
        return Permanent(Reason.REFUSED, message)
    lasting = _lasting(about)
    if lasting is None and Meaning.BUSY in about:
        return Retry(Trouble.THROTTLED, message, after_s)
    return Permanent(lasting or Reason.BAD_REQUEST, message)


_LASTING = {
    # In this order: a filter's words may name the account's policy, an account's words the model.
    Meaning.FILTERED: Reason.REFUSED,
    Meaning.SPENT: Reason.UNAUTHORISED,
    Meaning.ACCOUNT: Reason.UNAUTHORISED,
    Meaning.TOO_LONG: Reason.CONTEXT_LENGTH,
    Meaning.NO_SYSTEM: Reason.NO_SYSTEM_ROLE,
    Meaning.NO_MODEL: Reason.NO_SUCH_MODEL,
}


def _lasting(about: Collection[Meaning]) -> Reason | None:
    return next((reason for meaning, reason in _LASTING.items() if meaning in about), None)


def retry_after_s(header: str | None, now: datetime | None) -> float | None:
    """Seconds of a Retry-After header, which holds seconds or an HTTP date; None when absent or unreadable."""
    if header is None:
        return None
    text = header.strip()
    if text.replace(".", "", 1).isdecimal():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())


def server_message(body: str) -> str:
    """The human part of an error body, on one line: OpenAI's `error.message`, vLLM's and FastAPI's `message` or
    `detail`, whose list of problems is joined without the input that FastAPI repeats there."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, list) and document:  # Gemini wraps its errors in a list
        document = document[0]
    words = _words_of(document.get("error") or document) if isinstance(document, dict) else ""
    return one_line(words or body) or "(empty body)"


def _words_of(error: object) -> str:
    """The message in a document, or an empty text."""
    if isinstance(error, str):
        return error
    if isinstance(error, list):
        return "; ".join(said for entry in error if (said := _words_of(entry)))
    if not isinstance(error, dict):
        return ""
    if isinstance(error.get("msg"), str):
        place = error.get("loc")
        where = ".".join(str(step) for step in place) + ": " if isinstance(place, list) and place else ""
        return f"{where}{error['msg']}"
    said = next((said for name in ("message", "detail", "error") if (said := _words_of(error.get(name)))), "")
    metadata = error.get("metadata")  # OpenRouter: the words of the provider behind it
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    return f"{said} ({raw})" if said and isinstance(raw, str) else said


def _shown(failure: Exception) -> str:
    text = str(failure)
    return one_line(f"{type(failure).__name__}: {text}" if text else type(failure).__name__)


def one_line(text: str) -> str:
    """One line that can be logged and stored anywhere, at most SHOWN_CHARACTERS and an ellipsis."""
    line = " ".join(text.split()).encode("utf-8", "replace").decode()
    line = "".join(character if character.isprintable() else "?" for character in line[: SHOWN_CHARACTERS + 1])
    return line if len(line) <= SHOWN_CHARACTERS else line[:SHOWN_CHARACTERS] + "..."
