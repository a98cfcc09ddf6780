"""What every child carries besides its work: owner, labels to find it by, and the digest of what it was made from.

The digest covers what the resource says, never what the operator's version or settings add: an upgrade of the operator
leaves healthy children as they are, and an edit changes exactly the children it concerns.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from moaa.api import MoAA
from moaa.plan.canonical import digest_of
from moaa_operator.kube.owner import GROUP, HASH_ANNOTATION, ROLE_LABEL, RUN_LABEL, Owner

Manifest = dict[str, Any]

SERVER_LABEL = f"{GROUP}/server"
"""On a server's Deployment, Service and pods: their name. The only label its selectors use besides the run."""
MANAGER = {"app.kubernetes.io/managed-by": "moaa-operator", "app.kubernetes.io/part-of": "moaa"}
QUEUE_PREFIX = "kueue.x-k8s.io/"
STAY_ANNOTATIONS = {
    # Autoscalers that tidy up nodes would end hours of work to save minutes of a machine.
    "karpenter.sh/do-not-disrupt": "true",
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
}


class Role(StrEnum):
    SERVER = "server"
    STAGE = "stage"
    FINALISE = "finalise"
    INSPECT = "inspect"
    PREFLIGHT = "preflight"


def labels(owner: Owner, role: Role, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    return {**MANAGER, RUN_LABEL: owner.name, ROLE_LABEL: str(role), **(extra or {})}


def queue_labels(resource: MoAA) -> dict[str, str]:
    """Kueue's labels of the MoAA, for the children that Kueue is to admit."""
    return {name: value for name, value in resource.metadata.labels.items() if name.startswith(QUEUE_PREFIX)}


def metadata(
    owner: Owner,
    name: str,
    role: Role,
    *,
    made_from: Mapping[str, object],
    extra_labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    """The metadata of a child; `made_from` is what of the resource it depends on."""
    return {
        "name": name,
        "namespace": owner.namespace,
        "labels": labels(owner, role, extra_labels),
        "annotations": {HASH_ANNOTATION: digest_of(made_from), **(annotations or {})},
        "ownerReferences": [dict(owner.reference)],
    }
