"""What every child is rendered from (resource, owner, settings) and what it carries (labels, owner, digest).

The digest covers what the resource says, never what the operator's version or settings add. So an upgrade of the
operator leaves healthy children as they are, and an edit changes exactly the children it concerns.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from moaa.api import MoAA
from moaa.plan.canonical import digest_of
from moaa_operator.kube import kueue
from moaa_operator.kube.objects import Manifest
from moaa_operator.kube.owner import GROUP, HASH_ANNOTATION, ROLE_LABEL, RUN_LABEL, Owner, Role
from moaa_operator.settings import Settings

SERVER_LABEL = f"{GROUP}/server"
"""On all of a server, its pods too: its name. The only label of ours that its selectors use besides the run."""
RANKS_LABEL = f"{GROUP}/ranks"
"""On pods of a server over several machines: the declared model. Its pods reach each other."""
MANAGER = {"app.kubernetes.io/managed-by": "moaa-operator", "app.kubernetes.io/part-of": "moaa"}
STAY_ANNOTATIONS = {
    # Autoscalers that tidy up nodes would end hours of work to save minutes of a machine.
    "karpenter.sh/do-not-disrupt": "true",
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
}


@dataclass(frozen=True)
class Child:
    """The identity of a child."""

    name: str
    role: Role
    labels: Mapping[str, str] = field(default_factory=dict)
    """Besides those that all children have; its pods carry them, too."""
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RenderContext:
    """One MoAA and how the operator is set up. Everything in this room is a function of it."""

    resource: MoAA
    owner: Owner
    settings: Settings

    def labels(self, child: Child) -> dict[str, str]:
        """Of a child and of its pods."""
        return {**MANAGER, RUN_LABEL: self.owner.name, ROLE_LABEL: str(child.role), **child.labels}

    def queue_labels(self) -> dict[str, str]:
        """Kueue's labels of the MoAA, for the children that Kueue is to admit."""
        return kueue.labels_of(self.resource.metadata.labels)

    def queued(self, child: Child) -> Child:
        """The child as one that the MoAA's queue admits, where it has one.

        Not what its pods are labelled from: they are admitted with their Job or RayJob, and Kueue itself labels those
        of a server. A pod that says by itself that it is queued keeps a finalizer of Kueue's when it ends.
        """
        notes = kueue.asked(self.resource.metadata.labels)
        return replace(
            child, labels={**child.labels, **self.queue_labels()}, annotations={**child.annotations, **notes}
        )

    def metadata(self, child: Child, *, made_from: Mapping[str, object]) -> Manifest:
        """The metadata of a child; `made_from` is what of the resource it depends on."""
        return {
            "name": child.name,
            "namespace": self.owner.namespace,
            "labels": self.labels(child),
            "annotations": {HASH_ANNOTATION: digest_of(made_from), **child.annotations},
            "ownerReferences": [dict(self.owner.reference)],
        }
