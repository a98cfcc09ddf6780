"""How the student is trained. Defaults are the paper's for Llama-3.1-8B (§4.1, App. A), or marked as ours."""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from moaa.api.base import Fraction, NonNegative, Positive, Spec
from moaa.api.mixture import FinalSampling, WhenCut


class TrainingResources(Spec):
    """Ray Train workers. batchSize is over all of them."""

    workers: Annotated[int, Field(ge=1, le=1024)] = 1
    """Ray Train workers."""
    gpus_per_worker: Annotated[int, Field(ge=0, le=1)] = 1
    """A Ray Train worker drives one GPU; 0 trains on the CPU."""
    gpu_memory_gib: Annotated[Positive, Field(le=65536)] | None = None
    """Memory of one of these GPUs, for instance "80". Training that cannot fit is refused before anything is asked."""
    cpus_per_worker: Annotated[int, Field(ge=1, le=256)] = 1
    """CPU cores of one worker."""
    memory_gib: Annotated[Positive, Field(le=65536)] | None = None
    """Memory of one worker; None: decided by the executor."""
    max_failures: Annotated[int, Field(ge=0, le=100)] = 3
    """Worker losses Ray Train repairs inside one attempt. Attempts multiply them: the workers start at most
    (maxFailures + 1) × (failures.retries + 1) times without getting further."""
    stall_minutes: Annotated[int, Field(ge=1, le=1440)] = 10
    """An attempt in which no worker has finished a micro-step for so long ends, and the next goes on from its newest
    checkpoint. Loading, checkpoints and the export do not count."""
    template: dict[str, Any] = {}
    """Pod template overrides of the workers (Kubernetes only)."""


class Precision(StrEnum):
    """Of weights and activations; optimiser state is FP32 in both."""

    BF16 = "BF16"
    """16 bits with the range of 32 (bfloat16): half the memory, and what GPUs are fast in."""
    FP32 = "FP32"
    """32 bits."""


class LearningRateSchedule(StrEnum):
    """How the learning rate falls after its warm-up."""

    COSINE = "Cosine"
    """Half a cosine, as SimPO (ours, default)."""
    LINEAR = "Linear"
    """A straight line."""
    CONSTANT = "Constant"
    """It stays at learningRate."""


class TooLong(StrEnum):
    """What becomes of a row of more than maxLength tokens. An answer is never cut."""

    FAIL = "Fail"
    """It is a failed row (default)."""
    DROP = "Drop"
    """It is left out and counted, apart from failures.maxFraction."""
    CUT_PROMPT = "CutPrompt"
    """Its oldest turns go, then the middle of the longest text before the answer, which is marked. It is counted. A row
    whose answer leaves no room for a prompt fails."""


class Keep(StrEnum):
    """Which weights of a training become its model."""

    LAST = "Last"
    """Those after the last step (default)."""
    BEST = "Best"
    """Those with the lowest loss of the held-out rows, of all steps after which it was looked at."""


class Lora(Spec):
    """Low-rank adapters (LoRA, arXiv 2106.09685): a weight W stays as it is, and W + alpha / rank × B A is learned. The
    stage's model has them merged. Models with experts have none."""

    type: Literal["LoRA"]
    """Adapters of that kind; there is no other."""
    rank: Annotated[int, Field(ge=1, le=1024)] = 16
    """Rows of A and columns of B."""
    alpha: Annotated[Positive, Field(le=65536)] = Decimal(32)
    """The learned difference counts alpha / rank times."""
    dropout: Annotated[Fraction, Field(lt=1)] = Decimal(0)
    """Part of an adapter's inputs that a step leaves out, drawn by each worker for each micro-step."""
    target_modules: (
        Annotated[
            list[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]+$", max_length=64)]],
            Field(min_length=1, max_length=32),
        ]
        | None
    ) = None
    """Names of the linear layers that get adapters, as the student's weights name them (q_proj, v_proj); None: every
    linear layer of its blocks."""


