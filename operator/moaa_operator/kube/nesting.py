"""JSON from the API server, whatever its depth.

An API server stores objects of ten thousand levels, in a pod template for instance, and Python's parser gives up below
a thousand. A list or a watch carries everybody's objects: one that nobody could read would hide all others. So what
lies deep is read as null, and the object is refused by the rules for its fields.
"""

import json
import re
from typing import Any

MAX_DEPTH = 100
"""More than a resource may have (`moaa.api.reading.yaml_text.MAX_DEPTH`), so that the rule about that sees it."""
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]')


def loads(text: bytes) -> Any:
    """The document; of one that is nested beyond what Python reads, the part above MAX_DEPTH.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return json.loads(text)
    except RecursionError:
        return json.loads(shallow(text))


def shallow(text: bytes) -> bytes:
    """The same document with null for each list and object below MAX_DEPTH.

    >>> len(shallow(b"[" * 5000 + b"]" * 5000))
    204
    """
    kept: list[bytes] = []
    depth = begin = 0
    for token in _TOKEN.finditer(text):
        mark = token.group()
        if mark in (b"{", b"["):
            depth += 1
            if depth == MAX_DEPTH + 1:
                kept += [text[begin : token.start()], b"null"]
        elif mark in (b"}", b"]"):
            if depth == MAX_DEPTH + 1:
                begin = token.end()
            depth -= 1
    return b"".join([*kept, text[begin:]])
