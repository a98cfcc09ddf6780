"""What ties a child to its MoAA: names of labels and annotations, its role, the owner reference.

Every child lies in its owner's namespace and carries an owner reference, so Kubernetes removes it with the MoAA even
while no operator runs.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from moaa.api.resource import API_VERSION, KIND
from moaa_operator.kube.objects import Fields

GROUP = API_VERSION.partition("/")[0]
RUN_LABEL = f"{GROUP}/run"
"""On every child: the name of its MoAA. Informers select by it and find the owner through it."""
STAGE_LABEL = f"{GROUP}/stage"
"""On children of one stage: the stage's id."""
ROLE_LABEL = f"{GROUP}/role"
"""What the child is for: a `Role`."""
HASH_ANNOTATION = f"{GROUP}/hash"
"""Digest of what was rendered from the resource; an equal hash means that there is nothing to apply."""
FINGERPRINT_ANNOTATION = f"{GROUP}/fingerprint"
"""On children of a stage's attempt: the whole fingerprint of the stage."""
ATTEMPT_ANNOTATION = f"{GROUP}/attempt"
"""On children of a stage's attempt: its number, from 1."""
MODEL_ANNOTATION = f"{GROUP}/model"
"""On servers: the model's name as stages use it, for example `qwen` or `@i1-sft`."""
QUEUE_ANNOTATION = f"{GROUP}/queue"
"""On what a queue is to admit: the queue it was made for."""
TEMPLATE_ANNOTATION = f"{GROUP}/template"
"""On a server over several machines and on its pods: digest of what the pods were made from."""
GANG_ANNOTATION = f"{GROUP}/gang"
"""On servers that a queue admits together: the name of their pod group."""
JOB_FILE = "job.json"
"""In a job's ConfigMap: the key under which it finds what it reads."""


class Role(StrEnum):
    """What a child is for: the value of ROLE_LABEL."""

    SERVER = "server"
    STAGE = "stage"
    FINALISE = "finalise"
    INSPECT = "inspect"
    PREFLIGHT = "preflight"


Check = Literal[Role.INSPECT, Role.PREFLIGHT]
"""Roles of Jobs that ask the store and make nothing."""


@dataclass(frozen=True)
class Owner:
    """A MoAA in the cluster."""

    name: str
    namespace: str
    uid: str

    @property
    def run(self) -> str:
        """`<namespace>-<name>-<uid>`: the run's folder in the store."""
        return f"{self.namespace}-{self.name}-{self.uid}"

    @property
    def reference(self) -> dict[str, object]:
        """The owner reference that every child carries."""
        return {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }


def owner_of(document: Fields) -> Owner:
    meta = document["metadata"]
    return Owner(name=str(meta["name"]), namespace=str(meta["namespace"]), uid=str(meta["uid"]))
