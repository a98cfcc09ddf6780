"""What an API server would estimate a rule to cost, and whether it would compile: types and sizes from the schema.

The formulas are those of cel-go's cost checker with Kubernetes' function costs. A size that the real one does not know
in every version since 1.29 is unknown here, and whatever multiplies by it is refused.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from tests.cel import Call, CelError, Has, Ident, Items, Literal, Macro, Select

RULE_LIMIT = 10_000_000
CRD_LIMIT = 100_000_000
UNKNOWN = 2**64 - 1
NAME_LENGTH = 3 * 1024 * 1024
"""metadata.name has no maxLength at the root: the largest request."""

Schema = dict[str, Any]
BOOLEAN, INTEGER, NUMBER = {"type": "boolean"}, {"type": "integer"}, {"type": "number"}


@dataclass(frozen=True)
class Typed:
    schema: Schema
    cost: int
    size: int = 1
    """Most entries of a list or bytes of a string; 1 of a scalar."""


@dataclass
class Estimator:
    names: dict[str, Schema]
    loops: list[str] = field(default_factory=list)

    def of(self, tree: Any) -> Typed:
        match tree:
            case Literal(value):
                return _literal(value)
            case Ident(name):
                if name not in self.names:
                    raise CelError(f"undeclared {name}")
                return Typed(self.names[name], 1, max_size(self.names[name]))
            case Select(operand, name):
                inner = self.of(operand)
                schema = _field(inner.schema, name)
                return Typed(schema, inner.cost + 1, max_size(schema))
            case Has(Select(operand, name)):
                inner = self.of(operand)
                _field(inner.schema, name)
                return Typed(BOOLEAN, inner.cost)
            case Items(entries):
                typed = [self.of(entry) for entry in entries]
                items = {**typed[0].schema, "maxLength": None}
                return Typed({"type": "array", "items": items}, 10 + sum(t.cost for t in typed), len(typed))
            case Macro():
                return self.loop(tree)
            case Call(function, arguments):
                typed = [self.of(argument) for argument in arguments]
                cost, schema, size = _function(function, typed)
                return Typed(schema, cost if function == "?:" else cost + sum(t.cost for t in typed), size)
        raise CelError(f"{tree} is not known")

    def loop(self, tree: Macro) -> Typed:
        entries = self.of(tree.range)
        if entries.schema["type"] != "array":
            raise CelError(f"{tree.kind} over {entries.schema['type']}")
        body = Estimator({**self.names, tree.variable: entries.schema["items"]}).of(tree.body)
        if tree.kind != "map" and body.schema["type"] != "boolean":
            raise CelError(f"{tree.kind}: its condition is {body.schema['type']}")
        # (start, every step beside the body, result); the accumulator's look-ups included
        start, step, result = {"all": (0, 3, 1), "exists": (0, 4, 1), "exists_one": (0, 2, 2), "map": (10, 12, 1)}[
            tree.kind
        ]
        cost = entries.cost + start + entries.size * (body.cost + step) + result
        if tree.kind == "map":
            return Typed({"type": "array", "items": body.schema}, cost, entries.size)
        return Typed(BOOLEAN, cost)


def _literal(value: object) -> Typed:
    if isinstance(value, bool):
        return Typed(BOOLEAN, 0)
    if isinstance(value, str):
        return Typed({"type": "string"}, 0, len(value.encode()))
    return Typed(NUMBER if isinstance(value, float) else INTEGER, 0)


def _field(schema: Schema, name: str) -> Schema:
    if name not in schema.get("properties", {}):
        raise CelError(f"undefined field {name}")
    found: Schema = schema["properties"][name]
    return found


def max_size(schema: Schema) -> int:
    match schema["type"]:
        case "string" if schema.get("maxLength") is not None:
            return 4 * int(schema["maxLength"])
        case "string" if "enum" in schema:
            return max(len(word) for word in schema["enum"])
        case "array":
            return int(schema.get("maxItems", UNKNOWN))
        case "string":
            return UNKNOWN
    return 1


def _tenth(size: int) -> int:
    return math.ceil(size / 10)


def _same(*typed: Typed) -> None:
    if len({t.schema["type"] for t in typed}) > 1:
        raise CelError(f"no such overload: {[t.schema['type'] for t in typed]}")


def _function(function: str, typed: list[Typed]) -> tuple[int, Schema, int]:
    """The cost without that of the arguments (of `?:` with it), the type and the size of the result."""
    first = typed[0]
    match function:
        case "&&" | "||":
            _same(*typed, Typed(BOOLEAN, 0))
            return 0, BOOLEAN, 1
        case "?:":
            _same(*typed[1:])
            size = max(typed[1].size, typed[2].size)
            return first.cost + max(typed[1].cost, typed[2].cost), typed[1].schema, size
        case "==" | "!=":
            _same(*typed)
            return _tenth(min(t.size for t in typed)), BOOLEAN, 1
        case "<" | "<=" | ">" | ">=" | "!":
            _same(*typed)
            return 1, BOOLEAN, 1
        case "+" if first.schema["type"] == "string":
            size = sum(t.size for t in typed)
            return _tenth(size), {"type": "string"}, size
        case "+" | "-" | "*" | "%":
            _same(*typed)
            return 1, first.schema, 1
        case "in":
            return typed[1].size, BOOLEAN, 1
        case "[]":
            return 1, first.schema["items"], max_size(first.schema["items"])
        case "size":
            return 1, INTEGER, 1
        case "double":
            return 1, NUMBER, 1
    return _text_function(function, typed)


def _text_function(function: str, typed: list[Typed]) -> tuple[int, Schema, int]:
    first, argument = typed[0], typed[-1]
    match function:
        case "sum":
            return first.size, first.schema["items"], 1
        case "startsWith" | "endsWith":
            return _tenth(argument.size), BOOLEAN, 1
        case "contains":
            return _tenth(first.size) * _tenth(argument.size), BOOLEAN, 1
        case "matches":
            return _tenth(first.size + 1) * math.ceil(argument.size / 4), BOOLEAN, 1
        case "findAll":
            cost = _tenth(first.size + 1) * math.ceil(argument.size / 4)
            return cost, {"type": "array", "items": {"type": "string"}}, first.size
        case "lowerAscii":
            return _tenth(first.size), first.schema, first.size
    raise CelError(f"{function} is not known")
