"""Canonical bytes and digests of JSON values."""

import hashlib

from moaa.store.stages.tables import canonical_json


def canonical(value: object) -> bytes:
    """The one JSON text of a value (moaa.store.stages.tables) in UTF-8."""
    return canonical_json(value).encode()


def digest_of(value: object) -> str:
    return hashlib.sha256(canonical(value)).hexdigest()
