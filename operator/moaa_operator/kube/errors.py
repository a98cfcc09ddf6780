"""Errors between the operator and the API server, in one tree.

ApiError            the server refused or failed; has status, reason and the server's own words
├── NotFound        404: the object, or its kind, is not there
├── AlreadyExists   409 on create
├── Conflict        409 otherwise: another client wrote first, or owns a field
├── Gone            410: the resource version is too old; list again
├── Refused         400, 403, 422, and 500 for a field of the wrong type or a webhook that does not answer: the same
│                   request will be refused again until somebody mends it
└── Busy            429, 5xx, or no answer: try again, not before `retry_after_s`
"""

import json


class ApiError(Exception):
    """The API server did not do what was asked."""

    def __init__(self, status: int, reason: str, message: str, *, retry_after_s: float | None = None) -> None:
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s
        super().__init__(f"{status} {reason}: {message}")


class NotFound(ApiError):
    pass


class AlreadyExists(ApiError):
    pass


class Conflict(ApiError):
    pass


class Gone(ApiError):
    pass


class Refused(ApiError):
    pass


class Busy(ApiError):
    pass


_REFUSED_WITH_500 = ("failed to create typed patch object", "failed calling webhook")
"""How a server-side apply with a field of the wrong type is answered, and everything that a webhook with failurePolicy
Fail is to look at while it does not answer. Other objects can be made meanwhile, so the run's status can say so."""
MAX_MESSAGE = 2000
"""Bodies are cut before they reach a log or a status."""


def error_of(status: int, body: bytes, *, retry_after: str | None = None) -> ApiError:
    """The error a response stands for; `body` is usually a Kubernetes Status."""
    reason, message = "", body[:MAX_MESSAGE].decode(errors="replace")
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, dict):
        reason = str(answer.get("reason") or "")
        message = str(answer.get("message") or message)[:MAX_MESSAGE]
    seconds = float(retry_after) if retry_after and retry_after.isdigit() else None
    is_refused = status == 500 and any(words in message for words in _REFUSED_WITH_500)
    kind = Refused if is_refused else _kind(status, reason)
    return kind(status, reason or "Unknown", message, retry_after_s=seconds)


def _kind(status: int, reason: str) -> type[ApiError]:
    match status:
        case 404:
            return NotFound
        case 409:
            return AlreadyExists if reason == "AlreadyExists" else Conflict
        case 410:
            return Gone
        case 400 | 403 | 422:
            return Refused
        case 429 | 500 | 502 | 503 | 504:
            return Busy
    return ApiError
