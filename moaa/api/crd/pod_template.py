"""The schema of a pod template override: opaque, but for what would reach beyond the run.

Writing a whole PodTemplateSpec out would make the CRD larger than `kubectl apply` takes. An API server sees into the
places below only; the same field anywhere else in a template is found by `moaa.api.reading.check`.
"""

from typing import Any

from moaa.api.crd.rule import Reason, Rule
from moaa.api.crd.schema import VALIDATIONS
from moaa.api.reading.rules_models import MAX_CONTAINERS, MAX_VOLUMES

_OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_HOST = ("hostNetwork", "hostPID", "hostIPC")
_ACCOUNT = ("serviceAccountName", "serviceAccount")
_FLAGS = ("privileged", "allowPrivilegeEscalation")


def _open(
    properties: dict[str, Any], *, absent: tuple[str, ...] = (), not_true: tuple[str, ...] = ()
) -> dict[str, Any]:
    """An object of which only some fields are known. One rule forbids them all: it stands in the CRD many times."""
    schema: dict[str, Any] = _OPEN | {"properties": properties}
    if not (fields := (*absent, *not_true)):
        return schema
    holds = [f"!has(self.{field})" for field in absent] + [f"!(has(self.{f}) && self.{f})" for f in not_true]
    *most, last = fields
    named = f"{', '.join(most)} and {last} are" if most else f"{last} is"
    message = f"{named} not allowed in a pod template; remove {'them' if most else 'it'}"
    rule = Rule(" && ".join(holds), message, "" if most else f".{last}", Reason.FORBIDDEN)
    return schema | {VALIDATIONS: [rule.as_validation()]}


def _list(items: dict[str, Any], most: int) -> dict[str, Any]:
    return {"type": "array", "maxItems": most, "items": items}


def pod_template() -> dict[str, Any]:
    """The schema of serving.template and resources.template."""
    text, flag = {"type": "string", "maxLength": 253}, {"type": "boolean"}
    security = _open({**dict.fromkeys(_FLAGS, flag), "procMount": text}, absent=("procMount",), not_true=_FLAGS)
    containers = _list(_open({"securityContext": security}), MAX_CONTAINERS)
    spec = _open(
        {
            **dict.fromkeys(_ACCOUNT, text),
            **dict.fromkeys(_HOST, flag),
            "volumes": _list(_open({"hostPath": _OPEN}, absent=("hostPath",)), MAX_VOLUMES),
            "initContainers": containers,
            "containers": containers,
        },
        absent=(*_ACCOUNT, *_HOST),
    )
    return _open({"metadata": _OPEN, "spec": spec})
