"""Structural schemas, the kind a Kubernetes CRD holds, from classes of the resource.

A CRD knows no references, no null and no unions. So classes are written out where they stand; a field that may be None
is a field that may be absent; classes told apart by `type` become one object with the fields of all, and CEL rules say
which belong to which type. Decimals are strings with a pattern; their bounds become CEL rules.

Unknown fields need no mention: an API server drops them, and kubectl refuses them.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, GroupedMetadata, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel, JsonValue, StringConstraints
from pydantic.fields import FieldInfo

from moaa.api.base import DECIMAL_MAX_LENGTH, DECIMAL_PATTERN, Observed, decimal_text
from moaa.api.crd.rule import Reason, Rule, Rules, quoted

Schema = dict[str, Any]
VALIDATIONS = "x-kubernetes-validations"


@dataclass(frozen=True)
class Additions:
    """What a schema needs beyond the classes."""

    rules: Rules = field(default_factory=dict)
    keys: Mapping[type[BaseModel], str] = field(default_factory=dict)
    """The field that names an entry, by class of the entries: a list of them is merged by it and holds it once."""
    opaque: Schema = field(default_factory=dict)
    """What a mapping without a class (`dict[str, Any]`) is."""


def structural(kind: type[BaseModel], additions: Additions) -> Schema:
    """The schema of a class.

    Raises:
        TypeError: a field has a type that a CRD cannot hold.
    """
    schema: Schema = {"type": "object", "description": _text(kind.__doc__ or "")}
    schema["properties"] = {_alias(n, i): of_field(kind, n, additions) for n, i in kind.model_fields.items()}
    schema["required"] = [_alias(name, info) for name, info in kind.model_fields.items() if info.is_required()]
    schema[VALIDATIONS] = [rule.as_validation() for rule in _rules(kind, additions)]
    return _without_empty(schema)


def told_once(schema: Schema, path: str = "") -> Schema:
    """The schema with every object described where it stands first. The same object further on has no descriptions of
    its fields; its own says where they are."""
    return _told(schema, path, {})


def _told(schema: Schema, path: str, first: dict[str, str]) -> Schema:
    if "properties" in schema:
        met = first.setdefault(json.dumps(_less(schema, "description"), sort_keys=True), path)
        if met != path:
            said = f"{schema.get('description', '')} Fields as in {met}.".strip()
            return {"type": schema["type"], "description": said, **_less(_bare(schema), "description")}
        properties = {name: _told(value, f"{path}.{name}", first) for name, value in schema["properties"].items()}
        return schema | {"properties": properties}
    if "items" in schema:
        return schema | {"items": _told(schema["items"], f"{path}[]", first)}
    return schema


def _bare(schema: Schema) -> Schema:
    """Without descriptions."""
    found = {name: value for name, value in schema.items() if name != "description"}
    if "properties" in found:
        found["properties"] = {name: _bare(value) for name, value in found["properties"].items()}
    if "items" in found:
        found["items"] = _bare(found["items"])
    return found


def _alias(name: str, info: FieldInfo) -> str:
    return info.alias or name


def _rules(kind: type[BaseModel], additions: Additions) -> list[Rule]:
    """Rules about the class and about those it derives from, the latter first."""
    return [rule for base in reversed(kind.__mro__) for rule in additions.rules.get(base, ())]


def _without_empty(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if value not in ("", [])}


def _text(documentation: str) -> str:
    """Documentation as one line; in YAML what is None is absent."""
    line = " ".join(documentation.split())
    return re.sub(r"(^|[.] )None: ", r"\1Absent: ", line).replace(" None: ", " absent: ")


def of_field(kind: type[BaseModel], name: str, additions: Additions) -> Schema:
    """The schema of one field of a class. Raises TypeError: as `structural`."""
    info = kind.model_fields[name]
    try:
        schema = _value(info.annotation, tuple(info.metadata), additions)
    except TypeError as error:
        raise TypeError(f"{kind.__name__}.{name}: {error}") from None
    if info.description:
        schema = {"type": schema["type"], "description": _text(info.description), **_less(schema, "description")}
    if not info.is_required() and info.default is not None and not issubclass(kind, Observed):
        schema["default"] = _plain(info.get_default())
    return schema


def _less(schema: Schema, *keys: str) -> Schema:
    return {key: value for key, value in schema.items() if key not in ("type", *keys)}


def _plain(value: object) -> object:
    """A default as JSON. Of an object all of it: rules must hold for a default before the server completes it."""
    match value:
        case BaseModel():
            return value.model_dump(mode="json", by_alias=True, exclude_none=True)
        case Decimal():
            return decimal_text(value)
        case Enum():
            return value.value
        case list():
            return [_plain(item) for item in value]
    return value


def _value(annotation: Any, metadata: tuple[object, ...], additions: Additions) -> Schema:
    annotation, metadata = _unwrapped(annotation, metadata)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return _union([a for a in arguments if a is not type(None)], metadata, additions)
    if origin is list:
        return _list(arguments[0], metadata, additions)
    if annotation == dict[str, JsonValue]:
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    if annotation == dict[str, Any]:
        return dict(additions.opaque)
    if origin is dict:
        # Values of several types have no schema, and a class of their own none of its names.
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    if origin is Literal:
        return {"type": "string", "enum": list(arguments)}
    if isinstance(annotation, type):
        return _scalar(annotation, metadata, additions)
    raise TypeError(f"{annotation} has no structural schema")


def _unwrapped(annotation: Any, metadata: tuple[object, ...]) -> tuple[Any, tuple[object, ...]]:
    """The bare type and everything it is annotated with, single constraints taken out of those that group them."""
    while get_origin(annotation) is Annotated:
        annotation, *inner = get_args(annotation)
        metadata = (*inner, *metadata)
    return annotation, tuple(_flat(metadata))


def _flat(metadata: Iterable[object]) -> Iterable[object]:
    for item in metadata:
        if isinstance(item, FieldInfo):
            yield from _flat(item.metadata)
        elif isinstance(item, GroupedMetadata) and not isinstance(item, StringConstraints):
            yield from _flat(item)
        else:
            yield item


def _scalar(kind: type, metadata: tuple[object, ...], additions: Additions) -> Schema:
    if issubclass(kind, BaseModel):
        return structural(kind, additions)
    if issubclass(kind, Enum):
        schema = {"type": "string", "enum": [member.value for member in kind]}
        return {"type": "string", "description": _text(kind.__doc__), **_less(schema)} if kind.__doc__ else schema
    if kind is bool:
        return {"type": "boolean"}
    if kind is int:
        return _integer(metadata)
    if kind is str:
        return _string(metadata)
    if kind is Decimal:
        return _decimal(metadata)
    if kind is datetime:
        return {"type": "string", "format": "date-time"}
    raise TypeError(f"{kind.__name__} has no structural schema")


def _integer(metadata: tuple[object, ...]) -> Schema:
    schema: Schema = {"type": "integer"}
    for item in metadata:
        if isinstance(item, Ge):
            schema["minimum"] = item.ge
        elif isinstance(item, Le):
            schema["maximum"] = item.le
    return schema


def _string(metadata: tuple[object, ...]) -> Schema:
    schema: Schema = {"type": "string"}
    for item in metadata:
        if isinstance(item, StringConstraints):
            found = {"minLength": item.min_length, "maxLength": item.max_length, "pattern": item.pattern}
            schema |= {key: value for key, value in found.items() if value is not None}
    return schema


def _decimal(metadata: tuple[object, ...]) -> Schema:
    """A number in quotes. Below 0 the pattern refuses; other bounds are a rule on its value."""
    bounds: list[tuple[str, str, Any]] = []  # sign, its words, number; lower bounds first
    for item in metadata:
        match item:
            case Ge(ge=value):
                bounds.append((">=", "at least", value))
            case Gt(gt=value):
                bounds.append((">", "more than", value))
            case Le(le=value):
                bounds.append(("<=", "at most", value))
            case Lt(lt=value):
                bounds.append(("<", "less than", value))
    unsigned = any(sign[0] == ">" and value >= 0 for sign, _, value in bounds)
    pattern = DECIMAL_PATTERN.replace("^-?", "^", 1) if unsigned else DECIMAL_PATTERN
    schema: Schema = {"type": "string", "pattern": pattern, "maxLength": DECIMAL_MAX_LENGTH}
    above_zero = any(sign == ">" for sign, _, _ in bounds)
    bounds.sort(key=lambda bound: bound[0], reverse=True)
    ruled = [b for b in bounds if not (b[0] == ">=" and b[2] == 0)]
    if ruled:
        holds = " && ".join(f"double(self) {sign} {float(value)}" for sign, _, value in ruled)
        told = [b for b in bounds if not (above_zero and b[0] == ">=")]
        message = f"must be {' and '.join(f'{words} {value}' for _, words, value in told)}, in quotes"
        schema[VALIDATIONS] = [Rule(holds, message).as_validation()]
    return schema


def _list(item: Any, metadata: tuple[object, ...], additions: Additions) -> Schema:
    schema: Schema = {"type": "array"}
    for constraint in metadata:
        if isinstance(constraint, MinLen):
            schema["minItems"] = constraint.min_length
        elif isinstance(constraint, MaxLen):
            schema["maxItems"] = constraint.max_length
    schema["items"] = _value(item, (), additions)
    entries = [kind for kind in _alternatives(item) if isinstance(kind, type) and issubclass(kind, BaseModel)]
    key = next((key for kind in entries for base in kind.__mro__ if (key := additions.keys.get(base))), None)
    return schema | ({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]} if key else {})


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    annotation, _ = _unwrapped(annotation, ())
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _union(kinds: list[Any], metadata: tuple[object, ...], additions: Additions) -> Schema:
    if len(kinds) == 1:
        return _value(kinds[0], metadata, additions)
    if all(isinstance(kind, type) and issubclass(kind, BaseModel) for kind in kinds):
        return _tagged(kinds, additions)
    branches = [_value(kind, (), additions) for kind in kinds]
    if all(branch["type"] == "string" for branch in branches):
        return _either(branches)
    raise TypeError(f"a union of {', '.join(str(kind) for kind in kinds)} has no structural schema")


def _either(branches: list[Schema]) -> Schema:
    """One string pattern for a pattern or fixed words."""
    words = [word for branch in branches for word in branch.get("enum", ())]
    patterns = [branch["pattern"].removeprefix("^").removesuffix("$") for branch in branches if "pattern" in branch]
    longest = max([*(len(word) for word in words), *(branch.get("maxLength", 0) for branch in branches)])
    return {
        "type": "string",
        "minLength": 1,
        "maxLength": longest,
        "pattern": f"^({'|'.join([*patterns, *(re.escape(word) for word in words)])})$",
    }


def _tagged(kinds: list[type[BaseModel]], additions: Additions) -> Schema:
    """One object for classes that `type` tells apart.

    A field that not all have gets no default: the server would add it where it is not allowed.
    """
    schemas = {get_args(kind.model_fields["type"].annotation)[0]: structural(kind, additions) for kind in kinds}
    properties: Schema = {}
    rules: list[Schema] = []
    for tag, schema in schemas.items():
        for name, found in schema["properties"].items():
            tags = [other for other in schemas if name in schemas[other]["properties"]]
            properties.setdefault(name, found if len(tags) == len(schemas) else _only(tags, found))
            rules += [rule.as_validation() for rule in _tag_rules(name, tags, tag, schema) if len(tags) < len(schemas)]
        rules = schema.get(VALIDATIONS, []) + rules
    meanings = " ".join(f"{tag}: {schema['description']}" for tag, schema in schemas.items())
    properties["type"] = {"type": "string", "description": meanings, "enum": list(schemas)}
    required = [name for name in properties if all(name in schema["required"] for schema in schemas.values())]
    distinct = [rule for i, rule in enumerate(rules) if rule not in rules[:i]]
    return _without_empty({"type": "object", "properties": properties, "required": required, VALIDATIONS: distinct})


def _only(tags: list[str], schema: Schema) -> Schema:
    description = f"{' and '.join(tags)} only. {schema.get('description', '')}".strip()
    return {"type": schema["type"], "description": description, **_less(schema, "description", "default")}


def _tag_rules(name: str, tags: list[str], tag: str, schema: Schema) -> Iterable[Rule]:
    """About a field that only objects with one of `tags` have; one of them is `tag`, whose schema is given."""
    among = " || ".join(f"self.type == {quoted(one)}" for one in tags)
    message = f"{name} is for type {' and '.join(tags)} only; remove it"
    yield Rule(f"{among} || !has(self.{name})", message, f".{name}", Reason.FORBIDDEN)
    if name in schema["required"]:
        message = f"{name} is required with type {tag}; add it"
        yield Rule(f"self.type != {quoted(tag)} || has(self.{name})", message, f".{name}", Reason.REQUIRED)
