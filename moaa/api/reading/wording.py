"""Values shown in messages, and pydantic's errors in words that say what to write.

A secret that stands in a file by mistake must not reach a terminal or a log: a value is hidden when its field's name,
or its own looks, suggest a credential.
"""

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from moaa.api.addresses import DATA_PATTERN, FOLDER_PATTERN, HTTP_PATTERN, MODEL_PATTERN, STORE_PATTERN
from moaa.api.base import MODEL_NAME_PATTERN
from moaa.api.file_uri import has_control_character
from moaa.api.reading.yaml_text import Path, Step
from moaa.api.resource import MoAA

MAX_SHOWN = 60
"""Characters of a value that a message repeats."""

_SECRET_NAME = re.compile(r"token(?!s|iz)|secret|passw|api_?-?key|access_?-?key|credential|authorization|bearer", re.I)
_SECRET_LOOKS = re.compile(
    r"hf_\w{16,}|sk-[\w-]{16,}|gh[pousr]_\w{16,}|A(KI|SI)A[A-Z0-9]{12,}|eyJ[\w-]{8,}\.|-----BEGIN|://\S*:\S*@"
    r"|^(?=[^\s]*[0-9])(?=[^\s]*[A-Za-z])[A-Za-z0-9+=_]{32,}$"
)

_PATTERNS: Mapping[str, str] = {
    MODEL_NAME_PATTERN: "must be lower-case letters, digits and '-', starting and ending with a letter or digit",
    r"^[a-z]([a-z0-9-]*[a-z0-9])?$": "must be lower-case letters, digits and '-', starting with a letter",
    DATA_PATTERN: "must be hf://datasets/owner/name, s3://bucket/key or file:///path",
    MODEL_PATTERN: "must be hf://owner/name, s3://bucket/prefix, file:///folder or pvc://claim/folder",
    HTTP_PATTERN: "must be http:// or https://, a host, a :port if need be, and a path, without spaces",
    FOLDER_PATTERN: "must be s3://bucket/folder/ or file:///folder/",
    STORE_PATTERN: "must be s3://bucket/prefix or file:///folder",
}

_WORDS: Mapping[str, str] = {
    "missing": "is required",
    "int_type": "must be a whole number, without quotes",
    "int_parsing": "must be a whole number, without quotes",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "is too large a number",
    "bool_type": "must be true or false, without quotes",
    "bool_parsing": "must be true or false",
    "string_type": "must be text; put it in quotes",
    "list_type": "must be a list; start each entry with '- '",
    "dict_type": "must be a mapping of names to values",
    "model_type": "must be a mapping of fields",
    "model_attributes_type": "must be a mapping of fields",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "has too few entries; at least {min_length} must be there",
    "too_long": "must have at most {max_length} entries, not {actual_length}",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
}


def shown(value: object, path: Path = ()) -> str:
    """A value as a message may repeat it: short, and hidden where it may be a credential."""
    if value is None or isinstance(value, dict | list):
        return ""
    text = value if isinstance(value, str) else json.dumps(value)
    if looks_secret(text) or any(isinstance(step, str) and _SECRET_NAME.search(step) for step in path):
        return "(hidden)"
    text = text.replace("\n", " ")
    text = text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"
    return f'"{text}"' if isinstance(value, str) else text


def looks_secret(text: str) -> bool:
    return _SECRET_LOOKS.search(text) is not None


def names_secret(field: str) -> bool:
    return _SECRET_NAME.search(field) is not None


def suggestion(word: str, known: Iterable[str], *, what: str) -> str:
    """`; did you mean X?`, or the whole choice when nothing is near."""
    choices = list(dict.fromkeys(known))
    lower = {choice.lower(): choice for choice in reversed(choices)}
    near = difflib.get_close_matches(word.lower().replace("_", ""), lower, n=1, cutoff=0.6)
    if near:
        return f"did you mean {lower[near[0]]}?"
    return f"{what}: {', '.join(choices)}" if choices else f"there are no {what}"


