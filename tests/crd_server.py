"""What an API server does with a resource, as far as the CRD says: prune, add defaults, validate, run the rules."""

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from jsonschema import Draft4Validator

from moaa.api.crd.definition import crd
from moaa.api.reading.yaml_text import Path, path_text
from tests.cel import CelError, activation, evaluate

Schema = dict[str, Any]
PRESERVE = "x-kubernetes-preserve-unknown-fields"
_INT64 = range(-(2**63), 2**63)
RULES = "x-kubernetes-validations"
BLOCKING = ("required", "type", "maxLength", "maxItems")
"""After such an error no rule runs: its cost would be without bound."""


@dataclass(frozen=True)
class Refusal:
    path: str
    message: str
    about: str
    """The keyword of the schema, or the text of the rule."""


@cache
def root_schema() -> Schema:
    found: Schema = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def kept_by_kubectl(definition: Schema) -> str:
    """The annotation in which a client-side `kubectl apply` keeps what it applied, as Go writes JSON."""
    held = {**definition, "metadata": {"annotations": {}, **definition["metadata"]}}
    text = json.dumps(held, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e") + "\n"


def admit(document: Schema, before: Schema | None = None) -> tuple[Schema, list[Refusal]]:
    """The resource as it would be stored, and why it would not be. `before`: it is an update of that."""
    stored, old = complete(document), complete(before) if before else None
    refusals = list(invalid(stored, root_schema()))
    if not any(refusal.about in BLOCKING for refusal in refusals):
        refusals += broken(stored, old, root_schema())
    return stored, refusals


def complete(document: Schema) -> Schema:
    stored: Schema = _decoded(document)
    _prune(stored, root_schema())
    _default(stored, root_schema())
    return stored


def _decoded(value: Any) -> Any:
    """A copy; a number of more than 64 bits is a float to a server."""
    if isinstance(value, dict):
        return {key: _decoded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    return float(value) if isinstance(value, int) and value not in _INT64 else value


def unknown(value: object, schema: Schema, path: Path = ()) -> Iterator[str]:
    """Fields that kubectl's strict validation refuses and that a server otherwise drops; metadata is the server's."""
    if isinstance(value, dict) and not schema.get(PRESERVE) and path != ("metadata",):
        for key, inner in value.items():
            known = schema.get("properties", {}).get(key)
            if known is None:
                yield path_text((*path, key))
            else:
                yield from unknown(inner, known, (*path, key))
    if isinstance(value, list):
        for i, item in enumerate(value):
            yield from unknown(item, schema.get("items", {}), (*path, i))


def _prune(value: object, schema: Schema, path: Path = ()) -> None:
    """Nulls go as well: nothing in the resource is nullable."""
    if isinstance(value, dict):
        known = schema.get("properties", {})
        for key in list(value):
            dropped = key not in known and not schema.get(PRESERVE) and path != ("metadata",)
            if dropped or (key in known and value[key] is None):
                del value[key]
            else:
                _prune(value[key], known.get(key, {PRESERVE: True}), (*path, key))
    if isinstance(value, list):
        for item in value:
            _prune(item, schema.get("items", {}))


def _default(value: object, schema: Schema) -> None:
    if isinstance(value, dict):
        for key, inner in schema.get("properties", {}).items():
            if key not in value and "default" in inner:
                value[key] = copy.deepcopy(inner["default"])
            if key in value:
                _default(value[key], inner)
    if isinstance(value, list):
        for item in value:
            _default(item, schema.get("items", {}))


def invalid(value: object, schema: Schema) -> Iterator[Refusal]:
    """Errors of the schema alone."""
    validator = _root_validator() if schema is root_schema() else Draft4Validator(_anchored(schema))
    for error in validator.iter_errors(value):
        path = tuple(error.absolute_path)
        if error.validator == "required":
            path = (*path, error.message.split("'")[1])
        yield Refusal(path_text(path), error.message, str(error.validator))
    yield from _doubles(value, schema, ())


@cache
def _root_validator() -> Draft4Validator:
    return Draft4Validator(_anchored(root_schema()))


def _anchored(schema: Any) -> Any:
    """RE2's `$` is the end of the text; Python's is also before a last line break."""
    if isinstance(schema, dict):
        return {
            k: re.sub(r"\$$", r"\\Z", v) if k == "pattern" and isinstance(v, str) else _anchored(v)
            for k, v in schema.items()
        }
    return [_anchored(item) for item in schema] if isinstance(schema, list) else schema


def _doubles(value: object, schema: Schema, path: Path) -> Iterator[Refusal]:
    """Entries of a list that is a map by some key stand once."""
    if isinstance(value, dict):
        for key, inner in schema.get("properties", {}).items():
            if key in value:
                yield from _doubles(value[key], inner, (*path, key))
    if isinstance(value, list):
        seen: list[object] = []
        for i, item in enumerate(value):
            keys = schema.get("x-kubernetes-list-map-keys", [])
            name = [item.get(key) for key in keys] if isinstance(item, dict) else []
            if keys and name in seen:
                yield Refusal(path_text((*path, i)), "Duplicate value", "x-kubernetes-list-map-keys")
            seen.append(name)
            yield from _doubles(item, schema.get("items", {}), (*path, i))


def broken(value: Any, old: Any, schema: Schema, path: Path = ()) -> Iterator[Refusal]:
    """Rules that do not hold, here and below. A rule about a change runs only where there was something before."""
    names = activation(self=value, oldSelf=old) if RULES in schema else None
    for rule in schema.get(RULES, []):
        changes = "oldSelf" in rule["rule"]
        if changes and old is None:
            continue
        try:
            if evaluate(rule["rule"], names):
                continue
            message = rule["message"]
        except CelError as error:
            message = f"rule {rule['rule']!r} fails: {error}"
        yield Refusal(path_text(path) + rule.get("fieldPath", ""), message, rule["rule"])
    if isinstance(value, dict):
        for key, inner in schema.get("properties", {}).items():
            if key in value:
                before = old.get(key) if isinstance(old, dict) else None
                yield from broken(value[key], before, inner, (*path, key))
    if isinstance(value, list):
        for i, item in enumerate(value):
            yield from broken(item, None, schema.get("items", {}), (*path, i))


def refused(document: Schema) -> list[Refusal]:
    """By the schema, by rules, or by the strict validation of fields that kubectl asks for."""
    fields = [Refusal(path, "unknown field", "strict") for path in unknown(document, root_schema())]
    return [*fields, *admit(document)[1]]


def places(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every schema with its path; `[]` is an entry of a list."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from places(inner, f"{path}.{name}")
    if "items" in schema:
        yield from places(schema["items"], f"{path}[]")


def rules(schema: Schema, times: int = 1, path: str = "") -> Iterator[tuple[str, Schema, dict[str, str], int]]:
    """Every rule with its place, the place's schema and how often it may run on one resource."""
    for rule in schema.get(RULES, []):
        yield path, schema, rule, times
    for name, inner in schema.get("properties", {}).items():
        yield from rules(inner, times, f"{path}.{name}")
    if "items" in schema:
        yield from rules(schema["items"], times * schema["maxItems"], f"{path}[]")