class Optimization(Spec):
    """What SFT and DPO share."""

    adapter: Lora | None = None
    """Train adapters in place of all weights, which takes far less memory; None: all weights, as in the paper."""

    batch_size: Annotated[int, Field(ge=1, le=65536)] = 128
    """Rows an optimiser step, over all workers; a multiple of workers × microBatchSize."""
    micro_batch_size: Annotated[int, Field(ge=1, le=1024)] = 1
    """Rows a worker holds at a time."""
    max_length: Annotated[int, Field(ge=16, le=1048576)] = 4096
    """Most tokens of a row, prompt and answer (ours): as much room for a prompt as maxTokens, by default, for an
    answer."""
    too_long: TooLong = TooLong.FAIL
    """What becomes of a longer row."""
    zero_stage: Annotated[int, Field(ge=0, le=3)] = 3
    """DeepSpeed ZeRO stage."""
    precision: Precision = Precision.BF16
    warmup_ratio: Fraction = Decimal("0.1")
    """Part of the steps that warm up; what follows is `schedule` (ours, as SimPO)."""
    schedule: LearningRateSchedule = LearningRateSchedule.COSINE
    min_learning_rate_ratio: Annotated[Fraction, Field(gt=0)] | None = None
    """Part of learningRate that the schedule ends at; None: it ends at 0. Constant has no end."""
    adam_beta1: Annotated[Fraction, Field(lt=1)] = Decimal("0.9")
    """Of AdamW: share of the mean gradient that a step keeps (torch's default)."""
    adam_beta2: Annotated[Fraction, Field(lt=1)] = Decimal("0.999")
    """Of AdamW: share of the mean squared gradient that a step keeps (torch's default)."""
    adam_epsilon: Annotated[Positive, Field(ge=Decimal("1e-15"), le=1)] = Decimal("1e-8")
    """Of AdamW: added to the root of the mean squared gradient (torch's default)."""
    weight_decay: NonNegative = Decimal(0)
    """Of AdamW."""
    max_grad_norm: Positive = Decimal(1)
    """A longer gradient is shortened to this norm."""
    packing: bool = True
    """Lay rows end to end, up to microBatchSize rows of maxLength tokens (of a pair: both its sequences)."""
    gradient_checkpointing: bool = True
    """Compute activations again in the backward pass: a third more work, far less memory."""
    checkpoint_steps: Annotated[int, Field(ge=1, le=1_000_000_000)] = 50
    """Optimiser steps between checkpoints."""
    checkpoint_minutes: Annotated[int, Field(ge=1, le=10_080)] | None = None
    """Most minutes between checkpoints, where steps are long; None: `checkpointSteps` alone."""
    held_out: Annotated[Fraction, Field(gt=0, le=Decimal("0.5"))] | None = None
    """Share of the prompts, for instance "0.02", whose rows are not trained on: their loss shows as training goes on.
    They are drawn by the run's seed. None: all are trained on."""
    eval_steps: Annotated[int, Field(ge=1, le=1_000_000_000)] = 50
    """Optimiser steps between two looks at the held-out rows; the last step has one, too."""
    keep: Keep = Keep.LAST
    """Which weights become the stage's model; Best needs heldOut."""
    patience: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Looks in a row at the held-out rows that are no better than the best before them, after which training ends;
    needs heldOut. None: every step is made. The learning rate has not come to the end of its schedule then."""

    @property
    def looks_decide(self) -> bool:
        """Whether the model depends on when held-out rows are looked at."""
        return self.keep is Keep.BEST or self.patience is not None


class BatchOf(StrEnum):
    """What SFT's batchSize counts."""

    ROWS = "Rows"
    """Rows, however they are laid out (default)."""
    SEQUENCES = "Sequences"
    """Sequences of up to maxLength tokens, each filled with whole rows: fewer steps with more rows in each."""


class Sft(Optimization):
    """Supervised fine-tuning on the mixture's conversations; loss on assistant tokens only."""

    batch_of: BatchOf = BatchOf.ROWS
    """What batchSize and microBatchSize count; Sequences needs packing."""
    epochs: Annotated[Positive, Field(le=1000)] = Decimal(6)
    """Passes over the conversations (§4.1)."""
    learning_rate: Positive = Decimal("8e-6")
    """§4.1; App. A prints 8e-7, which repeats the DPO line."""


