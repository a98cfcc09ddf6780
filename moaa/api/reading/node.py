"""A place in a document that may hold anything: rules read through it what is there and of the right type."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from moaa.api.base import DECIMAL_PATTERN
from moaa.api.reading.wording import shown
from moaa.api.reading.yaml_text import Path, Step, path_text
from moaa.errors import Problem


@dataclass(frozen=True)
class Node:
    """A value and its path; a value that is absent is None."""

    value: object
    path: Path = ()

    def at(self, *steps: Step) -> "Node":
        """The field of a field; absent where a step does not exist."""
        value = self.value
        for step in steps:
            value = value.get(step) if isinstance(value, dict) else None
        return Node(value, (*self.path, *steps))

    def __iter__(self) -> Iterator["Node"]:
        """Entries of a list; nothing when it is none."""
        if isinstance(self.value, list):
            for i, item in enumerate(self.value):
                yield Node(item, (*self.path, i))

    def items(self) -> Iterator["Node"]:
        """Fields of a mapping that have a value; nothing when it is none."""
        if isinstance(self.value, dict):
            for key, item in self.value.items():
                if item is not None:
                    yield Node(item, (*self.path, key))

    @property
    def given(self) -> bool:
        return self.value is not None

    @property
    def text(self) -> str | None:
        return self.value if isinstance(self.value, str) else None

    def integer(self, default: int) -> int:
        return self.value if isinstance(self.value, int) and not isinstance(self.value, bool) else default

    def number(self, default: int) -> int | None:
        """The whole number that stands here, the default where nothing does, None where something else does."""
        return self.integer(default) if not self.given or self.integer(default) is self.value else None

    def word(self, default: str) -> str | None:
        """The same for text."""
        return self.text if self.given else default

    @property
    def decimal(self) -> Decimal | None:
        """The number in quotes that stands here; None where anything else does."""
        is_number = self.text is not None and re.match(DECIMAL_PATTERN, self.text)
        return Decimal(self.text) if self.text is not None and is_number else None

    def problem(self, remedy: str) -> Problem:
        return Problem(path_text(self.path), shown(self.value, self.path), remedy)

    @property
    def name(self) -> str:
        return path_text(self.path)
