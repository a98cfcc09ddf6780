"""What a pod template of the resource must not say, because it reaches beyond the run or would break it.

The CRD and `moaa validate` refuse most of it earlier. This last check before a pod is made covers all of Pod Security
`restricted` and finds everything at once.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from moaa.errors import Problem, ResourceError

_BEYOND = "is not allowed in a pod template: it would reach beyond the run; remove it"
_OURS = "is not allowed in a pod template: the operator sets it; remove it"
POD_FIELDS: Mapping[str, str] = {
    "serviceAccountName": "is not allowed in a pod template; set spec.serviceAccountName for all pods of the run",
    "serviceAccount": "is not allowed in a pod template; set spec.serviceAccountName for all pods of the run",
    "automountServiceAccountToken": _BEYOND,
    "hostNetwork": _BEYOND,
    "hostPID": _BEYOND,
    "hostIPC": _BEYOND,
    "ephemeralContainers": _BEYOND,
    "restartPolicy": _OURS,
    "enableServiceLinks": _OURS,
}
VOLUME_KINDS = frozenset(
    {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
)
"""Kinds that Pod Security `restricted` admits."""
TOKEN = "serviceAccountToken"
"""A source of projected volumes: the account's own token for the API server."""
_SECURITY_TREE = frozenset({"fsGroup", "fsGroupChangePolicy", "readOnlyRootFilesystem", "runAsGroup", "runAsUser"})
_SECURITY_FIXED: Mapping[str, tuple[object, ...]] = {
    "runAsNonRoot": (True,),
    "allowPrivilegeEscalation": (False,),
    "privileged": (False,),
    "capabilities": ({"drop": ["ALL"]},),
    "seccompProfile": ({"type": "RuntimeDefault"},),
}
_UNCONFINING = ("container.apparmor.security.", "seccomp.security.", "container.seccomp.security.")
OWN_LABELS = ("moaa.dev/", "app.kubernetes.io/managed-by", "kueue.x-k8s.io/")


def refuse(template: Mapping[str, Any], path: str, *, own: frozenset[str]) -> None:
    """Raises ResourceError: there is something in the template that may not be there (`refused`)."""
    problems = list(refused(template, path, own=own))
    if problems:
        raise ResourceError("the resource", problems)


def refused(template: Mapping[str, Any], path: str, *, own: frozenset[str]) -> Iterator[Problem]:
    """Everything in a template that may not be there, with what to do instead.

    `path` is where the resource has it; `own` are the names of the containers whose command is ours.
    """
    for field in template:
        if field not in ("metadata", "spec"):
            yield Problem(f"{path}.{field}", "", "is no part of a pod template; write it under spec or metadata")
    yield from _metadata(_mapping(template, "metadata"), f"{path}.metadata")
    spec = _mapping(template, "spec")
    at = f"{path}.spec"
    for field, remedy in POD_FIELDS.items():
        if field in spec:
            yield Problem(f"{at}.{field}", str(spec[field]), remedy)
    yield from _security(spec, at)
    for i, volume in _entries(spec, "volumes"):
        for kind in sorted(set(volume) - VOLUME_KINDS - {"name"}):
            kinds = ", ".join(sorted(VOLUME_KINDS))
            yield Problem(f"{at}.volumes[{i}].{kind}", "", f"is not allowed in a pod template; use one of {kinds}")
        for j, source in _entries(_mapping(volume, "projected"), "sources"):
            if TOKEN in source:  # what automountServiceAccountToken would be, by another way
                yield Problem(f"{at}.volumes[{i}].projected.sources[{j}].{TOKEN}", "", _BEYOND)
    for field in ("containers", "initContainers"):
        for i, container in _entries(spec, field):
            yield from _container(container, f"{at}.{field}[{i}]", own)
    yield from _nulls(template, path)


def _metadata(given: Mapping[str, Any], at: str) -> Iterator[Problem]:
    for field in given:
        if field not in ("labels", "annotations"):
            yield Problem(f"{at}.{field}", "", "is not allowed in a pod template; labels and annotations are")
    for name in _mapping(given, "annotations"):
        if name.startswith(_UNCONFINING):
            yield Problem(f"{at}.annotations[{name}]", "", "would weaken Pod Security 'restricted'; remove it")
    for name in _mapping(given, "labels"):
        if name.startswith(OWN_LABELS):
            yield Problem(f"{at}.labels[{name}]", "", _OURS)


def _container(container: Mapping[str, Any], at: str, own: frozenset[str]) -> Iterator[Problem]:
    name = container.get("name")
    if not isinstance(name, str) or not name:
        yield Problem(f"{at}.name", "", f"is missing; ours are {', '.join(sorted(own))}, others are added")
    yield from _security(container, at)
    for i, port in _entries(container, "ports"):
        if "hostPort" in port:
            yield Problem(f"{at}.ports[{i}].hostPort", str(port["hostPort"]), _BEYOND)
    for hook in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
        if name in own and hook in container:
            yield Problem(f"{at}.{hook}", "", _OURS)
    for field in ("command", "args"):
        if name in own and field in container:
            yield Problem(f"{at}.{field}", "", "is not allowed in a pod template; vLLM's options go to serving.args")


def _security(holder: Mapping[str, Any], at: str) -> Iterator[Problem]:
    for field, value in _mapping(holder, "securityContext").items():
        where = f"{at}.securityContext.{field}"
        if field in _SECURITY_FIXED:
            if value not in _SECURITY_FIXED[field]:
                yield Problem(where, str(value), "would weaken Pod Security 'restricted'; remove it")
        elif field not in _SECURITY_TREE:
            yield Problem(
                where, str(value), f"is not allowed in a pod template; {', '.join(sorted(_SECURITY_TREE))} are"
            )
        elif field == "runAsUser" and value == 0:
            yield Problem(where, "0", "is root; name another user")


def _nulls(node: object, at: str) -> Iterator[Problem]:
    if node is None:
        yield Problem(at, "null", "would remove what the operator sets; write a value or leave it out")
    elif isinstance(node, Mapping):
        for field, value in node.items():
            yield from _nulls(value, f"{at}.{field}")
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from _nulls(value, f"{at}[{i}]")


def _mapping(holder: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    value = holder.get(field)
    return value if isinstance(value, Mapping) else {}


def _entries(holder: Mapping[str, Any], field: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    value = holder.get(field)
    for i, entry in enumerate(value if isinstance(value, list) else []):
        if isinstance(entry, Mapping):
            yield i, entry
