"""The part of CEL that the CRD's rules use: text to a tree, and a tree to a value.

Small on purpose: what it does not know it refuses, so a rule cannot use it unseen. Errors follow CEL: reading a field
that is absent is one, and `&&`, `||`, `all` and `exists` pass over an error when another operand decides.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

MACROS = ("all", "exists", "exists_one", "map")
_TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d+(?:\.\d+)?)|r'(?P<raw>[^']*)'|'(?P<text>[^'\\]*)'|(?P<name>[A-Za-z_]\w*)"""
    r"""|(?P<sign>&&|\|\||[=!<>]=|[-+*/%<>!?:.,()\[\]]))"""
)
_LEVELS = (("||",), ("&&",), ("==", "!=", "<", "<=", ">", ">=", "in"), ("+", "-"), ("*", "/", "%"))


class CelError(Exception):
    """The text is no rule, or it cannot be evaluated."""


@dataclass(frozen=True)
class Literal:
    value: object


@dataclass(frozen=True)
class Ident:
    name: str


@dataclass(frozen=True)
class Select:
    operand: Any
    field: str


@dataclass(frozen=True)
class Has:
    place: Select


@dataclass(frozen=True)
class Items:
    entries: tuple[Any, ...]


@dataclass(frozen=True)
class Call:
    """`function(arguments)`; of a method the target is the first argument, of an operator they are its operands."""

    function: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Macro:
    kind: str
    range: Any
    variable: str
    body: Any


@cache
def parse(text: str) -> Any:
    """The tree of a rule. Raises CelError: it is none, or uses what is not known here."""
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.tokens, at = text, [], 0
        while at < len(text.rstrip()):
            found = _TOKEN.match(text, at)
            if not found:
                raise CelError(f"{text!r}: cannot read {text[at : at + 20]!r}")
            self.tokens.append((str(found.lastgroup), str(found.group(str(found.lastgroup)))))
            at = found.end()
        self.at = 0

    def whole(self) -> Any:
        tree = self.ternary()
        if self.at != len(self.tokens):
            raise CelError(f"{self.text!r}: unexpected {self.tokens[self.at][1]!r}")
        return tree

    def peek(self, *signs: str) -> bool:
        return self.at < len(self.tokens) and self.tokens[self.at] in [(k, s) for s in signs for k in ("sign", "name")]

    def take(self, *signs: str) -> str:
        if signs and not self.peek(*signs):
            raise CelError(f"{self.text!r}: expected {' or '.join(signs)} at {self.tokens[self.at :][:3]}")
        self.at += 1
        return self.tokens[self.at - 1][1]

    def ternary(self) -> Any:
        condition = self.binary(0)
        if not self.peek("?"):
            return condition
        self.take("?")
        then = self.binary(0)
        self.take(":")
        return Call("?:", (condition, then, self.ternary()))

    def binary(self, level: int) -> Any:
        if level == len(_LEVELS):
            return self.unary()
        left = self.binary(level + 1)
        while self.peek(*_LEVELS[level]):
            left = Call(self.take(), (left, self.binary(level + 1)))
        return left

    def unary(self) -> Any:
        if self.peek("!"):
            self.take()
            return Call("!", (self.unary(),))
        if self.peek("-"):
            self.take()
            return Call("-", (self.unary(),))
        return self.member(self.primary())

    def member(self, operand: Any) -> Any:
        while self.peek(".", "["):
            if self.take() == "[":
                operand = Call("[]", (operand, self.ternary()))
                self.take("]")
                continue
            name = self.take()
            operand = self.method(operand, name) if self.peek("(") else Select(operand, name)
        return operand

    def method(self, target: Any, name: str) -> Any:
        arguments = self.listed("(", ")")
        if name in MACROS:
            variable, body = arguments
            return Macro(name, target, variable.name, body)
        return Call(name, (target, *arguments))

    def listed(self, start: str, end: str) -> tuple[Any, ...]:
        self.take(start)
        entries: list[Any] = []
        while not self.peek(end):
            entries.append(self.ternary())
            if not self.peek(end):
                self.take(",")
        self.take(end)
        return tuple(entries)

    def primary(self) -> Any:
        if self.peek("("):
            self.take()
            tree = self.ternary()
            self.take(")")
            return tree
        if self.peek("["):
            return Items(self.listed("[", "]"))
        if self.at == len(self.tokens):
            raise CelError(f"{self.text!r} ends too early")
        kind, text = self.tokens[self.at]
        self.at += 1
        match kind:
            case "number":
                return Literal(float(text) if "." in text else int(text))
            case "raw" | "text":
                return Literal(text)
            case "name" if text in ("true", "false"):
                return Literal(text == "true")
            case "name" if self.peek("("):
                arguments = self.listed("(", ")")
                return Has(arguments[0]) if text == "has" else Call(text, arguments)
            case "name":
                return Ident(text)
        raise CelError(f"{self.text!r}: unexpected {text!r}")


