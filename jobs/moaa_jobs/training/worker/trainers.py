"""TRL's SFT trainer and one for pairs, with our own rows, order, schedule and ref_logps.

A dataset item is one bin (`order.py`): a list of row indices. The collator looks the rows up and makes a batch of
them, so that a trainer sees nothing but finished tokens: it tokenises, cuts, shuffles and packs nothing. What is
overridden is of the pinned versions of TRL (1.16) and transformers; the tests would notice others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainerCallback, TrainingArguments
from trl import SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling
from trl.trainer.utils import add_fused_lm_head, disable_dropout_in_model

from moaa.api.training import Dpo, LearningRateSchedule, Precision, Sft
from moaa_jobs.training.rows.held_out import mean_over, passes
from moaa_jobs.training.rows.order import learning_rate_factor
from moaa_jobs.training.rows.table import trained_labels
from moaa_jobs.training.worker.deepspeed import training_config
from moaa_jobs.training.worker.losses import PairCollator, Scores, answer_logps, pair_losses, rewards
from moaa_jobs.training.worker.weights.lora import attach

_LOOKED_AT = ("rewards/accuracies", "rewards/margins")
"""What is gathered of pairs, a value a pass, in a look at held-out rows."""
Bin = dict[str, list[int]]
"""A dataset item: `{"rows": [...]}`."""


@dataclass(frozen=True)
class Schedule:
    """The learning rate of a run, of which this trainer may do only the last part."""

    steps: int
    warmup_steps: int
    shape: LearningRateSchedule
    min_ratio: float = 0.0
    done: int = 0
    """Steps an earlier attempt did, when this one goes on with its weights only."""

    def factor(self, step: int) -> float:
        return learning_rate_factor(
            self.done + step,
            steps=self.steps,
            warmup_steps=self.warmup_steps,
            schedule=self.shape,
            min_ratio=self.min_ratio,
        )


def schedule_of(spec: Sft | Dpo, *, steps: int, done: int) -> Schedule:
    """What the resource says, over `steps` steps of which an earlier attempt did `done`."""
    return Schedule(
        steps=steps,
        warmup_steps=int(spec.warmup_ratio * steps),
        shape=spec.schedule,
        min_ratio=float(spec.min_learning_rate_ratio or 0),
        done=done,
    )


class SftCollator:
    """Bins to batches. `packed` lays a bin's rows end to end with restarting positions, else they are padded."""

    def __init__(self, table: pa.Table, *, pad_id: int, packed: bool) -> None:
        self._ids, self._spans = table.column("ids"), table.column("spans")
        self._collate = DataCollatorForLanguageModeling(pad_token_id=pad_id, padding_free=packed)

    def __call__(self, bins: Sequence[Bin]) -> dict[str, Any]:
        examples = []
        for row in (row for item in bins for row in item["rows"]):
            ids: list[int] = self._ids[row].as_py()
            examples.append({"input_ids": ids, "labels": trained_labels(ids, self._spans[row].as_py())})
        return dict(self._collate(examples))


class _Ours:
    """What both trainers change. `schedule` and `held_out` are set before TRL's constructor runs."""

    schedule: Schedule
    held_out: Sequence[int]
    after_look: Callable[[Any], None] | None = None
    """Called on every rank after a look at the held-out rows, in evaluation mode, with the trainer's control."""
    optimizer: Any
    lr_scheduler: Any
    accelerator: Any
    callback_handler: Any
    control: Any
    args: Any
    state: Any
    data_collator: Any
    model_wrapped: Any
    prediction_step: Any
    _metrics: Any

    def evaluate(self, *_args: Any, **_kwargs: Any) -> dict[str, float]:
        """A look at the held-out rows, one a worker at a time: means over rows, which are the same for any number of
        workers up to rounding. The trainer's own would pad the last batch with rows that then count twice."""
        workers, rank = self.accelerator.num_processes, self.accelerator.process_index
        looks, losses = passes(self.held_out, workers=workers), []
        self.model_wrapped.eval()
        for rows in looks:
            inputs = self.data_collator([{"rows": [rows[rank % len(rows)]]}])
            loss = self.prediction_step(self.model_wrapped, inputs, True)[0]
            losses.append(self.accelerator.gather(loss.reshape(1).float()).mean().item())
            self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)
        found = {"loss": losses, **{name: self._metrics["eval"].get(name, []) for name in _LOOKED_AT}}
        self._metrics["eval"].clear()
        metrics = {f"eval_{name}": mean_over(values, looks) for name, values in found.items() if values}
        # Not TRL's, which would add what it gathers of training.
        Trainer.log(self, metrics)
        if self.after_look is not None:
            self.after_look(self.control)
        self.model_wrapped.train()
        return metrics

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:  # noqa: ARG002  ours knows
        if self.lr_scheduler is None:
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, self.schedule.factor)
        return self.lr_scheduler

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """TRL's card names local paths and looks up the Hub; the stage's manifest says what there is to say."""


class SftTrainer(_Ours, SFTTrainer):  # type: ignore[misc]  # untyped base
    def __init__(
        self,
        *,
        spec: Sft,
        schedule: Schedule,
        held_out: Sequence[int],
        model: PreTrainedModel,
        args: TrainingArguments,
        learned: Path | None,
        **kwargs: Any,
    ) -> None:
        self.schedule, self.held_out = schedule, held_out
        super().__init__(model=attach(model, spec, seed=args.seed, learned=learned), args=args, **kwargs)


