"""Text that cannot be kept or sent, and text that is safe to print. Pure; everything that takes in text may use it.

JSON spells any UTF-16 code unit, and Python's reader hands over a lone half of a pair (`"\\ud83d"`) as a character. No
UTF-8 has it: writing such text into a ledger, a Parquet table or a request fails. NUL can be written, but tokenizers,
servers and terminals end or refuse text at it. Both mean that the text is damaged, so neither is mended in silence.
"""

import re

_UNFIT = re.compile("[\x00\ud800-\udfff]")


def unfit(text: str) -> str | None:
    """The first character that cannot be kept or sent, with its place, or None when the text is fit.

    >>> unfit("a\\ud83d"), unfit("a\\U0001f600")
    ('U+D83D at character 2', None)
    """
    found = _UNFIT.search(text)
    return None if found is None else f"U+{ord(found.group()):04X} at character {found.start() + 1}"


def printable(text: str) -> str:
    """The text as it can be written anywhere: what `unfit` finds is spelt as an escape, all else stays.

    >>> printable("a\\ud83d\\x00")
    'a\\\\ud83d\\\\x00'
    """
    return text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")


def shown(text: str) -> str:
    """The text without what no terminal shows as a character: escapes that colour or move, marks that turn the
    direction, halves of pairs. Ends of lines stay.

    >>> shown("a\\x1b[31mb\\u202e\\nc")
    'a[31mb\\nc'
    """
    return "".join(character for character in text if character.isprintable() or character == "\n")
