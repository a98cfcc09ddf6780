"""What a training is called in every tracker, and its figures by the names that users of trainers know. Pure."""

from dataclasses import dataclass

from moaa_jobs.training.shared.messages import CurveRow, LoopConfig

_METRICS = {
    "loss": "train/loss",
    "grad_norm": "train/grad_norm",
    "learning_rate": "train/learning_rate",
    "epoch": "train/epoch",
    "tokens": "train/num_tokens",
    "reward_accuracy": "rewards/accuracies",
    "reward_margin": "rewards/margins",
    "reward_chosen": "rewards/chosen",
    "reward_rejected": "rewards/rejected",
    "eval_loss": "eval/loss",
    "eval_reward_accuracy": "eval/rewards/accuracies",
    "eval_reward_margin": "eval/rewards/margins",
}
"""By field of a row: TRL's names, with the part before the slash that transformers' own integrations give them."""


@dataclass(frozen=True)
class TrackedRun:
    """One training stage, over all of its attempts."""

    id: str
    """Of the fingerprint: an attempt that resumes goes on with the run of the one before."""
    name: str
    config: dict[str, object]
    """Shown beside the curves: what is trained, and how."""


def tracked_run(config: LoopConfig) -> TrackedRun:
    """The run of a stage. Nothing in it is secret: addresses of models and data, and whose they are, are left out."""
    fingerprint = config.stage_path.rpartition("/")[2]
    shown = {
        "kind": config.kind.value,
        "student": config.resource.spec.student,
        "fingerprint": fingerprint,
        "workers": config.workers,
        "seed": config.resource.spec.seed,
        **config.spec.model_dump(mode="json", by_alias=True),
    }
    return TrackedRun(fingerprint, f"{config.resource.metadata.name}-{config.kind.value}-{fingerprint[:8]}", shown)


def metrics_of(row: CurveRow) -> dict[str, float]:
    """The figures of a step that there are, by metric.

    >>> metrics_of(CurveRow(step=3, epoch=0.5, loss=2.0, learning_rate=1e-5, grad_norm=1.0, tokens=70))
    ... # doctest: +NORMALIZE_WHITESPACE
    {'train/loss': 2.0, 'train/grad_norm': 1.0, 'train/learning_rate': 1e-05, 'train/epoch': 0.5,
     'train/num_tokens': 70.0}
    """
    values = {metric: getattr(row, field) for field, metric in _METRICS.items()}
    return {metric: float(value) for metric, value in values.items() if value is not None}
