"""The desk on which one decision is made: what was observed, what is known by now, and what is to be done.

Filled step by step within one call of `reconcile` and thrown away after it; nothing outside sees it.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from moaa.api import MoAA
from moaa.api.attempts import StageAttempts, Step
from moaa.plan.result import Identity, StageResult
from moaa.plan.stage import Graph
from moaa_operator.decide import attempts
from moaa_operator.decide.renderer import Manifest, Renderer
from moaa_operator.decide.served import ServedModel
from moaa_operator.kube.owner import HASH_ANNOTATION
from moaa_operator.observe.pods import Problem
from moaa_operator.observe.read import Observed, Server
from moaa_operator.settings import Settings

PREFLIGHT, INSPECT = "preflight", "inspect"
CHECKS = (PREFLIGHT, INSPECT)
"""Entries among a run's attempts that ask the store and make nothing."""


@dataclass
class Work:
    observed: Observed
    now: datetime
    settings: Settings
    render: Renderer
    resource: MoAA
    known: dict[str, StageResult]
    """Every result, whether it holds or not."""
    entries: dict[str, StageAttempts]
    graph: Graph = field(default_factory=Graph)
    results: dict[str, StageResult] = field(default_factory=dict)
    """Those that hold under the resource as it is."""
    aside: dict[str, StageResult] = field(default_factory=dict)
    identities: dict[str, Identity] = field(default_factory=dict)
    """Of stages that have no result and all inputs."""
    waiting: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    is_finished: bool = False
    is_stuck: bool = False
    blocked: list[Problem] = field(default_factory=list)
    wake: list[datetime] = field(default_factory=list)
    """When to look again though nothing has happened."""
    apply: list[Manifest] = field(default_factory=list)
    create: list[Manifest] = field(default_factory=list)
    kept_servers: set[str] = field(default_factory=set)
    """Names of Deployments that are to exist."""
    servers: Problem | None = None
    are_servers_ready: bool | None = None

    @property
    def place_within(self) -> timedelta:
        """How long pods may wait for machines before all of their stage's are given back."""
        return timedelta(minutes=self.resource.spec.serving.schedule_minutes)

    def running(self) -> list[StageAttempts]:
        """Attempts of stages that are under way, in graph order."""
        found = [self.entries[name] for name in self.graph.stages if name in self.entries]
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

    def begin(self, entry: StageAttempts, step: Step, *, turn: str | None = None) -> None:
        self.put(attempts.begin(entry, step, now=self.now, turn=turn))

    def hash_of(self, manifest: Manifest) -> str:
        """Of what it was rendered from."""
        return str(manifest["metadata"].get("annotations", {}).get(HASH_ANNOTATION, ""))

    def deployments(self, models: list[ServedModel]) -> dict[ServedModel, tuple[list[Manifest], Server | None]]:
        """Manifests of each model's server, and its Deployment if it exists.

        Raises:
            ResourceError: weights that pods cannot reach, or a template that says what it may not.
        """
        up = {server.ref.name: server for server in self.observed.servers}
        found: dict[ServedModel, tuple[list[Manifest], Server | None]] = {}
        for served in models:
            manifests = self.render.servers([served], self.resource, self.observed.owner, self.settings)
            names = [m["metadata"]["name"] for m in manifests if m["kind"] == "Deployment"]
            found[served] = manifests, next((up[name] for name in names if name in up), None)
        return found
