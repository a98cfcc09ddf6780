"""How a run stands after a decision, in a form that status, conditions and events are written from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from moaa.api import MoAA
from moaa.api.attempts import StageAttempts, Step
from moaa.api.status import RepeatedStage, StageProgress
from moaa.plan.result import StageResult
from moaa.plan.stage import Graph
from moaa_operator.observe.pods import Problem


@dataclass(frozen=True)
class View:
    """One run at one moment. Everything optional is None while it does not apply."""

    generation: int
    now: datetime
    resource: MoAA | None
    """None: the document is refused."""
    refusal: str = ""
    graph: Graph = field(default_factory=Graph)
    results: Mapping[str, StageResult] = field(default_factory=dict)
    """Those that hold."""
    aside: Mapping[str, StageResult] = field(default_factory=dict)
    attempts: Mapping[str, StageAttempts] = field(default_factory=dict)
    waiting: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    is_finished: bool = False
    is_stuck: bool = False
    storage: StageAttempts | None = None
    """The preflight."""
    servers: Problem | None = None
    """Why servers that a stage waits for are not up."""
    are_servers_ready: bool | None = None
    training: Problem | None = None
    """Why the training that should run does not."""
    is_training: bool = False
    blocked: tuple[Problem, ...] = ()
    """What waits for a person: nothing in the run itself will change it."""
    hindered: Mapping[str, Problem] = field(default_factory=dict)
    """Stages whose Job or RayJob exists and does not work, and why."""
    repeating: tuple[RepeatedStage, ...] = ()
    """What an edit makes the run do again."""
    progress: Mapping[str, StageProgress] = field(default_factory=dict)
    """By stage."""

    @property
    def stage(self) -> str | None:
        """The stage that is furthest at work, else the first that is not done."""
        order = (Step.WORK, Step.FINALISE, Step.SERVERS)
        open_stages = [self.attempts[name] for name in self.graph.stages if name in self.attempts]
        running = [(order.index(entry.step), entry.stage) for entry in open_stages if entry.step is not None]
        if running:
            return min(running, key=lambda place: place[0])[1]
        return next((name for name in self.graph.stages if name not in self.results), None)
