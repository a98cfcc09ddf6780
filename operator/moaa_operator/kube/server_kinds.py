"""The kinds of object that make a model server's pods, and what tells them apart wherever they are made or read. Pure.

A server on one machine is a Deployment, one pod a replica. A server over several machines is a LeaderWorkerSet
(sigs.k8s.io/lws): each replica is a group of a leader, which answers, and workers; a group lives and dies as one.
"""

from collections.abc import Iterable
from enum import StrEnum

from moaa_operator.kube.kinds import DEPLOYMENT, LEADER_WORKER_SET
from moaa_operator.kube.objects import Fields, Manifest

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
