"""Reading which criteria a model chose. Pure and strict: exactly the asked number of known names, or nothing."""

import re
from collections.abc import Sequence

from moaa.api.mixture import Criterion

_HEADING = re.compile(r"selected\s+criteria", re.IGNORECASE)
# The word alone on its line, or with its colon: "explanation" in a sentence ends nothing.
_EXPLANATION = re.compile(r"^\W*explanations?\W*$|\bexplanations?\s*\W*:", re.IGNORECASE | re.MULTILINE)

_MARKER = r"[ \t]*(?:[-*•]|\d+[.):])?[ \t]*[*_`\"]*"
# What may stand between an item's name and an explanation of it: a comma would go on with the list instead.
_ITEM_END = r"(?=[*_`\"]*[ \t]*(?:$|[:(–—]|- ))"


def parse_criteria(text: str, choices: Sequence[Criterion], *, count: int) -> list[Criterion] | None:
    """The chosen criteria in the order of the list in `text`, or None when it does not name exactly `count`.

    Names are looked for after the last heading "Selected Criteria" where there is one, and before "Explanation",
    without regard to case; a longer name wins over one that it contains. A name that appears twice is one choice.
    When exactly `count` lines start with a name as list items do, what follows on them may mention others; else
    every name counts.

    Example: "Selected Criteria:\\n1. Accuracy\\n2. Depth\\nExplanation: clarity matters less" with count 2 gives
    Accuracy and Depth.
    """
    headings = list(_HEADING.finditer(text))
    part = text[headings[-1].end() :] if headings else text
    explanation = _EXPLANATION.search(part)
    if explanation is not None:
        part = part[: explanation.start()]
    by_name = {_plain(c.name): c for c in choices}
    longest_first = sorted(by_name, key=len, reverse=True)
    name = "(?:" + "|".join(re.escape(n).replace(r"\ ", r"\s+") for n in longest_first) + ")"
    items = re.findall(rf"^{_MARKER}({name}){_ITEM_END}", part.lower(), re.MULTILINE)
    anywhere = re.findall(rf"(?<![a-z])({name})(?![a-z])", part.lower())
    for found in (items, anywhere):
        chosen = list(dict.fromkeys(map(_plain, found)))
        if len(chosen) == count:
            return [by_name[c] for c in chosen]
    return None


def _plain(name: str) -> str:
    return " ".join(name.lower().split())
