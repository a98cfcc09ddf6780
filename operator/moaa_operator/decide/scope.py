"""The state of one decision: what was observed, what follows from it so far, and what is to be done.

One call of `reconcile` fills it step by step and throws it away.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from moaa.api import MoAA
from moaa.api.attempts import StageAttempts, Step
from moaa.api.status import StageSpent
from moaa.plan.budget.spent import Account, Spent
from moaa.plan.ready import Decision, Held
from moaa.plan.result import StageResult
from moaa.weights.served import ServedModel
from moaa_operator.decide import attempts
from moaa_operator.decide.renderer import Rendering
from moaa_operator.kube import kueue
from moaa_operator.kube.kinds import maker_in
from moaa_operator.kube.objects import Manifest, Problem, name_of
from moaa_operator.kube.owner import HASH_ANNOTATION, Check, Role
from moaa_operator.observe.observed import Observed, Server
from moaa_operator.settings import Settings
from moaa_operator.tell.run_state import Servers

PREFLIGHT: Final = Role.PREFLIGHT
INSPECT: Final = Role.INSPECT
CHECKS: tuple[Check, ...] = (PREFLIGHT, INSPECT)
"""Entries among a run's attempts that ask the store and make nothing."""


@dataclass
class Scope:
    observed: Observed
    now: datetime
    settings: Settings
    render: Rendering
    resource: MoAA
    known: dict[str, StageResult]
    """Every result, whether it holds or not."""
    entries: dict[str, StageAttempts]
    held: Held = field(default_factory=Held)
    decision: Decision = field(default_factory=Decision)
    """The plan's."""
    account: Account = field(default_factory=dict)
    """What the run has spent by now."""
    metered: dict[tuple[str, str], Spent] = field(default_factory=dict)
    """Of that, the part of the attempts that the status names."""
    closed: list[StageSpent] = field(default_factory=list)
    """Of that, what belongs to no attempt any more."""
    over_budget: str = ""
    """Which limits hold stages, what is spent and what is left; empty: none does."""
    postponed: dict[str, str] = field(default_factory=dict)
    """Stages that the plan would start but that wait, and why."""
    blocked: list[Problem] = field(default_factory=list)
    wake: list[datetime] = field(default_factory=list)
    """When to look again though nothing has happened."""
    apply: list[Manifest] = field(default_factory=list)
    create: list[Manifest] = field(default_factory=list)
    kept_servers: set[str] = field(default_factory=set)
    """Names of servers that are to exist."""
    servers: Servers | None = None
    """None while no stage needs any."""

    @property
    def place_within(self) -> timedelta:
        """How long pods may wait for machines before all of their stage's are given back."""
        return timedelta(minutes=self.resource.spec.serving.schedule_minutes)

    @property
    def queue(self) -> str:
        """The queue that admits what the run makes; empty: none."""
        return kueue.queue_of(self.resource.metadata.labels)

    @property
    def is_queued(self) -> bool:
        """Something of the run waits for quota."""
        jobs, servers = self.observed.children, self.observed.servers
        return any(child.is_queued for child in jobs) or any(server.is_queued for server in servers)

    def running(self) -> list[StageAttempts]:
        """Attempts of stages that are under way, in graph order."""
        found = [self.entries[name] for name in self.held.graph.stages if name in self.entries]
        return [entry for entry in found if entry.step is not None]

    def put(self, entry: StageAttempts) -> None:
        self.entries[entry.stage] = entry

    def fail(self, entry: StageAttempts, reason: str, message: str, *, is_permanent: bool = False) -> None:
        """The attempt under way has failed."""
        failed = attempts.failed(
            entry,
            reason=reason,
            message=message,
            is_permanent=is_permanent,
            now=self.now,
            run=self.observed.owner.uid,
            settings=self.settings,
        )
        self.put(attempts.edited(failed, self.observed.generation))

    def release(self, entry: StageAttempts, message: str) -> None:
        """Its servers, or its Ray cluster, found no machines in time."""
        minutes, run = self.resource.spec.serving.schedule_minutes, self.observed.owner.uid
        self.put(attempts.released(entry, message=message, now=self.now, run=run, minutes=minutes))

    def preempt(self, entry: StageAttempts, message: str) -> None:
        """Its queue took its quota away."""
        run = self.observed.owner.uid
        self.put(attempts.preempted(entry, message=message, now=self.now, run=run, settings=self.settings))

    def begin(self, entry: StageAttempts, step: Step, *, turn: str | None = None) -> None:
        self.put(attempts.begin(entry, step, now=self.now, turn=turn))

    def hash_of(self, manifest: Manifest) -> str:
        """Of what it was rendered from."""
        return str(manifest["metadata"].get("annotations", {}).get(HASH_ANNOTATION, ""))

    def wanted(
        self, models: Iterable[ServedModel], replicas: Mapping[str, int]
    ) -> dict[ServedModel, tuple[list[Manifest], Server | None]]:
        """Manifests of each model's server, and the server if it exists; `replicas` as `Rendering.servers`.

        Raises:
            ResourceError: weights that pods cannot reach, or a template that says what it may not.
        """
        up = {server.ref.name: server for server in self.observed.servers}
        found: dict[ServedModel, tuple[list[Manifest], Server | None]] = {}
        for served in models:
            manifests = self.render.servers([served], replicas)
            found[served] = manifests, up.get(name_of(maker_in(manifests)))
        return found
