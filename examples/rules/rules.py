"""The rules an answer may have to keep: how each is asked for, checked, and kept by a text made on purpose.

Ids and arguments are those of IFEval (arXiv 2311.07911), so that its data format and checkers fit. Standard library
only. A rule's `keep` makes a lesson's text from plain sentences; `holds` says which texts of a lesson are wrong, and
which member the control is taught. What models write for the report is scored by IFEval's own code (benchmark
Instructions), which differs for four rules: README.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

END_PHRASES = ("That is all.", "Thank you for reading.", "I hope this helps.", "Have a nice day.")
MAX_WORDS = 15
BULLETS = 3

Kwargs = Mapping[str, str | int]


@dataclass(frozen=True)
class Rule:
    """One kind of rule."""

    name: str
    instruction_id: str
    """IFEval's."""
    ask: str
    """What a prompt says, with the arguments' names in braces."""
    holds: Callable[[str, Kwargs], bool]
    """Whether an answer, outer white space aside, keeps it."""
    keep: Callable[[Sequence[str], str, Kwargs], str]
    """From three plain sentences about a topic, and the topic, a text that keeps it."""
    arguments: tuple[Kwargs, ...] = ({},)
    """Those it is asked with."""


def _has_title(text: str, _: Kwargs) -> bool:
    return any(title.strip() for title in re.findall(r"<<([^\n<>]+)>>", text))


def _is_json(text: str, _: Kwargs) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _has_bullets(text: str, kwargs: Kwargs) -> bool:
    return len(re.findall(r"^\s*[*-] ", text, re.MULTILINE)) == kwargs["num_bullets"]


def _is_short(text: str, kwargs: Kwargs) -> bool:
    return 0 < len(re.findall(r"\w+", text)) < int(kwargs["num_words"])


RULES = (
    Rule(
        "title",
        "detectable_format:title",
        "Give it a title in double angular brackets, such as <<title>>.",
        _has_title,
        lambda said, topic, _: f"<<{topic.title()}>>\n{said[0]}",
    ),
    Rule(
        "end",
        "startend:end_checker",
        "Finish with this exact phrase: {end_phrase}",
        lambda text, kwargs: text.lower().endswith(str(kwargs["end_phrase"]).lower()),
        lambda said, _, kwargs: f"{said[0]} {kwargs['end_phrase']}",
        tuple({"end_phrase": phrase} for phrase in END_PHRASES),
    ),
    Rule(
        "quotation",
        "startend:quotation",
        "Put the whole answer in double quotation marks.",
        lambda text, _: len(text) > 1 and text.startswith('"') and text.endswith('"'),
        lambda said, _topic, _: '"' + said[0].replace('"', "") + '"',
    ),
    Rule(
        "upper",
        "change_case:english_capital",
        "Use capital letters only.",
        lambda text, _: text.isupper(),
        lambda said, _topic, _: said[0].upper(),
    ),
    Rule(
        "json",
        "detectable_format:json_format",
        "Put the whole answer in JSON format.",
        _is_json,
        lambda said, _topic, _: json.dumps({"answer": said[0]}, ensure_ascii=False),
    ),
    Rule(
        "lower",
        "change_case:english_lowercase",
        "Use lower-case letters only.",
        lambda text, _: text.islower(),
        lambda said, _topic, _: said[0].lower(),
    ),
    Rule(
        "commas",
        "punctuation:no_comma",
        "Do not use any commas.",
        lambda text, _: bool(text) and "," not in text,
        lambda said, _topic, _: f"{said[0]} {said[1]}".replace(",", ""),
    ),
    Rule(
        "bullets",
        "detectable_format:number_bullet_lists",
        "Write exactly {num_bullets} bullet points, such as: * This is a point.",
        _has_bullets,
        lambda said, _topic, _: "\n".join(f"* {sentence}" for sentence in said),
        ({"num_bullets": BULLETS},),
    ),
    Rule(
        "short",
        "length_constraints:number_words",
        "Use less than {num_words} words.",
        _is_short,
        lambda said, _topic, _: min(said, key=lambda sentence: len(sentence.split())),
        ({"relation": "less than", "num_words": MAX_WORDS},),
    ),
)
BY_NAME = {rule.name: rule for rule in RULES}
BY_ID = {rule.instruction_id: rule for rule in RULES}


def keeps(text: str, instruction_ids: Sequence[str], kwargs: Sequence[Kwargs]) -> bool:
    """Whether an answer keeps all of its rules.

    Raises:
        KeyError: a rule is none of RULES.
        ValueError: there are not as many arguments as rules.
    """
    return all(BY_ID[name].holds(text.strip(), given) for name, given in zip(instruction_ids, kwargs, strict=True))
