"""All that a decision about one MoAA rests on, as frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from moaa.api.status import MoAAStatus, StageProgress
from moaa.plan.budget.spent import Tokens
from moaa_operator.kube.objects import Object, Place, Problem, Ref
from moaa_operator.kube.owner import Owner, Role
from moaa_operator.observe.pods import Termination


class End(StrEnum):
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@dataclass(frozen=True)
class Child:
    """A Job, RayJob or ConfigMap of one attempt of a stage, or of a check of the store."""

    ref: Ref
    role: Role
    stage: str
    fingerprint: str
    attempt: int
    is_leaving: bool = False
    end: End = End.RUNNING
    created: datetime | None = None
    terminations: tuple[Termination, ...] = ()
    """How its containers ended, those that are still known."""
    problem: Problem | None = None
    """Why it does not go on, or how it failed in Kubernetes' words."""
    progress: StageProgress | None = None
    """How far it is, as far as its pods or its shards tell."""
    tokens: Mapping[str, Tokens] = field(default_factory=dict)
    """By model: what its calls have cost, as far as its pods tell."""
    finished_with: frozenset[str] = frozenset()
    """Of a Job: models that none of its shards will ask again, as far as its pods tell."""
    is_running: bool = False
    """At least one of its pods runs; of a RayJob: its head does."""
    began: datetime | None = None
    """Since when it holds its machines: of a Job when it was made; of a RayJob when its driver began."""
    ended: datetime | None = None
    lost_since: datetime | None = None
    """Of a RayJob that says it runs: when its head, and the driver with it, was replaced by another."""
    unplaced_since: datetime | None = None
    """Of a RayJob: since when a pod of its cluster finds no machine."""
    told_to_go: datetime | None = None
    """Of a Job: by when a pod that is being deleted should have ended, the earliest of those that have not. Until it
    ends, the Job makes no other in its place."""
    job_file: str = ""
    """Of a ConfigMap: what its job reads, as JSON."""
    is_silent: bool = False
    """It should have pods and has none."""
    queue: str = ""
    """The queue it was made for; empty: none."""
    is_queued: bool = False
    """It is suspended until its queue has quota for it."""
    is_evicted: bool = False
    """It is queued, and had its quota before."""

    @property
    def is_work(self) -> bool:
        """Whether it runs something; a ConfigMap does not."""
        return self.ref.kind != "ConfigMap"

    @property
    def is_live(self) -> bool:
        """May still hold machines."""
        return self.is_work and (self.end is End.RUNNING or self.is_leaving)


@dataclass(frozen=True)
class Server:
    """A model server's Deployment or LeaderWorkerSet with its pods. A replica of the latter is a group of pods."""

    ref: Ref
    model: str
    hash: str
    is_ready: bool = False
    """At least one replica answers."""
    is_leaving: bool = False
    replicas: int = 1
    """As the object asks."""
    created: datetime | None = None
    unscheduled_since: datetime | None = None
    """No replica has a machine; since when the first waits for one."""
    scheduled_at: datetime | None = None
    """When the first replica got its machine, or all of its machines."""
    begun: datetime | None = None
    """Of groups: since when they may look for machines, made or admitted by their queue. A group whose pod ends gets
    new pods, which know nothing of those before them."""
    restarts: int = 0
    problem: Problem | None = None
    queue: str = ""
    """The queue it was made for; empty: none."""
    gang: str = ""
    """The pod group that a queue admits it with."""
    is_queued: bool = False
    """None of its pods has a machine, and one waits for its queue to have quota for it."""
    is_evicted: bool = False
    """Its Workload has lost its quota."""


@dataclass(frozen=True)
class Observed:
    """Everything a decision about one MoAA rests on."""

    owner: Owner
    generation: int
    document: Object
    """The MoAA as the API server has it."""
    status: MoAAStatus
    is_leaving: bool = False
    children: tuple[Child, ...] = ()
    servers: tuple[Server, ...] = ()
    services: Mapping[str, Ref] = field(default_factory=dict)
    """Services of servers, by name."""
    service_hashes: Mapping[str, str] = field(default_factory=dict)
    missing: frozenset[str] = frozenset()
    """Kinds of children that the cluster does not know."""
    refusals: Mapping[Place, Problem] = field(default_factory=dict)
    """What the API server would not let the operator make just now."""
