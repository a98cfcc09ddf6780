"""What a job says at its end to whoever has no access to the store: JSON in a container's termination message.

| what ended | answer |
|---|---|
| a whole stage | its `StageResult` |
| preflight | `{}` |
| inspect | a `CheckAnswer` |
| rows wait for models (exit code 75) | `{"waiting": {model: rows}, "calls": sent}` |
| a failure | `{"error": text, "permanent": bool}` |

Kubernetes keeps 4,096 bytes. What is longer is packed; about seventy models and tables fit that way.
"""

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any

MAX_BYTES = 4096
PACKED = "zlib85"
_MAX_ERROR = 3000


def pack(answer: Mapping[str, Any]) -> str | None:
    """The answer as text of at most MAX_BYTES, or None when it cannot be had so short."""
    text = _json(answer)
    if len(text.encode()) <= MAX_BYTES:
        return text
    squeezed = base64.b85encode(zlib.compress(text.encode(), 9)).decode()
    packed = _json({PACKED: squeezed})
    return packed if len(packed) <= MAX_BYTES else None


def unpack(text: str) -> Mapping[str, Any]:
    """The last line that is an answer; empty when none is, since a container may end with any words."""
    for line in reversed(text.strip("\n").split("\n")):  # not splitlines: JSON may hold other line breaks
        try:
            found = json.loads(line)
            if isinstance(found, dict) and isinstance(found.get(PACKED), str):
                found = json.loads(zlib.decompress(base64.b85decode(found[PACKED])))
        except (ValueError, zlib.error):
            continue
        if isinstance(found, dict):
            return found
    return {}


def failure(error: str, *, permanent: bool) -> Mapping[str, Any]:
    """The answer of a failure; a long text keeps its beginning and its end."""
    while len(_json({"error": error, "permanent": permanent}).encode()) > MAX_BYTES:
        limit = min(len(error) - 1, _MAX_ERROR)
        error = f"{error[: limit // 2]} … {error[-(limit // 2 - 200) :]}" if limit > 500 else error[:limit]
    return {"error": error, "permanent": permanent}


def _json(answer: Mapping[str, Any]) -> str:
    return json.dumps(answer, separators=(",", ":"), ensure_ascii=False)