class RefModel(StrEnum):
    """What DPO measures the student against."""

    STAGE_START = "StageStart"
    """The student DPO starts from: the one that wrote the samples (default)."""
    ITERATION_START = "IterationStart"
    """The student that the iteration starts from, before its SFT."""
    BASE = "Base"
    """The declared student, untrained."""


class PreferenceLoss(StrEnum):
    """What is minimised over pairs. β scales the log-ratios to the ref_model; SimPO has none."""

    SIGMOID = "Sigmoid"
    """DPO (arXiv 2305.18290), as in the paper (default)."""
    IPO = "IPO"
    """Squared distance of the difference in log-ratios a token to 1 / (2 × beta) (arXiv 2310.12036)."""
    APO_ZERO = "APOZero"
    """Chosen answers become likelier and rejected ones less likely, each by itself (arXiv 2408.06266)."""
    ROBUST = "Robust"
    """Sigmoid, corrected for a share of pairs that stand the wrong way round: `labelSmoothing` (arXiv 2403.00409)."""
    HINGE = "Hinge"
    """Zero once the difference in log-ratios, times beta, is 1 (SLiC, arXiv 2305.10425)."""
    SIGMOID_NORM = "SigmoidNorm"
    """Sigmoid of the difference in log-ratios a token, so that length counts for nothing (arXiv 2411.15124)."""
    SIMPO = "SimPO"
    """Sigmoid of the difference in log-probabilities a token, less `simpoGamma`; no ref_model (arXiv 2405.14734)."""

    @property
    def reads_ref_model(self) -> bool:
        return self is not PreferenceLoss.SIMPO


class SamplesFrom(StrEnum):
    """Whose answers become pairs."""

    STUDENT = "Student"
    """The student's that DPO starts from: on-policy, as in the paper (default)."""
    MIXTURE = "Mixture"
    """spec.mixture's: off-policy (paper App. J). By method Combined those of its proposers, once each."""


class Rejected(StrEnum):
    """Which answer stands against the chosen one, the ranking's best."""

    WORST = "Worst"
    """The one with the fewest points (§4.1, default)."""
    RANDOM = "Random"
    """One of those with fewer points than the chosen, each as likely, drawn by the run's seed and the row."""


class PairRules(Spec):
    """Which pairs are trained on; by default every best against its worst (§4.1). The other rules are ours.

    Points are relative: what part of its comparisons with the prompt's other answers an answer won. A prompt whose pair
    breaks a rule gives none. It is counted under the first it breaks: minRejectedPoints, consistent, minMargin,
    maxLengthDifference.
    """

    rejected: Rejected = Rejected.WORST
    min_rejected_points: Annotated[Fraction, Field(gt=0, lt=1)] | None = None
    """Fewest points of an answer that may be rejected, so that hopeless ones teach nothing; None: any."""
    consistent: bool = False
    """Keep a pair only if its own comparison names the chosen answer in both orders."""
    min_margin: Annotated[Fraction, Field(gt=0)] | None = None
    """Least points of the chosen answer above those of the rejected one; None: any above 0."""
    max_length_difference: Annotated[int, Field(ge=0, le=10_000_000)] | None = None
    """Most characters by which one answer is longer than the other; None: any. A token has about four."""

    @property
    def may_drop(self) -> bool:
        """Some prompt with a best and a worst answer may give no pair."""
        limits = (self.min_rejected_points, self.min_margin, self.max_length_difference)
        return self.consistent or any(limit is not None for limit in limits)


