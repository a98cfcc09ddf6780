"""What each member of an enum says of itself: the text below it in its class."""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cache
from typing import get_args

from moaa.api.base import Spec
from moaa.api.resource import MoAA

Values = tuple[str, ...]


@cache
def meanings() -> Mapping[Values, Mapping[str, str]]:
    """By the values of an enum in their order: the text of each member that has one."""
    return {tuple(str(member) for member in enum): _texts(enum) for enum in enums()}


def enums() -> list[type[StrEnum]]:
    """Every enum that a field of the resource takes, each once."""
    return list(dict.fromkeys(_below(MoAA, set())))


def _below(part: object, seen: set[object]) -> Iterator[type[StrEnum]]:
    if isinstance(part, type) and issubclass(part, StrEnum):
        yield part
    elif isinstance(part, type) and issubclass(part, Spec) and part not in seen:
        seen.add(part)
        for info in part.model_fields.values():
            yield from _below(info.annotation, seen)
    for inner in get_args(part):
        yield from _below(inner, seen)


def _texts(enum: type[StrEnum]) -> dict[str, str]:
    (made,) = ast.parse(textwrap.dedent(inspect.getsource(enum))).body
    assert isinstance(made, ast.ClassDef)
    found: dict[str, str] = {}
    for member, below in zip(made.body, made.body[1:], strict=False):
        match member, below:
            case (
                ast.Assign(value=ast.Constant(value=str(value))),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[value] = " ".join(text.split())
    return found