FUNCTIONS: dict[str, Any] = {
    "!": lambda a: not a,
    "-": lambda a, b=None: -a if b is None else a - b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "+": lambda a, b: a + b,
    "*": lambda a, b: a * b,
    "%": lambda a, b: a % b,
    "in": lambda a, b: a in b,
    "[]": lambda a, b: a[b],
    "size": len,
    "double": float,
    "sum": sum,
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": lambda a, b: b in a,
    "lowerAscii": str.lower,
    "matches": lambda a, b: re.search(_whole(b), a) is not None,
    "findAll": lambda a, b: re.findall(_whole(b), a),
}


def _whole(pattern: str) -> str:
    """RE2's `$` is the end of the text; Python's is also before a last line break."""
    return pattern.removesuffix("$") + r"\Z" if pattern.endswith("$") else pattern


def evaluate(tree: Any, names: dict[str, Any]) -> Any:
    """The value. Raises CelError: as CEL itself fails."""
    match tree:
        case Literal(value):
            return value
        case Ident(name):
            return names[name]
        case Items(entries):
            return [evaluate(entry, names) for entry in entries]
        case Has(Select(operand, field)):
            return field in evaluate(operand, names)
        case Select(operand, field):
            value = evaluate(operand, names)
            if not isinstance(value, dict) or field not in value:
                raise CelError(f"no such key: {field}")
            return value[field]
        case Macro():
            return _macro(tree, names)
        case Call("||" | "&&" as sign, arguments):
            return _decided(sign == "||", ((a, names) for a in arguments))
        case Call("?:", (condition, then, otherwise)):
            return evaluate(then if evaluate(condition, names) else otherwise, names)
        case Call(function, arguments):
            return _call(function, [evaluate(a, names) for a in arguments])
    raise CelError(f"{tree} is not known")


def _call(function: str, arguments: list[Any]) -> Any:
    try:
        return FUNCTIONS[function](*arguments)
    except (ValueError, TypeError, IndexError, ZeroDivisionError) as error:
        raise CelError(f"{function}: {error}") from error


def _decided(word: bool, operands: Any) -> bool:
    """`word` as soon as an operand is it, an error before that or not; without one, the error or the other word."""
    failure: CelError | None = None
    for tree, names in operands:
        try:
            value: object = evaluate(tree, names)
            if value is word:
                return word
        except CelError as error:
            failure = error
    if failure:
        raise failure
    return not word


def _macro(tree: Macro, names: dict[str, Any]) -> Any:
    scopes = [{**names, tree.variable: item} for item in evaluate(tree.range, names)]
    match tree.kind:
        case "all" | "exists":
            return _decided(tree.kind == "exists", ((tree.body, scope) for scope in scopes))
        case "exists_one":
            return sum(bool(evaluate(tree.body, scope)) for scope in scopes) == 1
    return [evaluate(tree.body, scope) for scope in scopes]
