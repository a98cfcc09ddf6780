"""The state of a run after a decision. Status, conditions and Events are written from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from moaa.api import MoAA
from moaa.api.attempts import StageAttempts, Step
from moaa.api.status import RepeatedStage, StageProgress, StageSpent
from moaa.plan.budget.spent import Account
from moaa.plan.ready import Decision, Held
from moaa_operator.kube.objects import Problem


@dataclass(frozen=True)
class Servers:
    """The model servers that stages need now."""

    problem: Problem | None
    """Why not all of them answer; None: they do."""


@dataclass(frozen=True)
class Training:
    """A training that is under way or due."""

    problem: Problem | None
    """Why it does not run; None: it does."""


@dataclass(frozen=True)
class RunState:
    """One run at one moment. Everything optional is None while it does not apply."""

    generation: int
    now: datetime
    resource: MoAA | None
    """None: the document is refused."""
    refusal: str = ""
    held: Held = field(default_factory=Held)
    decision: Decision = field(default_factory=Decision)
    """The plan's."""
    attempts: Mapping[str, StageAttempts] = field(default_factory=dict)
    """Of stages and of checks of the store, by name."""
    postponed: Mapping[str, str] = field(default_factory=dict)
    """Stages that the plan would start but that wait, and why."""
    storage: StageAttempts | None = None
    """The preflight."""
    servers: Servers | None = None
    training: Training | None = None
    blocked: tuple[Problem, ...] = ()
    """What waits for a person: nothing in the run itself will change it."""
    hindered: Mapping[str, Problem] = field(default_factory=dict)
    """Stages whose Job or RayJob exists and does not work, and why."""
    repeating: tuple[RepeatedStage, ...] = ()
    """What an edit makes the run do again."""
    over_budget: str = ""
    """Which limits of `spec.budget` hold stages, what is spent and what is left; empty: none does."""
    spent: tuple[StageSpent, ...] = ()
    """By stages that are not under way."""
    account: Account = field(default_factory=dict)
    """All that is spent by now."""
    progress: Mapping[str, StageProgress] = field(default_factory=dict)
    """By stage."""

    @property
    def waiting(self) -> dict[str, str]:
        """Why each stage waits that could not start: the plan's reasons, then those of store and cluster."""
        return {**self.decision.waiting, **self.postponed}

    @property
    def stage(self) -> str | None:
        """The stage that is furthest at work, else the first that is not done."""
        order = (Step.WORK, Step.FINALISE, Step.SERVERS)
        open_stages = [self.attempts[name] for name in self.held.graph.stages if name in self.attempts]
        running = [(order.index(entry.step), entry.stage) for entry in open_stages if entry.step is not None]
        if running:
            return min(running, key=lambda place: place[0])[1]
        return next((name for name in self.held.graph.stages if name not in self.held.results), None)
