"""What an API server would estimate a rule to cost, and whether it would compile: types and sizes from the schema.

The formulas are those of cel-go's cost checker with Kubernetes' function costs. A size that the real one does not know
in every version since 1.29 is unknown here, and whatever multiplies by it is refused.
"""

import math
from dataclasses import dataclass
from typing import Any

from tests.cel import CelError

RULE_LIMIT = 10_000_000
CRD_LIMIT = 100_000_000
UNKNOWN = 2**64 - 1
NAME_LENGTH = 3 * 1024 * 1024
"""metadata.name has no maxLength at the root: the largest request."""

Schema = dict[str, Any]
BOOLEAN, INTEGER, NUMBER = {"type": "boolean"}, {"type": "integer"}, {"type": "number"}
NOTHING: Schema = {"type": "nothing"}
"""Entries of a list that is still empty."""


@dataclass(frozen=True)
class Typed:
    schema: Schema
    cost: int
    size: int = 1
    """Most entries of a list or bytes of a string; 1 of a scalar."""


@dataclass
class Estimator:
    names: dict[str, Schema]

    def of(self, tree: Any) -> Typed:
        """Of a message `Expr` (`tests.cel.tree`). Raises CelError: the rule would not compile, or is not known here."""
        kind = tree.WhichOneof("kind")
        node: Any = getattr(tree, kind) if kind else None
        match kind:
            case "constant":
                return _constant(getattr(node, node.WhichOneof("kind")))
            case "ident":
                if node.name not in self.names:
                    raise CelError(f"undeclared {node.name}")
                return Typed(self.names[node.name], 1, max_size(self.names[node.name]))
            case "select":
                inner = self.of(node.operand)
                schema = _field(inner.schema, node.field)
                return Typed(BOOLEAN, inner.cost) if node.test_only else Typed(schema, inner.cost + 1, max_size(schema))
            case "list":
                typed = [self.of(entry) for entry in node.elements]
                items = {**typed[0].schema, "maxLength": None} if typed else NOTHING
                return Typed({"type": "array", "items": items}, 10 + sum(t.cost for t in typed), len(typed))
            case "loop":
                return self.loop(node)
            case "call":
                targets = [node.target] if node.HasField("target") else []
                typed = [self.of(argument) for argument in (*targets, *node.args)]
                cost, schema, size = _function(node.function, typed)
                return Typed(schema, cost if node.function == "_?_:_" else cost + sum(t.cost for t in typed), size)
        raise CelError(f"{kind} is not known: {tree}")

    def loop(self, loop: Any) -> Typed:
        """What `all`, `exists`, `exists_one` and `map` are short for: every entry takes the condition and the step."""
        entries, start = self.of(loop.range), self.of(loop.start)
        if entries.schema["type"] != "array":
            raise CelError(f"a loop over {entries.schema['type']}")
        inside = {**self.names, loop.variable: entries.schema["items"], loop.accumulator: start.schema}
        condition, step = Estimator(inside).of(loop.condition), Estimator(inside).of(loop.step)
        result = Estimator({**self.names, loop.accumulator: step.schema}).of(loop.result)
        cost = entries.cost + start.cost + entries.size * (condition.cost + step.cost) + result.cost
        return Typed(result.schema, cost, entries.size if result.schema["type"] == "array" else 1)


def _constant(value: object) -> Typed:
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
    """The cost without that of the arguments (of `_?_:_` with it), the type and the size of the result."""
    first = typed[0]
    match function:
        case "_&&_" | "_||_":
            _same(*typed, Typed(BOOLEAN, 0))
            return 0, BOOLEAN, 1
        case "_?_:_":
            _same(first, Typed(BOOLEAN, 0))
            _same(*typed[1:])
            size = max(typed[1].size, typed[2].size)
            return first.cost + max(typed[1].cost, typed[2].cost), typed[1].schema, size
        case "_==_" | "_!=_":
            _same(*typed)
            return _tenth(min(t.size for t in typed)), BOOLEAN, 1
        case "_<_" | "_<=_" | "_>_" | "_>=_" | "!_":
            _same(*typed)
            return 1, BOOLEAN, 1
        case "_+_":
            _same(*typed)
            return _sum(typed)
        case "_-_" | "_*_" | "_%_" | "-_":
            _same(*typed)
            return 1, first.schema, 1
        case "@in":
            return typed[1].size, BOOLEAN, 1
        case "_[_]":
            return 1, first.schema["items"], max_size(first.schema["items"])
        case "@not_strictly_false":
            return 1, BOOLEAN, 1
        case "size":
            return 1, INTEGER, 1
        case "double":
            return 1, NUMBER, 1
    return _text_function(function, typed)


def _sum(typed: list[Typed]) -> tuple[int, Schema, int]:
    size = sum(t.size for t in typed)
    match typed[-1].schema["type"]:
        case "string":
            return _tenth(size), {"type": "string"}, size
        case "array":  # `map` adds what it makes to an empty list
            return 1, typed[-1].schema, UNKNOWN
    return 1, typed[-1].schema, 1


def _text_function(function: str, typed: list[Typed]) -> tuple[int, Schema, int]:
    first, argument = typed[0], typed[-1]
    if function == "sum":
        _same(first, Typed({"type": "array"}, 0))
        return first.size, first.schema["items"], 1
    _same(*typed, Typed({"type": "string"}, 0))
    match function:
        case "startsWith" | "endsWith":
            return _tenth(argument.size), BOOLEAN, 1
        case "contains":
            return _tenth(first.size) * _tenth(argument.size), BOOLEAN, 1
        case "matches":
            return _tenth(first.size + 1) * math.ceil(argument.size / 4), BOOLEAN, 1
        case "lowerAscii":
            return _tenth(first.size), first.schema, first.size
    raise CelError(f"{function} is not known")
