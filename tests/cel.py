"""The CRD's rules as CEL understands them: compiled and evaluated by Google's own implementation, cel-cpp.

It knows the standard functions and the extension for strings. Kubernetes adds one that the rules use, `sum`; it is
declared here, and any other name is refused. An API server also compares types and names of fields with the schema when
it compiles a rule: `tests.cel_cost` does that on the tree.
"""

from functools import cache
from typing import Any

from cel_expr_python import cel
from cel_expr_python.ext import ext_strings
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

_TYPE = cel.Type
_TREE: dict[str, dict[str, tuple[int, str]]] = {
    "CheckedExpr": {"expr": (4, "Expr")},
    "Expr": {
        "constant": (3, "Constant"),
        "ident": (4, "Ident"),
        "select": (5, "Select"),
        "call": (6, "Call"),
        "list": (7, "List"),
        "loop": (9, "Loop"),
    },
    "Constant": {"bool": (2, ""), "int64": (3, ""), "double": (5, ""), "string": (6, "")},
    "Ident": {"name": (1, "string")},
    "Select": {"operand": (1, "Expr"), "field": (2, "string"), "test_only": (3, "bool")},
    "Call": {"target": (1, "Expr"), "function": (2, "string"), "args": (3, "Expr*")},
    "List": {"elements": (1, "Expr*")},
    "Loop": {
        "variable": (1, "string"),
        "range": (2, "Expr"),
        "accumulator": (3, "string"),
        "start": (4, "Expr"),
        "condition": (5, "Expr"),
        "step": (6, "Expr"),
        "result": (7, "Expr"),
    },
}
"""Field numbers and types of cel.expr's messages (cel-spec, proto/cel/expr), as far as rules need them. No package
carries these messages without a client of theirs. A message without types is one choice among its fields."""


class CelError(Exception):
    """The text is no rule, or it cannot be evaluated."""


@cache
def _environment() -> cel.Env:
    total = cel.Overload("sum_list", _TYPE.INT, [_TYPE.List(_TYPE.INT)], True, sum)
    return cel.NewEnv(
        variables={"self": _TYPE.DYN, "oldSelf": _TYPE.DYN},
        extensions=[ext_strings.ExtStrings()],
        functions=[cel.FunctionDecl("sum", [total])],
    )


@cache
def _compiled(text: str) -> cel.Expression:
    try:
        return _environment().compile(text)
    except RuntimeError as error:
        raise CelError(f"{text!r}: {error}") from error


def activation(**names: Any) -> cel.Activation:
    """What names stand for, for all rules of one place: to bring values into CEL costs more than a rule does."""
    return _environment().Activation(names)


def evaluate(text: str, names: cel.Activation) -> Any:
    """The value of a rule. Raises CelError: it is none, or fails as it would on a server."""
    value = _compiled(text).eval(activation=names)
    if value.type() == _TYPE.ERROR:
        raise CelError(str(value.value()))
    return value.plain_value()


def tree(text: str) -> Any:
    """The compiled rule, a message `Expr` with macros written out as loops. Raises CelError: the text is no rule."""
    packed = any_pb2.Any.FromString(_compiled(text).serialize())
    assert packed.type_url.endswith("/cel.expr.CheckedExpr"), packed.type_url
    checked: Any = _messages()["cel.expr.CheckedExpr"].FromString(packed.value)
    return checked.expr


@cache
def _messages() -> dict[str, type[Message]]:
    file = descriptor_pb2.FileDescriptorProto(name="tree.proto", package="cel.expr", syntax="proto3")
    for name, fields in _TREE.items():
        message = file.message_type.add(name=name)
        choice = name in ("Expr", "Constant")
        if choice:
            message.oneof_decl.add(name="kind")
        for field, (number, kind) in fields.items():
            one = message.field.add(name=field, number=number)
            one.label = one.LABEL_REPEATED if kind.endswith("*") else one.LABEL_OPTIONAL
            if kind.removesuffix("*") in _TREE:
                one.type, one.type_name = one.TYPE_MESSAGE, f".cel.expr.{kind.removesuffix('*')}"
            else:
                one.type = one.Type.Value(f"TYPE_{(kind or field).upper()}")
            if choice:
                one.oneof_index = 0
    return message_factory.GetMessages([file], pool=descriptor_pool.DescriptorPool())
