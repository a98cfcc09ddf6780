"""Names of a run's objects: one formula for every kind of child.

A name is `<run>-<what>-<hash>`. Run and what are for people. The hash makes it unique: six letters and digits of a
digest over the resource's UID (objects of a deleted run must not be in the way of its successor), the kind of child,
its stage, fingerprint and attempt. Long names are cut before the hash, so two never meet. Every name is a DNS-1035
label, since a resource's name starts with a letter.
"""

import base64
import hashlib
import json

from moaa_operator.kube.owner import Owner

MAX_RAYJOB = 47
"""KubeRay refuses longer ones: it appends to them for the cluster, its pods and its Service."""
MAX_NAME = 57
"""Of everything else: a pod of an Indexed Job is called `<job>-<index>`, a label of 63 characters at most."""
MAX_GROUPS = 48
"""Of a LeaderWorkerSet of up to 256 groups: a label with `<name>-<group>-<ten letters>` is on its pods."""
HASH_LENGTH = 6


def child(owner: Owner, what: str, *identity: str, limit: int = MAX_NAME) -> str:
    """The name of a child; equal for equal arguments.

    `what` is lower case, digits and inner hyphens; `identity` is what else tells it apart.

    >>> child(Owner("demo", "ns", "u"), "i1-sft-a1", "f" * 64)[:15]
    'demo-i1-sft-a1-'
    """
    everything = json.dumps([owner.name, owner.uid, what, *identity])
    digest = base64.b32encode(hashlib.sha256(everything.encode()).digest()).decode().lower()[:HASH_LENGTH]
    readable = f"{owner.name}-{what}"[: limit - HASH_LENGTH - 1].rstrip("-")
    return f"{readable}-{digest}"


def attempt_of(owner: Owner, stage: str, fingerprint: str, attempt: int, *, limit: int = MAX_NAME) -> str:
    """Objects of one attempt of a stage."""
    return child(owner, f"{stage}-a{attempt}", "attempt", fingerprint, limit=limit)


def finalise_of(owner: Owner, stage: str, fingerprint: str, attempt: int) -> str:
    """The light Job that publishes the stage's manifest after an attempt."""
    return child(owner, f"{stage}-a{attempt}-end", "finalise", fingerprint)


def gang_of(owner: Owner, stage: str, fingerprint: str, attempt: int, members: list[str]) -> str:
    """The pod group of servers that an attempt brings up together."""
    return child(owner, f"{stage}-a{attempt}-servers", "gang", fingerprint, *members)


def server_of(owner: Owner, model: str, digest: str, nodes: int = 1) -> str:
    """What serves one model's weights, on one machine or over `nodes`, and its Service."""
    if nodes == 1:
        return child(owner, model, "server", digest)
    return child(owner, model, "server", digest, f"{nodes} nodes", limit=MAX_GROUPS)
