"""The resource for people and editors: every field with type, limits, default, meaning and what an edit of it repeats,
and a JSON Schema.

Both come from the resource's classes, as the CustomResourceDefinition does. What an edit repeats was found by trying
it (`scripts.reach`) and lies beside this file, since it takes seconds.
"""

import difflib
import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from moaa.api.base import DECIMAL_PATTERN
from moaa.api.crd.definition import crd
from moaa.api.crd.meanings import meanings
from moaa.api.crd.schema import VALIDATIONS, Schema
from moaa.api.crd.units import unit_of
from moaa.api.resource import MoAA
from moaa.errors import UsageError

ROOT = "spec"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_BOUNDS = re.compile(r"^must be (.*), in quotes$")
_DECIMALS = (DECIMAL_PATTERN, DECIMAL_PATTERN.replace("^-?", "^", 1))


@dataclass(frozen=True)
class Field:
    """One field of the resource."""

    path: str
    """`spec.models[].name`: what is in brackets is every entry."""
    type: str
    """With its limits and unit, in words."""
    default: str
    """As it stands in a file; `required`: it must be given; empty: none, or an object whose fields have their own."""
    text: str
    """What it means."""
    members: tuple[tuple[str, str], ...] = ()
    """Of a closed set: each value, and what it means where `text` does not say so already."""

    @property
    def repeats(self) -> str:
        """What an edit of it, or of any field below it, does again: `from dpo on`. Empty: it has one value only."""
        return _repeated().get(self.path, "")

    @property
    def parent(self) -> str:
        return self.path.rpartition(".")[0]

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]


@cache
def _repeated() -> dict[str, str]:
    found = json.loads(files(__package__).joinpath("repeated.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def json_schema() -> dict[str, Any]:
    """JSON Schema of a MoAA file, for editors. It knows fields and values; `moaa validate` also joins fields."""
    schema = _for_files(MoAA.model_json_schema(by_alias=True))
    return {"$schema": DIALECT, "title": "MoAA", **schema}


def _for_files(part: Any, *, is_fields: bool = False) -> Any:
    """Without generated titles, which only repeat the names. A file may name folders relative to its own."""
    match part:
        case dict():
            kept = part if is_fields else {name: value for name, value in part.items() if name != "title"}
            return {
                name: _for_files(value, is_fields=name in ("properties", "$defs") and not is_fields)
                for name, value in kept.items()
            }
        case list():
            return [_for_files(item) for item in part]
        case str():
            return part.replace("file:///[^", "file://[^")
    return part


def fields(path: str = ROOT) -> list[Field]:
    """The field at `path` and all below it. An object that stands in several places is told where it stands first.

    Raises:
        UsageError: there is no such field; it names the nearest.
    """
    version = crd()["spec"]["versions"][0]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    every = [Field(ROOT, "object", "required", ""), *_below(ROOT, spec)]
    wanted = re.sub(r"\[\d*\]", "", path.strip(".")).lower()
    asked = [field.path.replace("[]", "").lower() for field in every]
    found = [
        field
        for field, name in zip(every, asked, strict=True)
        if any(name == root or name.startswith(f"{root}.") for root in (wanted, f"{ROOT}.{wanted}"))
    ]
    if not found:
        near = difflib.get_close_matches(wanted, asked, n=1, cutoff=0.0)
        raise UsageError(f"{path}: there is no such field; did you mean {every[asked.index(near[0])].path}?")
    return found


def _below(path: str, schema: Schema) -> Iterator[Field]:
    required = schema.get("required", ())
    for name, value in schema.get("properties", {}).items():
        inner, under = value, f"{path}.{name}"
        while inner["type"] == "array":
            inner, under = inner["items"], f"{under}[]"
        text = value.get("description") or inner.get("description", "")
        default = _default(value, is_required=name in required)
        yield Field(under, _type(value, unit_of(name)), default, text, _members(inner, text))
        if "Fields as in" not in value.get("description", "") + inner.get("description", ""):
            yield from _below(under, inner)


def _members(schema: Schema, text: str) -> tuple[tuple[str, str], ...]:
    told = meanings().get(tuple(schema.get("enum", ())), {})
    return tuple((value, meaning) for value, meaning in told.items() if f"{value}: " not in text)


def _default(schema: Schema, *, is_required: bool) -> str:
    if is_required:
        return "required"
    if "default" not in schema or schema["type"] == "object":
        return ""
    return json.dumps(schema["default"], ensure_ascii=False)


def _type(schema: Schema, unit: str = "") -> str:
    """`unit`: of its number."""
    unit = f" {unit}" if unit else ""
    if "enum" in schema:
        return " or ".join(schema["enum"])
    match schema["type"]:
        case "array":
            return f"list of {_type(schema['items'])}"
        case "integer":
            return f"integer{_between(schema.get('minimum'), schema.get('maximum'), unit=unit)}"
        case "string" if schema.get("pattern") in _DECIMALS:
            said = [found[1] for rule in schema.get(VALIDATIONS, ()) if (found := _BOUNDS.match(rule["message"]))]
            return f"number in quotes{', ' if said else ''}{' and '.join(said)}{unit}"
        case "string":
            return f"text{_between(None, schema.get('maxLength'), unit=' characters')}"
        case "boolean":
            return "true or false"
        case other:
            return str(other)


def _between(least: int | None, most: int | None, *, unit: str = "") -> str:
    match least, most:
        case None, None:
            return ""
        case _, None:
            return f", at least {least}{unit}"
        case None, _:
            return f", at most {most:,}{unit}"
        case _, _:
            return f", {least:,} to {most:,}{unit}"


def markdown(found: list[Field]) -> str:
    """A table for every object."""
    sections: dict[str, list[Field]] = {}
    for field in found:
        sections.setdefault(field.parent, []).append(field)
    parts = []
    for parent, rows in sections.items():
        if parent:
            head = [f"## {parent}\n", "| field | type | default | what | an edit repeats |", "|---|---|---|---|---|"]
            parts.append("\n".join([*head, *map(_row, rows)]))
    return "\n\n".join(parts)


def _row(field: Field) -> str:
    cells = (f"`{field.name}`", _cell(field.type), _code(field.default), _what(field), field.repeats)
    return f"| {' | '.join(cells)} |"


def in_words(found: list[Field], *, columns: int) -> str:
    """For a terminal: a paragraph for every field."""
    parts = []
    for field in found:
        head = f"{field.path}  {field.type}" + (f"  [{field.default}]" if field.default else "")
        again = f"An edit repeats: {field.repeats}" if field.repeats else ""
        told = ((f"{value}: {meaning}", " " * 6) for value, meaning in field.members)
        wrapped = (
            textwrap.wrap(text, columns, initial_indent=i, subsequent_indent=i or " " * 4, break_on_hyphens=False)
            for text, i in ((head, ""), (field.text, " " * 4), *told, (again, " " * 4))
        )
        parts.append("\n".join(line for lines in wrapped for line in lines))
    return "\n".join(parts)


def _what(field: Field) -> str:
    told = (f"`{value}`: {_cell(meaning)}" for value, meaning in field.members)
    return "<br>".join([_cell(field.text), *told])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _code(default: str) -> str:
    return default if default in ("", "required") else f"`{_cell(default)}`"
