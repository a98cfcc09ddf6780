"""Reading which criteria a model chose. Pure and strict: exactly the asked number of known names, or nothing."""

import re
from collections.abc import Sequence

from moaa.api.mixture import Criterion

_HEADING = re.compile(r"selected\s+criteria", re.IGNORECASE)
# The word alone on its line, or with its colon: "explanation" in a sentence ends nothing.
_EXPLANATION = re.compile(r"^\W*explanations?\W*$|\bexplanations?\s*\W*:", re.IGNORECASE | re.MULTILINE)


def parse_criteria(text: str, choices: Sequence[Criterion], *, count: int) -> list[Criterion] | None:
    """The chosen criteria in the order of the list in `text`, or None when it does not name exactly `count`.

    Names are looked for after the last heading "Selected Criteria" where there is one, and before "Explanation",
    without regard to case; a longer name wins over one that it contains. A name that appears twice is one choice.

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
    pattern = "|".join(re.escape(name).replace(r"\ ", r"\s+") for name in longest_first)
    named = [_plain(match[0]) for match in re.finditer(rf"(?<![a-z])(?:{pattern})(?![a-z])", part.lower())]
    chosen = list(dict.fromkeys(named))
    if len(chosen) != count:
        return None
    return [by_name[name] for name in chosen]


def _plain(name: str) -> str:
    return " ".join(name.lower().split())
