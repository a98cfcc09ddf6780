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


def _open(properties: dict[str, Any], forbidden: dict[str, str]) -> dict[str, Any]:
    """An object of which only some fields are known. `forbidden`: CEL that must hold, by field."""
    schema: dict[str, Any] = _OPEN | {"properties": properties}
    rules = [
        Rule(
            holds,
            f"{field} is not allowed in a pod template; remove it",
            f".{field}",
            Reason.FORBIDDEN,
        )
        for field, holds in forbidden.items()
    ]
    return schema | ({VALIDATIONS: [rule.as_validation() for rule in rules]} if rules else {})


def _absent(fields: tuple[str, ...]) -> dict[str, str]:
    return {field: f"!has(self.{field})" for field in fields}


def _list(items: dict[str, Any], most: int) -> dict[str, Any]:
    return {"type": "array", "maxItems": most, "items": items}


def pod_template() -> dict[str, Any]:
    """The schema of serving.template and resources.template."""
    text, flag = {"type": "string", "maxLength": 253}, {"type": "boolean"}
    not_true = {f: f"!has(self.{f}) || !self.{f}" for f in ("privileged", "allowPrivilegeEscalation")}
    security = _open(
        {"privileged": flag, "allowPrivilegeEscalation": flag, "procMount": text},
        {**not_true, **_absent(("procMount",))},
    )
    containers = _list(_open({"securityContext": security}, {}), MAX_CONTAINERS)
    spec = _open(
        {
            **dict.fromkeys(_ACCOUNT, text),
            **dict.fromkeys(_HOST, flag),
            "volumes": _list(_open({"hostPath": _OPEN}, _absent(("hostPath",))), MAX_VOLUMES),
            "initContainers": containers,
            "containers": containers,
        },
        _absent((*_ACCOUNT, *_HOST)),
    )
    return _open({"metadata": _OPEN, "spec": spec}, {})
