"""Which strings are keys. Both stores have one rule, so a run moves from a folder to a bucket unchanged."""

from moaa.errors import StoreError

MAX_KEY_BYTES = 900
"""S3 allows 1,024 bytes including the prefix of the store."""
MAX_PART_BYTES = 255
"""What file systems allow for one name."""
HIDDEN = ".moaa-tmp"
"""The directory store's folder of unfinished writes; never a key."""


def check_key(key: str) -> str:
    """`key` itself when it is relative, `/`-separated and free of `..`, empty parts and control characters.

    Raises:
        StoreError: it is not; a bug in the caller or a hostile name in a manifest.
    """
    parts = key.split("/")
    if any(part in {"", ".", "..", HIDDEN} for part in parts):
        raise StoreError(f"key {key!r}: parts must not be empty, '.', '..' or {HIDDEN!r}; use a relative path")
    if any(ord(char) < 32 or char in "\\\x7f" for char in key):
        raise StoreError(f"key {key!r}: control characters and backslashes are not allowed; rename it")
    if len(key.encode()) > MAX_KEY_BYTES or any(len(part.encode()) > MAX_PART_BYTES for part in parts):
        raise StoreError(f"key {key[:80]!r}…: longer than {MAX_KEY_BYTES} bytes, or a part of it than {MAX_PART_BYTES}")
    return key


def check_prefix(prefix: str) -> str:
    """Like `check_key`, for the start of a key: may be empty or end in the middle of a part or with `/`."""
    check_key(prefix + "x")
    return prefix
