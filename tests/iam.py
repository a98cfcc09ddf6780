"""Whether IAM would allow a request: enough of its rules for the policies in terraform/, and an error for any other.

Rules after "Policy evaluation logic" and "IAM JSON policy elements" of AWS's documentation: a matching Deny refuses,
else a matching Allow grants, else nothing does. `*` matches any characters, `/` too. A condition key that the request
does not have makes a positive operator false and a negative one true; operators with several keys need all of them,
several values any of them (with a negative operator: none).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Statement = Mapping[str, Any]


@dataclass(frozen=True)
class Request:
    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)
    """Condition keys; they are compared without regard to case."""


def is_allowed(request: Request, statements: Iterable[Statement]) -> bool:
    """The decision of all policies of one account together: the role's and the bucket's."""
    effects = {s["Effect"] for s in statements if _matches(s, request)}
    return "Allow" in effects and "Deny" not in effects


def _matches(statement: Statement, request: Request) -> bool:
    unknown = set(statement) - {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}
    if unknown:
        raise ValueError(f"statement {statement['Sid']}: elements that this evaluator does not know: {sorted(unknown)}")
    actions, resources = _listed(statement["Action"]), _listed(statement.get("Resource", "*"))
    return (
        any(_like(action.lower(), request.action.lower()) for action in actions)
        and any(_like(resource, request.resource) for resource in resources)
        and _holds(statement.get("Condition", {}), request.context)
    )


def _holds(condition: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    present = {key.lower(): value for key, value in context.items()}
    return all(
        _test(operator, present.get(key.lower()), _listed(values))
        for operator, keys in condition.items()
        for key, values in keys.items()
    )


def _test(operator: str, found: str | None, values: list[str]) -> bool:
    match operator:
        case "Null":
            return (found is None) == (values == ["true"])
        case "StringNotEquals":
            return found is None or found not in values
    if found is None:
        return False
    match operator:
        case "StringEquals":
            return found in values
        case "Bool":
            return found.lower() in values
        case "StringLike":
            return any(_like(value, found) for value in values)
        case "NumericLessThan":
            return any(float(found) < float(value) for value in values)
    raise ValueError(f"condition operator {operator}: this evaluator does not know it")


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _like(pattern: str, text: str) -> bool:
    parts = (".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)
    return re.fullmatch("".join(parts), text, flags=re.DOTALL) is not None
