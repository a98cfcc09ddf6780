"""One CEL rule of the CRD, and the few expressions that several rules share.

Only what Kubernetes 1.29 knows. An API server refuses a CRD whose rules may cost too much, and estimates that from
maxItems and maxLength; sizes of computed strings it does not know, so no rule splits strings or joins lists of them.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

from moaa.api.base import STUDENT
from moaa.api.models import ModelKind


class Reason(StrEnum):
    INVALID = "FieldValueInvalid"
    FORBIDDEN = "FieldValueForbidden"
    REQUIRED = "FieldValueRequired"
    DUPLICATE = "FieldValueDuplicate"


@dataclass(frozen=True)
class Rule:
    """What must hold for an object; `self` is the object, `oldSelf` what it was before an update."""

    holds: str
    message: str
    """Names the field and the remedy; one line."""
    field: str = ""
    """Path of the field from the object, `.training.sft`; empty: the object itself. Kubernetes has no list indexes
    there."""
    reason: Reason = Reason.INVALID
    says: str = ""
    """A CEL expression for the message, where it can name the value that was found."""

    def as_validation(self) -> dict[str, Any]:
        """The entry of x-kubernetes-validations."""
        entry = {"rule": self.holds, "message": self.message}
        entry |= {"messageExpression": self.says} if self.says else {}
        entry |= {"fieldPath": self.field} if self.field else {}
        return entry | ({} if self.reason is Reason.INVALID else {"reason": self.reason.value})


Rules = dict[type[BaseModel], tuple[Rule, ...]]
"""Rules by the class they are about; they hold for its subclasses too, wherever in the resource these stand."""


def quoted(text: str) -> str:
    """A CEL string of a text without backslashes and quotes."""
    assert not set(text) & set("\\'\""), text
    return f"'{text}'"


def listed(texts: list[str]) -> str:
    """A CEL list of strings."""
    return f"[{', '.join(quoted(text) for text in texts)}]"


def matches(field: str, pattern: str) -> str:
    assert "'" not in pattern, pattern
    return f"{field}.matches(r'{pattern}')"


def is_declared(name: str) -> str:
    """`name`, an expression on the spec, is the student's placeholder or a declared model that writes answers."""
    return f"({name} == {quoted(STUDENT)} || {is_of_kind(name, ModelKind.CHAT)})"


def is_of_kind(name: str, kind: ModelKind) -> str:
    return f"self.models.exists(m, m.name == {name} && m.kind == {quoted(kind)})"


def fits_window(holder: str, name: str) -> str:
    """The longest answer of `holder` leaves room for a prompt in the window of the model `name`."""
    other = f"({name} == {quoted(STUDENT)} ? m.name != self.student : m.name != {name})"
    return f"self.models.all(m, {other} || {shorter(holder)})"


def shorter(holder: str) -> str:
    """`holder`.maxTokens is less than the window of the model `m`."""
    return f"{holder}.maxTokens < (has(m.endpoint) ? m.endpoint.maxModelLen : m.serving.maxModelLen)"