def navigate(root: object, error: ErrorDetails) -> Path:
    """Where pydantic's error is in the document: its location without the names of union branches, which are no steps
    of the document, and with the name of a field that is missing, unknown or says which branch is meant."""
    path: list[Step] = []
    value = root
    for step in error["loc"]:
        if _has(value, step):
            value = value_at(value, (step,))
        elif not (error["type"] == "missing" and step == error["loc"][-1]):
            continue
        path.append(step)
    if error["type"].startswith("union_tag"):
        path.append("type")
    return tuple(path)


def _has(value: object, step: Step) -> bool:
    if isinstance(value, dict):
        return step in value
    return isinstance(value, list) and isinstance(step, int) and step < len(value)


def value_at(root: object, path: Path) -> object:
    """The value at `path`, or None where there is none."""
    value = root
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def remedy(error: ErrorDetails, root: object, path: Path) -> str:
    """What is wrong with the value at `path` and what to write."""
    kind, context = error["type"], error.get("ctx", {})
    match kind:
        case "value_error":
            return str(context["error"])
        case "extra_forbidden":
            return _unknown_field(root, path)
        case "missing":
            return f"is required. {_described(root, path)}".strip()
        case "literal_error" | "enum":
            choices = re.findall(r"'([^']*)'", str(context["expected"]))
            what = "write one of"
            return f"is not allowed here; {suggestion(str(value_at(root, path)), choices, what=what)}"
        case "union_tag_invalid" | "union_tag_not_found":
            tags = [tag for branch in _classes(_annotation(root, path[:-1])) for tag in _literals(branch)]
            problem = "is no such kind" if kind == "union_tag_invalid" else "is required: it says which kind this is"
            return f"{problem}; {suggestion(str(value_at(root, path)), tags, what='write one of')}"
        case "string_pattern_mismatch":
            if has_control_character(str(value_at(root, path))):
                return "holds a line break or another control character; remove it"
            return _PATTERNS.get(str(context["pattern"]), f"must match {context['pattern']}")
    if value_at(root, path) is None and path:
        return "is empty; give it a value"
    template = _WORDS.get(kind)
    return template.format(**context) if template else error["msg"]


def class_at(root: object, path: Path) -> type[BaseModel] | None:
    """The class of the mapping at `path`, or None where the document does not follow the resource."""
    return _choose(_annotation(root, path), value_at(root, path))


def _annotation(root: object, path: Path) -> Any:
    kind: Any = MoAA
    value = root
    for step in path:
        if isinstance(step, int):
            kind = get_args(kind)[0] if get_origin(kind) is list else None
        else:
            chosen = _choose(kind, value)
            kind = (
                next((f.annotation for f in chosen.model_fields.values() if f.alias == step), None) if chosen else None
            )
        value = value_at(value, (step,))
        while get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
    return kind


def _classes(kind: Any) -> list[type[BaseModel]]:
    """Classes an annotation may stand for."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    if get_origin(kind) in (Annotated, Union, UnionType):
        arguments = get_args(kind)[:1] if get_origin(kind) is Annotated else get_args(kind)
        return [found for argument in arguments for found in _classes(argument)]
    return []


def _choose(kind: Any, value: object) -> type[BaseModel] | None:
    """The class an annotation stands for; of a tagged union the one that `type` names."""
    classes = _classes(kind)
    if len(classes) == 1:
        return classes[0]
    tag = value.get("type") if isinstance(value, dict) else None
    return next((c for c in classes if tag in _literals(c)), None)


def _literals(kind: type[BaseModel]) -> tuple[Any, ...]:
    info = kind.model_fields.get("type")
    return get_args(info.annotation) if info and get_origin(info.annotation) is Literal else ()


def _unknown_field(root: object, path: Path) -> str:
    *parent, field = path
    if names_secret(str(field)):
        return "is not a field; a credential never stands in the file: put it in a Secret and name it, {name, key}"
    kind = class_at(root, tuple(parent))
    known = [info.alias or name for name, info in kind.model_fields.items()] if kind else []
    return f"is not a field here; {suggestion(str(field), known, what='fields here')}"


def _described(root: object, path: Path) -> str:
    kind = class_at(root, path[:-1])
    fields = kind.model_fields.values() if kind else []
    text = next((f.description for f in fields if f.alias == path[-1] and f.description), "")
    first = " ".join(text.split()).split(". ")[0].rstrip(".")
    return f"{first}." if first else "Add it."
