"""What becomes of a request that did not give an answer: try again, or give up and why.

Pure. A failure has one of three outcomes: `Retry` (worth another try, perhaps after a delay the server named),
`Permanent` with a reason that concerns this one call, or `Permanent` with `UNAUTHORISED` or `NO_SUCH_MODEL`, which
would befall every other call as well and so ends the job instead of a row.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

import aiohttp

from moaa.asking.reasons import Reason

SHOWN_CHARACTERS = 300
"""Of a server's message; error pages can be long."""


class Trouble(StrEnum):
    """What kind of temporary failure it was; each has its own bound (see `moaa.client.pool.policy`)."""

    THROTTLED = "throttled"
    """The server is there and busy."""
    FAILED = "failed"
    """The server answered with an error that may pass."""
    TIMED_OUT = "timed out"
    DISCONNECTED = "disconnected"
    """No connection, or it broke before the answer was complete: the server may be restarting."""


@dataclass(frozen=True)
class HttpFailure:
    """A response that is not an answer."""

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


_THROTTLED = frozenset({429, 503, 529})
_MAY_PASS = frozenset({408, 409, 425, 500, 502, 504})
# Several servers answer 400 for both; only their words tell them apart (vLLM, OpenAI, TGI, llama.cpp).
_TOO_LONG = (
    "context length",
    "context_length_exceeded",
    "maximum model length",
    "max_model_len",
    "context window",
    "context size",
    "too many tokens",
    "maximum input length",
    "longer than the maximum",
)
_FILTERED = ("content_filter", "content_policy", "content management policy")
# vLLM answers every request with this 500 between the death of its engine and its own exit.
_DYING = ("enginecore encountered", "enginedeaderror", "engine is dead")
_NO_SYSTEM = ("system role", "roles must alternate", "only user and assistant roles", "unsupported role: system")


def is_retryable(failure: HttpFailure | Exception, *, now: datetime | None = None) -> Retry | Permanent:
    """Sort a failed request. `now` is needed for Retry-After dates only.

    Raises:
        Exception: `failure` itself, when it is no failure of a request but a mistake in our code.
    """
    if isinstance(failure, HttpFailure):
        return _sort_status(failure, now)
    # A time-out while connecting means nobody listens there; the order of these tests matters, since aiohttp's
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
    words = failure.body.lower()
    status = failure.status
    if status in (401, 402, 403) or (status == 429 and "insufficient_quota" in words):
        return Permanent(Reason.UNAUTHORISED, message)
    if status in (404, 405) or 300 <= status < 400:
        return Permanent(Reason.NO_SUCH_MODEL, message)
    if status in _THROTTLED:
        return Retry(Trouble.THROTTLED, message, retry_after_s(failure.retry_after, now))
    if status in _MAY_PASS or status >= 500:
        # Some servers raise the template's own exception as a 500.
        if any(w in words for w in _NO_SYSTEM[:1]):
            return Permanent(Reason.NO_SYSTEM_ROLE, message)
        trouble = Trouble.DISCONNECTED if any(w in words for w in _DYING) else Trouble.FAILED
        return Retry(trouble, message, retry_after_s(failure.retry_after, now))
    if status == 413 or any(w in words for w in _TOO_LONG):
        return Permanent(Reason.CONTEXT_LENGTH, message)
    if any(w in words for w in _FILTERED):
        return Permanent(Reason.REFUSED, message)
    if any(w in words for w in _NO_SYSTEM):
        return Permanent(Reason.NO_SYSTEM_ROLE, message)
    return Permanent(Reason.BAD_REQUEST, message)


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
    """The human part of an error body: OpenAI's `error.message`, vLLM's and FastAPI's `message` or `detail`."""
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if isinstance(document, dict):
        error = document.get("error", document)
        if isinstance(error, str):
            return _cut(error)
        if isinstance(error, dict):
            for name in ("message", "detail"):
                if isinstance(error.get(name), str):
                    return _cut(error[name])
    return _cut(body.strip()) or "(empty body)"


def _shown(failure: Exception) -> str:
    text = str(failure)
    return _cut(f"{type(failure).__name__}: {text}" if text else type(failure).__name__)


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."
