"""A file that holds one JSON object, such as a model's config.json."""

import json
from pathlib import Path

from moaa.errors import DataError


def read_json_object(file: Path, *, remedy: str) -> dict[str, object]:
    """What it holds; `remedy` tells somebody what to do where it cannot be had.

    Raises:
        DataError: it cannot be read, is no JSON, or holds something else than an object.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read as JSON ({error}); {remedy}") from error
    if not isinstance(value, dict):
        raise DataError(f"{file}: must hold a JSON object; {remedy}")
    return value
