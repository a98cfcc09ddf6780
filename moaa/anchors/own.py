"""The labelled pairs that ship with the package: English, written for it, on facts, arithmetic, instructions, safety.

In half of them the wrong answer is the longer one, so that a judge that goes by length is right in half.
"""

import json
from functools import cache
from hashlib import sha256
from importlib.resources import files

from moaa.rows import LabelledRow

_FILE = "own.jsonl"


@cache
def own_pairs() -> tuple[LabelledRow, ...]:
    rows = [json.loads(line) for line in _text().splitlines()]
    return tuple(
        LabelledRow(
            id=f"own-{number:02}",
            question_id=f"own-{number:02}",
            question=row["question"],
            right=row["right"],
            wrong=row["wrong"],
            subset=row["subset"],
        )
        for number, row in enumerate(rows)
    )


@cache
def own_digest() -> str:
    """sha256 of the file: what a fingerprint depends on."""
    return sha256(_text().encode()).hexdigest()


@cache
def _text() -> str:
    return (files("moaa.anchors") / _FILE).read_text(encoding="utf-8")
