"""The kinds of objects that the operator reads or writes, their places in the API, and which of them make the pods of
model servers. Pure.

A server on one machine is a Deployment, one pod a replica. A server over several machines is a LeaderWorkerSet
(sigs.k8s.io/lws): each replica is a group of a leader, which answers, and workers; a group lives and dies as one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from moaa_operator.kube.objects import Fields, Manifest


@dataclass(frozen=True)
class Kind:
    """A kind of object and its place in the API."""

    api_version: str
    kind: str
    plural: str

    def path(self, namespace: str | None, name: str | None = None, sub: str | None = None) -> str:
        """The URL's path of one object, or of all; `namespace` None: in every namespace.

        >>> JOB.path("team", "x", "status")
        '/apis/batch/v1/namespaces/team/jobs/x/status'
        """
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        parts = [root, *(["namespaces", namespace] if namespace else []), self.plural, name, sub]
        return "/".join(part for part in parts if part)


MOAA = Kind("moaa.dev/v1alpha1", "MoAA", "moaas")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
LEADER_WORKER_SET = Kind("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", "leaderworkersets")
SERVICE = Kind("v1", "Service", "services")
JOB = Kind("batch/v1", "Job", "jobs")
RAYJOB = Kind("ray.io/v1", "RayJob", "rayjobs")
POD = Kind("v1", "Pod", "pods")
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
EVENT = Kind("v1", "Event", "events")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
WORKLOADS = (
    Kind("kueue.x-k8s.io/v1beta2", "Workload", "workloads"),
    Kind("kueue.x-k8s.io/v1beta1", "Workload", "workloads"),
)
"""Kueue's, in the versions that releases in use serve, the newest first."""
CHILDREN = (DEPLOYMENT, LEADER_WORKER_SET, SERVICE, JOB, RAYJOB, POD, CONFIG_MAP)
"""What the operator makes, and the pods that come of it."""
BY_NAME: Mapping[str, Kind] = {kind.kind: kind for kind in (*CHILDREN, NETWORK_POLICY)}

LWS = "leaderworkerset.sigs.k8s.io/"
SET_LABEL = f"{LWS}name"
"""On every pod of a LeaderWorkerSet: its name."""
GROUP_LABEL = f"{LWS}group-index"
RANK_LABEL = f"{LWS}worker-index"
"""On every pod: its place in the group. The leader's is 0."""
LEADER = "0"


class ServerKind(StrEnum):
    """What makes a server's pods."""

    DEPLOYMENT = DEPLOYMENT.kind
    """On one machine."""
    GROUPS = LEADER_WORKER_SET.kind
    """Over several machines."""


def kind_for(nodes: int) -> ServerKind:
    """What makes the pods of a server over so many machines."""
    return ServerKind.GROUPS if nodes > 1 else ServerKind.DEPLOYMENT


def kind_of(item: Fields) -> ServerKind:
    """Of an object that makes pods. Raises ValueError: it is none of the kinds."""
    return ServerKind(item["kind"])


def maker_in(manifests: Iterable[Manifest]) -> Manifest:
    """Of a server's manifests the one that makes its pods."""
    return next(manifest for manifest in manifests if manifest["kind"] in set(ServerKind))
