"""A job's last words to an executor without access to the store: JSON in a container's termination message.

| what ended | answer |
|---|---|
| a whole stage | its `StageResult` |
| preflight | `PreflightAnswer`, `{}` |
| inspect | `CheckAnswer` |
| one shard of a stage | `ShardAnswer` |
| rows wait for models (Exit.DEFERRED) | `WaitingAnswer` |
| a failure | `FailureAnswer` |

The reader says which one it expects: `{}` would pass for several of them. Kubernetes keeps 4,096 bytes. What is longer
is packed; about seventy models and tables fit that way.
"""

import base64
import json
import zlib
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError

from moaa.api.base import Spec

MAX_BYTES = 4096
MAX_UNPACKED = 256 * 1024
"""An answer of 4,096 bytes can say 4 MB of zeros; ours are below 20 kB."""
PACKED = "zlib85"
_MAX_ERROR = 3000
MAX_READ = 64 * 1024
"""From the end: a RayJob's message holds a log of any length."""
AnswerT = TypeVar("AnswerT", bound=Spec)


class PreflightAnswer(Spec):
    """The store has passed."""


class ShardAnswer(Spec):
    """One shard is published."""

    prompt_spent: dict[str, Annotated[int, Field(ge=0)]]
    """Tokens by model that its calls have cost, whichever attempt made them."""
    completion_spent: dict[str, Annotated[int, Field(ge=0)]]


class WaitingAnswer(Spec):
    """Rows wait for models that are not served now."""

    waiting: dict[str, Annotated[int, Field(ge=0)]]
    """Rows by model."""
    calls: Annotated[int, Field(ge=0)] = 0
    """Sent by this process; 0 when it brought nothing new."""


class FailureAnswer(Spec):
    """Why a job failed. It is also the last line on stderr of one that failed for good."""

    error: str
    permanent: bool
    """Trying again cannot help."""
    servers: bool = False
    """Its model servers did not answer: another attempt needs other ones."""


def pack(answer: Spec) -> str | None:
    """The answer as text of at most MAX_BYTES, or None when it cannot be had so short."""
    text = _json(answer.model_dump(mode="json", by_alias=True))
    if len(text.encode()) <= MAX_BYTES:
        return text
    squeezed = base64.b85encode(zlib.compress(text.encode(), 9)).decode()
    packed = _json({PACKED: squeezed})
    return packed if len(packed) <= MAX_BYTES else None


def read(text: str, expected: type[AnswerT]) -> AnswerT | None:
    """The answer in a termination message: its last line that holds a JSON object, if that is an `expected`.

    A container may end with any words, so text without an answer is no error.
    """
    found = _last_object(text)
    if found is None:
        return None
    try:
        return expected.model_validate(found)
    except ValidationError:
        return None


def failure(error: str, *, permanent: bool, servers: bool = False) -> FailureAnswer:
    """The answer of a failure; a long text keeps its beginning and its end."""
    while len(_json({"error": error, "permanent": permanent, "servers": servers}).encode()) > MAX_BYTES:
        limit = min(len(error) - 1, _MAX_ERROR)
        error = f"{error[: limit // 2]} … {error[-(limit // 2 - 200) :]}" if limit > 500 else error[:limit]
    return FailureAnswer(error=error, permanent=permanent, servers=servers)


def last_line(error: str, *, permanent: bool) -> str:
    """What a job that failed leaves as the last line on stderr, for an executor that keeps its log."""
    return json.dumps(FailureAnswer(error=error, permanent=permanent).model_dump(exclude_defaults=True)) + "\n"


def _last_object(text: str) -> dict[str, Any] | None:
    for line in reversed(text[-MAX_READ:].strip("\n").split("\n")):  # not splitlines: JSON may hold other line breaks
        try:
            found = json.loads(line)
            if isinstance(found, dict) and isinstance(found.get(PACKED), str):
                found = json.loads(_unpacked(found[PACKED]))
        except (ValueError, zlib.error, RecursionError):  # a container may say anything
            continue
        if isinstance(found, dict):
            return found
    return None


def _unpacked(text: str) -> bytes:
    """Raises ValueError, zlib.error: it is not what `pack` makes."""
    unpacking = zlib.decompressobj()
    found = unpacking.decompress(base64.b85decode(text), MAX_UNPACKED)
    if not unpacking.eof:
        raise ValueError(f"more than {MAX_UNPACKED} bytes, or cut off")
    return found


def _json(answer: dict[str, Any]) -> str:
    return json.dumps(answer, separators=(",", ":"), ensure_ascii=False)
