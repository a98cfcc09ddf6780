"""Messages as JSON: from the driver to every worker, and from rank 0 to the driver at the end.

It holds no local path of the driver but file:// sources, which the user must have put on every machine, and no secret:
workers read those from their own environment.
"""

import math
from typing import Literal, assert_never

from pydantic import BaseModel, ConfigDict, Field

from moaa.api import MoAA
from moaa.api.training import Dpo, Sft
from moaa.plan.result import Output
from moaa.plan.stage import Kind
from moaa.store.stages.manifest import ObjectRef
from moaa.weights.find import ModelWeights

SHARD = "train"
"""The one shard of a training stage."""


class TrainingRefused(Exception):
    """A training cannot go on, and another attempt would end in the same way: weights of no use, a diverged loss, too
    little memory."""


class _Message(BaseModel):
    # JSON has no infinity: as null it could not be read again.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Resume(_Message):
    """The checkpoint a new attempt goes on from."""

    folder: str
    """Relative to the stage's checkpoint folder: `<run name>/step-<n>`."""
    step: int = Field(ge=1)
    weights_only: bool = False
    """Its optimiser is split over another number of workers, so only the weights are taken."""


TrainingKind = Literal[Kind.SFT, Kind.DPO]


def optimization(resource: MoAA, kind: TrainingKind) -> Sft | Dpo:
    """The part of `spec.training` that a stage of this kind carries out."""
    training = resource.spec.training
    match kind:
        case Kind.SFT:
            spec: Sft | Dpo | None = training.sft
        case Kind.DPO:
            spec = training.dpo
        case _:
            assert_never(kind)
    assert spec is not None, "the plan makes no stage for a part that is left out"
    return spec


class LoopConfig(_Message):
    resource: MoAA
    kind: TrainingKind
    stage_path: str
    run_name: str
    """Of the Ray run, unique to this attempt; its checkpoints lie under it."""
    attempt: int
    student: ModelWeights
    ref_model: ModelWeights | None = None
    tokens_key: str
    """The encoded rows in the store."""
    tokens_digest: str
    held_out: int = 0
    """How many of the encoded rows, the last ones, are measured and not trained on."""
    resume: Resume | None = None

    @property
    def spec(self) -> Sft | Dpo:
        return optimization(self.resource, self.kind)

    @property
    def workers(self) -> int:
        return self.resource.spec.training.resources.workers

    @property
    def on_gpu(self) -> bool:
        return self.resource.spec.training.resources.gpus_per_worker > 0

    @property
    def checkpoints(self) -> str:
        return checkpoint_folder(self.stage_path)


def checkpoint_folder(stage_path: str) -> str:
    """Where the attempts of a stage keep what only a later attempt of it needs."""
    return f"{stage_path}/checkpoints"


class CurveRow(_Message):
    """One optimiser step as logged."""

    step: int
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    """Seen since the first step, prompts included, padding not."""
    reward_accuracy: float | None = None
    """dpo: part of the pairs whose chosen answer has the higher implicit reward."""
    reward_margin: float | None = None
    """dpo: mean of beta × (log-ratio of chosen − log-ratio of rejected)."""
    reward_chosen: float | None = None
    """dpo: mean of beta × the log-ratio of chosen to the ref_model's."""
    reward_rejected: float | None = None
    eval_loss: float | None = None
    """Of the held-out rows after this step, where they were looked at: the mean of their own mean losses."""
    eval_reward_accuracy: float | None = None
    eval_reward_margin: float | None = None

    @property
    def is_sound(self) -> bool:
        """Whether loss and gradient are finite; else the step is lost."""
        return math.isfinite(self.loss) and math.isfinite(self.grad_norm)


class LoopResult(_Message):
    """What rank 0 returns; everything else it made is in the store."""

    model: Output
    files: list[ObjectRef]
    curve: list[CurveRow]
    """Losses and gradient norms may be infinite or not a number."""
    resumed_step: int
    """0 when training began at the start."""
    packed: bool
    packing_refused: bool = False
    """As in LoopProgress."""
    kept_step: int | None = None
    """Whose weights the model has, where the best ones are kept."""
    stopped_early: bool = False
    """`patience` ended the training before its last step."""
    checkpoints_late: int = 0
    """How many had to wait, while training went on, until the one before was in the store."""
    seconds: dict[str, float]
    """Wall time of rank 0 by phase; `checkpoints` is part of `train`."""


class LoopProgress(_Message):
    """What rank 0 leaves in the store now and then for the driver to show."""

    phase: Literal["loading", "scoring", "training", "exporting"]
    step: int = 0
    steps: int = 0
    loss: float | None = None
    tokens_per_s: float | None = None
    resumed_step: int = 0
    packing_refused: bool = False
    """Packing was asked for, and the probe of the model showed that rows would see each other."""


def run_name(fingerprint: str, attempt: int, drawn: str) -> str:
    """Of an attempt's Ray run and its scratch folders; never used twice. `drawn` at random sets it apart from the same
    attempt at the same stage for another store, on this machine."""
    return f"{fingerprint[:8]}-{attempt}-{drawn}"


def progress_key(config: LoopConfig) -> str:
    return f"{config.checkpoints}/{config.run_name}/progress.json"


def stall_folder(config: LoopConfig) -> str:
    """Where the driver asks workers that stand still, and they answer."""
    return f"{config.checkpoints}/{config.run_name}/stall"


def refusal_key(config: LoopConfig) -> str:
    """Where a worker leaves why the attempt's training cannot succeed."""
    return f"{config.checkpoints}/{config.run_name}/refused.txt"
