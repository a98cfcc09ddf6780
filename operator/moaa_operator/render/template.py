"""A pod template of the resource, merged over ours.

Objects are merged field by field and the template's value wins. Lists whose entries have a key are merged by it
(containers, variables and volumes by name, mounts by path), tolerations are added, any other list is replaced.
Containers of other names join ours and get the same security fields.
"""

from collections.abc import Mapping
from typing import Any

from moaa_operator.render.labels import Manifest
from moaa_operator.render.refusals import refuse

KEYS: Mapping[str, str] = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
}
ADDED = frozenset({"tolerations", "envFrom"})
_SOURCE_OF_VALUE = frozenset({"value", "valueFrom"})


def merge(pod: Manifest, template: Mapping[str, Any], path: str, *, own: frozenset[str]) -> Manifest:
    """A new pod template (`metadata`, `spec`); neither argument is changed.

    Raises:
        ResourceError: the template says what it may not (`refusals`).
    """
    refuse(template, path, own=own)
    merged = _object(pod, template)
    security = pod["spec"]["containers"][0]["securityContext"]
    for field in ("containers", "initContainers"):
        for container in merged["spec"].get(field, []):
            container["securityContext"] = {**security, **container.get("securityContext", {})}
    return merged


def _object(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Manifest:
    merged = dict(ours)
    for field, value in theirs.items():
        merged[field] = _value(field, merged[field], value) if field in merged else value
    return merged


def _value(field: str, ours: Any, theirs: Any) -> Any:
    match ours, theirs:
        case dict(), dict():
            return _object(ours, theirs)
        case list(), list() if field in KEYS:
            return _by_key(ours, theirs, KEYS[field])
        case list(), list() if field in ADDED:
            return [*ours, *(entry for entry in theirs if entry not in ours)]
    return theirs


def _by_key(ours: list[Manifest], theirs: list[Manifest], key: str) -> list[Manifest]:
    """Ours first, in their order; entries of other keys after them."""
    merged = {entry.get(key): dict(entry) for entry in ours}
    for entry in theirs:
        name = entry.get(key)
        before = merged.get(name, {})
        if before.keys() & _SOURCE_OF_VALUE and entry.keys() & _SOURCE_OF_VALUE:
            before = {}  # a variable has one source: a value replaces a reference and the other way round
        merged[name] = _object(before, entry)
    return list(merged.values())
