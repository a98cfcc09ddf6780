"""What path a file:// URI means: everything after file://, percent-decoded.

Such a URI has no query and no fragment: `?` and `#` are characters of a name, as in a shell. So every URI that is
written by hand means the folder it spells, and only `%` followed by two hexadecimal digits means another character.
"""

import re
from pathlib import Path
from urllib.parse import unquote

SCHEME = "file://"
_ENCODED = re.compile(r"[%#?\x00-\x1f\x7f]")


def file_path(uri: str) -> Path:
    """`file:///a/b%231` and `file:///a/b#1` are both `/a/b#1`.

    Raises:
        ValueError: the URI is no file:// URI.
    """
    if not uri.startswith(SCHEME):
        raise ValueError(f"{uri}: is no file:// URI")
    return Path(unquote(uri.removeprefix(SCHEME)))


def file_uri(path: Path) -> str:
    """The URI that means `path`; `#` and `?` are encoded too, since other tools end a path there."""
    return SCHEME + _ENCODED.sub(lambda found: f"%{ord(found[0]):02X}", str(path))


def has_control_character(uri: str) -> bool:
    """Whether a line break, a NUL or the like is in it, encoded or not."""
    text = unquote(uri) if uri.startswith(SCHEME) else uri
    return re.search(r"[\x00-\x1f\x7f]", text) is not None
