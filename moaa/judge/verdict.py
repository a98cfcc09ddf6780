"""Reading a verdict. Pure and strict: text without a clear verdict has none, which is a failure and not a tie."""

import re
from typing import Literal

Verdict = Literal["A", "B"]

_LABEL = re.compile(r"\[\[\s*([AB])\s*\]\]")
# Marks that may close a line after the verdict: emphasis, a full stop, a closing bracket or quote.
_CLOSING = re.compile(r"[\s*_.`'\")>]*")


def parse_verdict(text: str) -> Verdict | None:
    """Which answer the judge prefers, from [[A]] or [[B]] in `text`; None when it does not say clearly.

    The last label counts. When both labels appear, models often name them while they reason ("[[A]] would be fair
    if ..."), so the last one counts only if it is how the text ends; otherwise the judge contradicts itself.

    Examples: "... so [[B]]" gives B; "[[A]] or [[B]]? I say [[A]]." gives A; "[[A]], but [[B]] is close" gives None.
    """
    labels = list(_LABEL.finditer(text))
    if not labels:
        return None
    last = labels[-1]
    unanimous = len({label[1] for label in labels}) == 1
    if not unanimous and _CLOSING.fullmatch(text, last.end()) is None:
        return None
    return "A" if last[1] == "A" else "B"
