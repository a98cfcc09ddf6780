"""What every part of the resource is made of: the model base class and the scalar types.

Numbers that are not integers are `Decimal` and are written as strings ("8e-6"), since floats have no place in a
Kubernetes spec and a decimal has one canonical form for fingerprints.
"""

import re
from decimal import Decimal
from math import isfinite
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

DECIMAL_PATTERN = r"^-?[0-9]+(\.[0-9]+)?([eE]-?[0-9]{1,2})?$"
DECIMAL_MAX_LENGTH = 32
"""Characters of a number."""


class Spec(BaseModel):
    """Base of every class in the resource: immutable, camelCase in files, unknown fields are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, use_attribute_docstrings=True
    )

    def with_(self, **changes: Any) -> Self:
        """A validated copy with some fields replaced (Python names)."""
        return type(self).model_validate({**dict(self), **changes})


class Observed(Spec):
    """Base of what is read back from a cluster: a newer operator may have written more."""

    model_config = ConfigDict(extra="ignore")


def _decimal(value: object) -> object:
    """A number in quotes, as the API server demands it too: the same file is for both."""
    if isinstance(value, Decimal):
        number = value
    elif not isinstance(value, str):
        raise ValueError('must be a number in quotes, for example "0.7"')
    elif len(value) > DECIMAL_MAX_LENGTH:
        raise ValueError(f"must have at most {DECIMAL_MAX_LENGTH} characters")
    elif not re.match(DECIMAL_PATTERN, value):
        raise ValueError('must be a number in quotes, for example "0.7" or "8e-6"; an exponent has at most two digits')
    elif len(decimal_text(number := Decimal(value))) > DECIMAL_MAX_LENGTH:
        # Jobs read a resource in the canonical spelling, which is held to the same length.
        raise ValueError(f"must have at most {DECIMAL_MAX_LENGTH} characters when it is written without an exponent")
    if not number.is_finite():
        raise ValueError("must be finite")
    return number


def decimal_text(value: Decimal) -> str:
    """The one spelling of a number: "0.70" and "7e-1" give "0.7", "8E-6" gives "0.000008"."""
    return format(value.normalize(), "f")


Number = Annotated[
    Decimal,
    BeforeValidator(_decimal),
    PlainSerializer(decimal_text, return_type=str),
    WithJsonSchema({"type": "string", "pattern": DECIMAL_PATTERN, "maxLength": DECIMAL_MAX_LENGTH}),
]
Positive = Annotated[Number, Field(gt=0)]
NonNegative = Annotated[Number, Field(ge=0)]
Fraction = Annotated[Number, Field(ge=0, le=1)]


def _json_numbers(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Only what JSON can say, and each number in one spelling, which an API server would give it too: 1.0 is 1."""

    def plain(inner: JsonValue) -> JsonValue:
        match inner:
            case dict():
                return {key: plain(entry) for key, entry in inner.items()}
            case list():
                return [plain(entry) for entry in inner]
            case float() if not isfinite(inner):
                raise ValueError("holds a number that is not finite, which JSON cannot say")
            case float() if inner.is_integer() and abs(inner) < 2**53:
                return int(inner)
        return inner

    return {key: plain(entry) for key, entry in value.items()}


JsonObject = Annotated[dict[str, JsonValue], AfterValidator(_json_numbers)]
"""Any JSON object, passed on as it is; here alone numbers are plain."""

MODEL_NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
ModelName = Annotated[str, StringConstraints(pattern=MODEL_NAME_PATTERN, min_length=1, max_length=20)]
STUDENT = "$student"
"""Stands for the last promoted student where a declared model's name could stand."""
BASE_STUDENT = "$base"
"""Stands for the student before any training where a benchmark names its baseline."""
GIVEN_ANSWERS = "$given"
"""Stands there for the answers that the benchmark's rows hold."""


SECRET_PREFIX = "MOAA_SECRET_"
"""What the environment variables of the resource's secrets begin with."""


class SecretKey(Spec):
    """One key of a Kubernetes Secret in the resource's namespace.

    `moaa run` reads it from the environment variable MOAA_SECRET_<NAME>_<KEY>, upper case, other characters as `_`.
    """

    name: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    """Of the Secret."""
    key: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    """Of the entry in it."""

    @property
    def environment_variable(self) -> str:
        return SECRET_PREFIX + re.sub(r"[^A-Z0-9]", "_", f"{self.name}_{self.key}".upper())