class Dpo(Optimization):
    """Preference optimisation on pairs of answers to one prompt."""

    samples_from: SamplesFrom = SamplesFrom.STUDENT
    """Mixture: it answers as it does for SFT; temperature, topP, maxTokens and whenCut here have no effect then."""
    samples: Annotated[int, Field(ge=2, le=64)] = 5
    """Answers sampled for each prompt (§4.1)."""
    temperature: Annotated[Positive, Field(le=2)] = Decimal("0.8")
    """Of the samples."""
    top_p: Annotated[Fraction, Field(gt=0)] = Decimal(1)
    """Of the samples: tokens are drawn from the likeliest that add up to this probability."""
    max_tokens: Annotated[int, Field(ge=1, le=131072)] = 2048
    """Most completion tokens of a sample, thoughts included."""
    when_cut: WhenCut = WhenCut.FAIL
    """Fail: a sample that ended at maxTokens is left out, as long as two remain."""
    pairs: PairRules = PairRules()
    """Which pairs are kept; an edit asks no judge again."""
    epochs: Annotated[Positive, Field(le=1000)] = Decimal(5)
    """Passes over the pairs (§4.1)."""
    learning_rate: Positive = Decimal("8e-7")
    """Peak (§4.1)."""
    beta: Positive = Decimal("0.01")
    """How much the distance to refModel weighs."""
    loss: PreferenceLoss = PreferenceLoss.SIGMOID
    """What is minimised; IPO wants a larger beta, such as 0.1, SigmoidNorm and SimPO one of 2 or more."""
    label_smoothing: Annotated[Fraction, Field(gt=0, lt=Decimal("0.5"))] | None = None
    """Of loss Robust: share of the pairs that are taken to stand the wrong way round."""
    simpo_gamma: Annotated[NonNegative, Field(le=100)] | None = None
    """Of loss SimPO: how far the chosen answer's reward is to be above the rejected one's; about half of beta."""
    sft_weight: Annotated[Positive, Field(le=100)] | None = None
    """Weight of the chosen answer's cross-entropy a token, added to the loss of each pair (arXiv 2404.19733)."""
    ref_model: RefModel = RefModel.STAGE_START


class Thinking(StrEnum):
    """What a student is taught of thoughts, the text that reasoning models write before an answer."""

    ANSWER_ONLY = "AnswerOnly"
    """To answer at once. A row whose answer holds a thought is a recorded failure."""
    AS_GIVEN = "AsGiven"
    """To think where the answers of the data hold a thought, as it stands there."""


class Tracked(Spec):
    """A tracker that shows this run's trainings."""

    project: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)] | None = None
    """W&B project, MLflow experiment or trackio project; None: the resource's name."""


class Trackers(Spec):
    """Services that show training curves as they grow, beside the TensorBoard files that every training leaves in the
    store. They are reached from the workers, whose environment says where they are and how to log in; one that fails
    ends no training."""

    wandb: Tracked | None = None
    """Weights & Biases: WANDB_API_KEY, and WANDB_BASE_URL for a server of your own."""
    mlflow: Tracked | None = None
    """MLflow: MLFLOW_TRACKING_URI, and MLFLOW_TRACKING_TOKEN or _USERNAME and _PASSWORD."""
    trackio: Tracked | None = None
    """trackio: TRACKIO_SPACE_ID with HF_TOKEN, or TRACKIO_SERVER_URL; else a folder of the machine."""


def sampling_of(dpo: Dpo) -> FinalSampling:
    """How the student's samples are drawn."""
    return FinalSampling(temperature=dpo.temperature, top_p=dpo.top_p, max_tokens=dpo.max_tokens, when_cut=dpo.when_cut)


class Training(Spec):
    """SFT, DPO or both; leave one out to skip its stages."""

    resources: TrainingResources = TrainingResources()
    thinking: Thinking | None = None
    """Whether answers are trained without thoughts (AnswerOnly) or with those they hold (AsGiven). None: AnswerOnly;
    where the student's chat template lets it think as it is served, say it, or turn that off in chatTemplateArgs."""
    sft: Sft | None = None
    dpo: Dpo | None = None
    average: Annotated[Fraction, Field(gt=0, lt=1)] | None = None
    """Share of the trained weights in one candidate more, for instance "0.5"; the rest is the weights of the student
    before. The gate decides (arXiv 2109.01903). None: no such candidate."""
    trackers: Trackers = Trackers()
    """In no fingerprint."""
