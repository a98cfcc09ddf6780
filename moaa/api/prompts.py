"""Prompt templates that the resource may replace.

A template holds placeholders such as `{question}`; each lists what it must and may hold. Any other text in braces is
an error, so that a misspelt placeholder never reaches a model. The default texts live in `moaa.api.defaults`.
"""

import re
from typing import Annotated

from pydantic import StringConstraints

from moaa.api.base import Spec

Template = Annotated[str, StringConstraints(min_length=1, max_length=16384)]

PLACEHOLDERS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    # name: (must hold, may hold)
    "aggregate": (frozenset({"proposals"}), frozenset()),
    "proposal": (frozenset({"text"}), frozenset({"number"})),
    "criterion": (frozenset({"name"}), frozenset({"number", "definition"})),
    "criteria": (frozenset({"question", "answer_a", "answer_b"}), frozenset({"criteria", "count"})),
    "judge": (frozenset({"question", "answer_a", "answer_b"}), frozenset({"criteria"})),
    "evaluation": (frozenset({"text"}), frozenset({"number"})),
    "meta_judge": (frozenset({"question", "answer_a", "answer_b", "evaluations"}), frozenset({"criteria"})),
    "single": (frozenset({"question", "answer_a", "answer_b"}), frozenset({"criteria"})),
}
BRACED = re.compile(r"\{([^{}]*)\}")
"""What a template may take for a placeholder; the group is its name."""


class Prompts(Spec):
    """Replaces prompt templates; None keeps ours."""

    aggregate: Template | None = None
    """System message of the aggregator and of later layers: {proposals}."""
    proposal: Template | None = None
    """One entry of {proposals}: {number}, {text}. Entries are joined as they are; end it with a line break."""
    criterion: Template | None = None
    """One entry of {criteria}: {number}, {name}, {definition}."""
    criteria: Template | None = None
    """Asks for the criteria: {question}, {answer_a}, {answer_b}, {criteria}, {count}."""
    judge: Template | None = None
    """Asks a judge for its evaluation: {question}, {answer_a}, {answer_b}, {criteria}."""
    evaluation: Template | None = None
    """One entry of {evaluations}: {number}, {text}."""
    meta_judge: Template | None = None
    """Asks for [[A]] or [[B]]: {question}, {answer_a}, {answer_b}, {criteria}, {evaluations}."""
    single: Template | None = None
    """The same without evaluations, for methods Single and Panel."""


def render(template: str, values: dict[str, str]) -> str:
    """Fill a checked template. Values are inserted as they are: braces inside an answer stay text."""
    return BRACED.sub(lambda m: values[m.group(1)], template)
