"""All that a report rests on, as plain values: what `collect` read, before anything is computed or drawn.

A view holds aggregates and a few sample rows, never a whole table of conversations: reports stay small however large
the run is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NotRequired, TypedDict

from moaa.api import MoAA, MoAASpec
from moaa.plan.budget.spent import Account
from moaa.plan.stage import Stage
from moaa.rows import AnchorRow, AnswerRow, ConversationRow, PairRow, ScoreRow
from moaa.run.tally import Tally
from moaa.run.trail import Compared, Trail
from moaa.store.stages.manifest import StageManifest

StageStatus = Literal["done", "started", "failed", "waiting"]
"""`started`: its work is in the store but no manifest. A store cannot say whether a process runs right now."""


class CurveRow(TypedDict):
    """One logged optimiser step of `sft` or `dpo`; the reward columns are those of DPO."""

    step: int
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    """Seen so far."""
    reward_accuracy: NotRequired[float | None]
    reward_margin: NotRequired[float | None]
    reward_chosen: NotRequired[float | None]
    reward_rejected: NotRequired[float | None]
    eval_loss: NotRequired[float | None]
    eval_reward_accuracy: NotRequired[float | None]
    eval_reward_margin: NotRequired[float | None]


@dataclass(frozen=True)
class StageView:
    """One stage of the graph and what the store holds of it."""

    stage: Stage
    status: StageStatus
    manifest: StageManifest | None = None
    path: str | None = None
    """Its folder in the store; None while its inputs are not known."""
    attempts: int = 0
    """Highest attempt any shard has seen; 0 before the first."""
    wall_seconds: float | None = None
    """From the start of its servers to the end of its job, over all recorded attempts; None without a record."""
    spared_gpu_seconds: float = 0.0
    """Of a stage that is done: what servers that its attempts let go before its end were not held for, as recorded."""
    problem: str = ""
    """What ended the last attempt of a stage that is not done, as the executor recorded it."""
    resource: MoAA | None = None
    """The resource that it was made with, as its closed iteration recorded it; None: the run's resource."""
    is_outdated: bool = False
    """A stage of iteration 0 that a closed iteration has and the run's resource as it is now does not make."""


@dataclass(frozen=True)
class Contrast:
    """One evaluation prompt as two students answered it."""

    before: AnswerRow
    after: AnswerRow


@dataclass(frozen=True)
class Unchanged:
    """A student that answered everything to the letter as the one before it."""

    stage: str
    """That measured it."""
    student: str
    """Both as `@<stage>`, `before` perhaps as the declared name."""
    before: str
    """The student that it was trained from; of averaged weights, the trained one."""
    answers: int


@dataclass(frozen=True)
class RunView:
    resource: MoAA
    run: str
    """`<namespace>-<name>-<uid>`."""
    stages: tuple[StageView, ...]
    """In the order of the graph."""
    scores: Mapping[str, tuple[ScoreRow, ...]] = field(default_factory=dict)
    """By evaluate stage."""
    starts: Mapping[int, tuple[ScoreRow, ...]] = field(default_factory=dict)
    """By closed iteration: the scores of iteration 0 that it was closed on; absent where its record does not say."""
    anchors: Mapping[str, tuple[AnchorRow, ...]] = field(default_factory=dict)
    """By stage anchors: what judges made of pairs with a known answer; of a stage that is not done, as far as it came:
    a judge below its floor ends it after the last pair."""
    tallies: Mapping[str, Tally] = field(default_factory=dict)
    """By judge stage."""
    pairs: Mapping[str, Mapping[str, PairRow]] = field(default_factory=dict)
    """By judge stage and prompt: the pairs of the prompts that the tally kept as samples."""
    trails: Mapping[str, Trail] = field(default_factory=dict)
    """By judge and evaluate stage: what judges said."""
    compared: Mapping[str, tuple[Compared, ...]] = field(default_factory=dict)
    """By judge and evaluate stage: the comparisons that its trail has drawn."""
    curves: Mapping[str, tuple[CurveRow, ...]] = field(default_factory=dict)
    """By training stage, in step order."""
    conversations: Mapping[str, tuple[ConversationRow, ...]] = field(default_factory=dict)
    """A few, by generate stage."""
    contrasts: tuple[Contrast, ...] = ()
    """Where start and promoted student differ most on the first benchmark of the headline."""
    unchanged: tuple[Unchanged, ...] = ()
    """Students whose training changed no answer."""
    account: Account = field(default_factory=dict)
    """What the run has spent; empty without `spec.budget`."""
    unreadable: tuple[str, ...] = ()
    """Sentences that say which finished part could not be read, and why."""

    def of(self, stage_id: str) -> StageView | None:
        """The stage of that id, or None when the graph has none."""
        return next((s for s in self.stages if s.stage.id == stage_id), None)

    def spec_of(self, stage: StageView) -> MoAASpec:
        """What the stage was made with, whatever was edited since its iteration was closed."""
        return (stage.resource or self.resource).spec
