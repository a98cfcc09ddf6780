"""Objects as the API server sends and takes them: plain JSON, and how to read what all of them have. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Object = dict[str, Any]
"""An object as the API server has it, or as it should have it."""
Manifest = Object
"""An object that we want to exist."""
Fields = Mapping[str, Any]
"""An object, or a part of one, that is only read."""
Key = tuple[str, str]
"""Namespace and name."""
Place = tuple[str, str]
"""Kind and name, of an object in a run's namespace."""
MAX_DIGITS = 9


@dataclass(frozen=True)
class Ref:
    """One object. Its successor of the same name has another `uid`."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True)
class Problem:
    """Why something does not go on, in words a person can act on."""

    reason: str
    """One word for programs."""
    message: str


def moment(text: object) -> datetime | None:
    """Read a Kubernetes time; None where there is none."""
    return datetime.fromisoformat(text) if isinstance(text, str) and text else None


def name_of(item: Fields) -> str:
    return str(item["metadata"]["name"])


def uid_of(item: Fields) -> str:
    return str(item["metadata"].get("uid") or "")


def key_of(item: Fields) -> Key:
    meta = item["metadata"]
    return str(meta.get("namespace") or ""), str(meta["name"])


def ref_of(item: Fields, kind: str) -> Ref:
    return Ref(kind, name_of(item), uid_of(item))


def created_at(item: Fields) -> datetime | None:
    return moment(item["metadata"].get("creationTimestamp"))


def is_leaving(item: Fields) -> bool:
    """Its deletion has begun."""
    return bool(item["metadata"].get("deletionTimestamp"))


def is_owned_by(item: Fields, uid: str) -> bool:
    return any(ref.get("uid") == uid for ref in item["metadata"].get("ownerReferences") or ())


def is_owned_by_name(item: Fields, kind: str, name: str) -> bool:
    """Of an owner whose UID is not known."""
    owners = item["metadata"].get("ownerReferences") or ()
    return any(ref.get("kind") == kind and ref.get("name") == name for ref in owners)


def number_of(text: str) -> int | None:
    """A number in a label or an annotation; None: it is none that we wrote.

    >>> number_of("12"), number_of("²"), number_of("-1"), number_of("9" * 5000)
    (12, None, None, None)
    """
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS else None


def label(item: Fields, name: str) -> str:
    return str((item["metadata"].get("labels") or {}).get(name) or "")


def annotation(item: Fields, name: str) -> str:
    return str((item["metadata"].get("annotations") or {}).get(name) or "")


def condition(item: Fields, name: str) -> Fields | None:
    """The condition of that type in an object's status."""
    return next((c for c in (item.get("status") or {}).get("conditions") or () if c.get("type") == name), None)


def holds(item: Fields, name: str) -> Fields | None:
    """The condition of that type, if it is true."""
    found = condition(item, name)
    return found if found is not None and found.get("status") == "True" else None