class PairTrainer(_Ours, Trainer):  # type: ignore[misc]  # untyped base
    """Minimises a loss on pairs (`losses`), as TRL's DPOTrainer would: tests compare losses and gradients.

    A step's loss is the mean over its pairs, however many of them each bin holds. TRL's trainer takes the mean over
    bins, cannot lay sequences end to end, hashes the weights at start, and waits for sixteen figures a micro-step.
    """

    def __init__(
        self,
        *,
        spec: Dpo,
        schedule: Schedule,
        held_out: Sequence[int],
        model: PreTrainedModel,
        args: TrainingArguments,
        learned: Path | None,
        **kwargs: Any,
    ) -> None:
        self.schedule, self.held_out = schedule, held_out
        self._spec = spec
        self._metrics: dict[str, dict[str, list[float]]] = {"eval": {}}
        self._logged: dict[str, torch.Tensor] = {}
        """This worker's part of the step's means."""
        disable_dropout_in_model(model)
        add_fused_lm_head(model)
        config = model.config.get_text_config()
        routes = hasattr(config, "output_router_logits")
        self._router_weight = float(getattr(config, "router_aux_loss_coef", 0.0)) if routes else 0.0
        super().__init__(model=attach(model, spec, seed=args.seed, learned=learned), args=args, **kwargs)
        self.model_accepts_loss_kwargs = False  # the mean over micro-steps is taken by Trainer

    def compute_loss(self, model: Any, inputs: dict[str, Any], *_args: Any, **_kwargs: Any) -> torch.Tensor:
        """The bin's part of the step's loss, times bins: Trainer and DeepSpeed take the mean over micro-steps and
        workers."""
        scores, output = self._scores(model, inputs)
        for name, values in rewards(self._spec, scores).items():
            self._logged[name] = self._logged.get(name, 0.0) + values.sum() / self._spec.batch_size
        bins = self.args.gradient_accumulation_steps * self.args.world_size
        loss: torch.Tensor = pair_losses(self._spec, scores).sum() * (bins / self._spec.batch_size)
        if self._router_weight:
            loss = loss + self._router_weight * output.aux_loss
        return loss

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], *_args: Any, **_kwargs: Any
    ) -> tuple[Any, None, None]:
        """The mean loss of held-out pairs; what is looked at of them goes to `_metrics`, the mean over all workers."""
        with torch.no_grad():
            scores, _ = self._scores(model, self._prepare_inputs(inputs))
        found = rewards(self._spec, scores)
        for name in _LOOKED_AT:
            self._metrics["eval"].setdefault(name, []).append(self.accelerator.gather(found[name]).mean().item())
        return pair_losses(self._spec, scores).mean(), None, None

    def _scores(self, model: Any, inputs: dict[str, Any]) -> tuple[Scores, Any]:
        """And the model's whole output."""
        options = {"output_router_logits": True} if self._router_weight else {}
        logps, output = answer_logps(model, inputs, **options)
        return Scores.of(logps, inputs.get("ref_logps"), inputs["answer_tokens"]), output

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if self._logged:
            means = self.accelerator.reduce(torch.stack(list(self._logged.values())), reduction="sum")
            logs |= dict(zip(self._logged, means.tolist(), strict=True))
            self._logged = {}
        super().log(logs, start_time)


def needs_reentrant(spec: Sft | Dpo) -> bool:
    """Whether layers are computed again in torch's older way: ZeRO-3 counts tensors of frozen weights otherwise than
    the newer way expects (trl issue 2514)."""
    return spec.gradient_checkpointing and spec.adapter is not None and spec.zero_stage == 3


def common_arguments(
    spec: Sft | Dpo, *, output_dir: Path, steps: int, accumulation: int, seed: int, on_gpu: bool
) -> dict[str, Any]:
    """Training arguments that no objective decides."""
    return {
        "output_dir": str(output_dir),
        "deepspeed": training_config(spec, on_gpu=on_gpu),
        "max_steps": steps,
        "per_device_train_batch_size": 1,  # bins
        "gradient_accumulation_steps": accumulation,
        "train_sampling_strategy": "sequential",
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": on_gpu,
        "remove_unused_columns": False,
        "learning_rate": float(spec.learning_rate),
        "weight_decay": float(spec.weight_decay),
        "max_grad_norm": float(spec.max_grad_norm),
        "optim": "adamw_torch",
        "adam_beta1": float(spec.adam_beta1),
        "adam_beta2": float(spec.adam_beta2),
        "adam_epsilon": float(spec.adam_epsilon),
        "bf16": spec.precision is Precision.BF16,
        "use_cpu": not on_gpu,
        "gradient_checkpointing": spec.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": True} if needs_reentrant(spec) else None,
        "seed": seed,
        "data_seed": seed,
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": spec.checkpoint_steps,
        "save_on_each_node": False,
        "report_to": [],
        "disable_tqdm": True,
        "log_level": "error",
    }


def build(
    trainer: Callable[..., SftTrainer | PairTrainer],
    model: PreTrainedModel,
    args: TrainingArguments,
    *,
    bins: Sequence[list[int]],
    collator: SftCollator | PairCollator,
    schedule: Schedule,
    tokenizer: PreTrainedTokenizerBase,
    callbacks: list[TrainerCallback],
    held_out: Sequence[int] = (),
    learned: Path | None = None,
) -> SftTrainer | PairTrainer:
    """The trainer over these bins, in this order; `held_out` are rows of the same table; `learned`: a checkpoint's
    folder whose adapters it begins with."""
    return trainer(
        schedule=schedule,
        held_out=held_out,
        learned=learned,
        model=model,
        args=args,
        train_dataset=Dataset.from_dict({"rows": [list(item) for item in bins]}),
        data_collator=collator,
        processing_class=tokenizer,
        callbacks=callbacks,
    )
