"""A pod template of the resource, merged over ours.

Objects are merged field by field and the template's value wins. Lists whose entries have a key are merged by it
(containers, variables and volumes by name, mounts by path), tolerations are added, any other list is replaced.
Containers of other names join ours and get the same security fields.
"""

from collections.abc import Mapping
from typing import Any

from moaa_operator.kube.objects import Manifest
from moaa_operator.render.template_rules import VOLUME_KINDS, refuse

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
_ONE_OF: Mapping[str, frozenset[str]] = {"env": frozenset({"value", "valueFrom"}), "volumes": VOLUME_KINDS}
"""Of these fields an entry has one: the template's takes the place of ours."""


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
            return _by_key(ours, theirs, KEYS[field], one_of=_ONE_OF.get(field, frozenset()))
        case list(), list() if field in ADDED:
            return [*ours, *(entry for entry in theirs if entry not in ours)]
    return theirs


def _by_key(
    ours: list[Manifest], theirs: list[Manifest], key: str, *, one_of: frozenset[str] = frozenset()
) -> list[Manifest]:
    """Ours first, in their order; entries of other keys after them."""
    merged = {entry.get(key): dict(entry) for entry in ours}
    for entry in theirs:
        name = entry.get(key)
        before = merged.get(name, {})
        if entry.keys() & one_of and not before.keys() & entry.keys() & one_of:
            before = {field: value for field, value in before.items() if field not in one_of}
        merged[name] = _object(before, entry)
    return list(merged.values())
