"""Changing a plain document: JSON merge patches (RFC 7396), and one field by its dotted path. Pure."""

import re
from collections.abc import Mapping

from pydantic import JsonValue

from moaa.api.reading.yaml_text import Step

_STEP = re.compile(r"(?:^|\.)([A-Za-z][A-Za-z0-9]*)|\[([0-9]{1,4})\]")


def merged(target: JsonValue, patch: JsonValue) -> JsonValue:
    """The target after the patch; neither is changed.

    Source: RFC 7396, section 2.
    """
    if not isinstance(patch, dict):
        return patch
    found: dict[str, JsonValue] = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = merged(found.get(name), value)
    return found


def steps_of(field: str) -> tuple[Step, ...]:
    """`spec.data.sft[0].limit` as its steps.

    Raises:
        ValueError: it is no path of this form.
    """
    found = list(_STEP.finditer(field))
    if "".join(match.group(0) for match in found) != field or not found:
        raise ValueError("is no path of a field; write one as spec.training.dpo.beta or spec.data.sft[0].limit")
    return tuple(match.group(1) or int(match.group(2)) for match in found)


def with_field(target: JsonValue, steps: tuple[Step, ...], value: JsonValue) -> JsonValue:
    """The target with one field set. Mappings on the way are made where there are none; entries of lists are not.

    Raises:
        ValueError: the path goes through something that is no mapping, or past the end of a list.
    """
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if isinstance(step, int):
        if not isinstance(target, list) or step >= len(target):
            size = len(target) if isinstance(target, list) else 0
            raise ValueError(f"names entry [{step}] of a list that has {size}; give the whole list instead")
        return [with_field(entry, rest, value) if i == step else entry for i, entry in enumerate(target)]
    if target is not None and not isinstance(target, Mapping):
        raise ValueError(f"goes through a value that has no field {step}; name a field of the resource")
    inside: dict[str, JsonValue] = dict(target or {})
    return {**inside, step: with_field(inside.get(step), rest, value)}
