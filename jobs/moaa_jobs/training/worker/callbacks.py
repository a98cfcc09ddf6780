"""At a step's end, a worker keeps the curve and hands checkpoints to Ray Train."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train
import torch
from ray.train import Checkpoint, CheckpointUploadMode
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from moaa_jobs.training.shared.checkpoints import BEST, SAVED_STATE, SavedState, folder_name
from moaa_jobs.training.shared.messages import CurveRow, TrainingRefused
from moaa_jobs.training.shared.stall import Pulse
from moaa_jobs.training.worker.cadence import Cadence, Turn
from moaa_jobs.training.worker.place import Worker
from moaa_jobs.training.worker.weights.best import link_into

logger = logging.getLogger(__name__)

REPORT_EVERY_S = 1.0
MOST_LOST = 3
"""Steps in a row whose loss or gradient is not finite. DeepSpeed leaves out a step with such a gradient in BF16 under
ZeRO-1 and 2; else it ruins the weights, and every later step is lost."""


@dataclass(frozen=True)
class Looks:
    """After which steps of a run the held-out rows are looked at."""

    every: int
    steps: int
    """Of the whole run; the last one always has a look."""

    def is_due(self, step: int) -> bool:
        return step % self.every == 0 or step == self.steps


class StepRecorder(TrainerCallback):  # type: ignore[misc]  # untyped base
    """Keeps the training curve, and tells `report` of logged steps, at most one a second."""

    def __init__(
        self,
        saved: SavedState,
        *,
        steps_an_epoch: float,
        tokens_seen: list[int],
        report: Callable[[int, float, float], None],
        track: Callable[[CurveRow], None],
        looks: Looks | None = None,
    ) -> None:
        """`tokens_seen` are the tokens after each step of the whole run; `report` takes step, loss, tokens a second;
        `track` takes every step and returns at once; `looks`: where there are held-out rows."""
        self.curve = list(saved.curve)
        self._done = saved.done
        self._steps_an_epoch = steps_an_epoch
        self._tokens_seen = tokens_seen
        self._report, self._track, self._looks = report, track, looks
        self._is_tracked = True
        """Whether the last step of the curve has gone to `track`, which gets it with what a look adds to it."""
        self._last_report = time.monotonic()
        self._lost = 0
        """Steps in a row, up to the last."""
        self._first: tuple[int, float] | None = None
        """Tokens and time after the first step, which warms up and is not part of the rate."""

    def on_log(
        self, _args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_kwargs: Any
    ) -> None:
        """Raises TrainingRefused: too many steps in a row are lost."""
        if logs and "eval_loss" in logs:
            self.curve[-1] = self.curve[-1].model_copy(
                update={
                    "eval_loss": float(logs["eval_loss"]),
                    "eval_reward_accuracy": logs.get("eval_rewards/accuracies"),
                    "eval_reward_margin": logs.get("eval_rewards/margins"),
                }
            )
        if not logs or "loss" not in logs:
            return
        step, now = self._done + state.global_step, time.monotonic()
        self._track_last()
        self.curve.append(
            CurveRow(
                step=step,
                epoch=round(step / self._steps_an_epoch, 6),
                loss=logs["loss"],
                learning_rate=logs["learning_rate"],
                grad_norm=float(logs["grad_norm"]),
                tokens=self._tokens_seen[step - 1],
                reward_accuracy=logs.get("rewards/accuracies"),
                reward_margin=logs.get("rewards/margins"),
                reward_chosen=logs.get("rewards/chosen"),
                reward_rejected=logs.get("rewards/rejected"),
            )
        )
        self._is_tracked = False
        self._look(step, float(logs["loss"]), float(logs["grad_norm"]), control)
        if self._first is None:
            self._first = (self._tokens_seen[step - 1], now)
        if now - self._last_report >= REPORT_EVERY_S:
            self._last_report = now
            tokens, since = self._first
            rate = (self._tokens_seen[step - 1] - tokens) / (now - since) if now > since else 0.0
            self._report(step, float(logs["loss"]), rate)

    def _track_last(self) -> None:
        if not self._is_tracked:
            self._track(self.curve[-1])
            self._is_tracked = True

    def on_step_end(
        self, _args: TrainingArguments, state: TrainerState, control: TrainerControl, **_kwargs: Any
    ) -> None:
        control.should_evaluate = self._looks is not None and self._looks.is_due(self._done + state.global_step)

    def _look(self, step: int, loss: float, grad_norm: float, control: TrainerControl) -> None:
        """Count a step that is lost; every rank sees the same figures. No checkpoint is written of what may be ruined.

        Raises:
            TrainingRefused: `MOST_LOST` in a row.
        """
        if math.isfinite(loss) and math.isfinite(grad_norm):
            self._lost = 0
            return
        self._lost += 1
        control.should_save = False
        logger.warning("step_lost step=%d loss=%s gradient_norm=%s in_a_row=%d", step, loss, grad_norm, self._lost)
        if self._lost == MOST_LOST:
            raise TrainingRefused(self._diagnosis(step, loss, grad_norm))

    def on_train_end(
        self, _args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_kwargs: Any
    ) -> None:
        """Raises TrainingRefused: the last step is lost, and with it perhaps the weights."""
        self._track_last()
        if self._lost:
            last = self.curve[-1]
            raise TrainingRefused(self._diagnosis(self._done + state.global_step, last.loss, last.grad_norm))

    def _diagnosis(self, step: int, loss: float, grad_norm: float) -> str:
        sound = [row for row in self.curve if row.is_sound][-1:]
        before = f"; the last sound one is step {sound[0].step} with loss {sound[0].loss:.4g}" if sound else ""
        steps = f"step {step} has" if self._lost == 1 else f"steps {step - self._lost + 1} to {step} have"
        return (
            f"{steps} loss {loss} and gradient norm {grad_norm}{before}. The training has diverged: lower learningRate "
            "or maxGradNorm, raise warmupRatio, or look for rows that are not text; precision FP32 shows whether it is "
            "BF16"
        )


class CheckpointReporter(TrainerCallback):  # type: ignore[misc]  # untyped base
    """Hands every checkpoint to Ray Train. Training waits for no upload, and while one goes on writes no other.

    One worker a machine reports the machine's folder, which holds the parts of all its ranks; Ray Train merges the
    folders in storage. Every worker reports equally often, as Ray Train requires. With each one, Ray Train removes an
    older one, from which a later attempt may be going on: so rank 0 asks whose turn it is before.
    """

    def __init__(
        self,
        worker: Worker,
        recorder: StepRecorder,
        *,
        done: int,
        cadence: Cadence | None,
        turn: Turn,
    ) -> None:
        """The worker's `seconds` learn, under `checkpoints`, how long training stood still for all of them; `cadence`:
        when one is due by the clock; None: by steps alone; `turn`: when it may be written."""
        self._worker = worker
        self._config = worker.config
        self._seconds = worker.seconds
        self._stopped = 0.0
        self._cadence = cadence
        self._turn = turn
        self._recorder = recorder
        self._done = done

    def on_step_end(
        self, _args: TrainingArguments, state: TrainerState, control: TrainerControl, **_kwargs: Any
    ) -> None:
        """Raises Fenced, on rank 0: a later attempt has taken over."""
        self._stopped = time.monotonic()
        due = control.should_save
        if self._cadence is not None and self._cadence.is_due(state.global_step):
            due = True
        # After the last step comes the export; the optimiser is not needed again and not uploaded.
        is_last = state.global_step >= state.max_steps
        control.should_save = not is_last and self._turn.comes(due=due, step=self._done + state.global_step)
        if control.should_save and self._worker.rank == 0:
            self._worker.check_own()

    def on_save(self, args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_kwargs: Any) -> None:
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        context = ray.train.get_context()
        if context.get_world_rank() == 0:
            saved = SavedState(done=self._done, curve=self._recorder.curve)
            (folder / SAVED_STATE).write_text(saved.model_dump_json())
            link_into(folder, folder.parent / BEST)
        torch.distributed.barrier()  # every rank of this machine has written its part
        step = self._done + state.global_step
        metrics: dict[str, Any] = {
            "step": step,
            "workers": self._config.workers,
            "zero_stage": self._config.spec.zero_stage,
            "files": {},
        }
        checkpoint = None
        self._turn.begun(folder if context.get_local_rank() == 0 else None)
        if context.get_local_rank() == 0:
            metrics["files"] = {
                file.relative_to(folder).as_posix(): file.stat().st_size for file in folder.rglob("*") if file.is_file()
            }
            checkpoint = Checkpoint.from_directory(str(folder))
        ray.train.report(
            metrics,
            checkpoint=checkpoint,
            checkpoint_dir_name=folder_name(step),
            checkpoint_upload_mode=CheckpointUploadMode.ASYNC,
            delete_local_checkpoint_after_upload=True,
        )
        before = self._seconds.get("checkpoints", 0.0)
        self._seconds["checkpoints"] = round(before + time.monotonic() - self._stopped, 2)
        if self._cadence is not None:
            self._cadence.saved()


class PulseKeeper(TrainerCallback):  # type: ignore[misc]  # untyped base
    """Tells a worker's pulse of every micro-step. The last of the callbacks: what follows a step is decided by then."""

    def __init__(self, pulse: Pulse, *, done: int) -> None:
        """`done`: steps before this trainer's first."""
        self._pulse = pulse
        self._done = done

    def on_train_begin(
        self, _args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_kwargs: Any
    ) -> None:
        self._pulse.progress(self._done + state.global_step)

    def on_substep_end(
        self, _args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_kwargs: Any
    ) -> None:
        self._pulse.progress(self._done + state.global_step)

    def on_step_end(
        self, _args: TrainingArguments, state: TrainerState, control: TrainerControl, **_kwargs: Any
    ) -> None:
        self._pulse.progress(self._done + state.global_step)
        if control.should_save:
            self._pulse.excuse("writing a checkpoint")

    def on_prediction_step(
        self, _args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_kwargs: Any
    ) -> None:
        self._pulse.progress(self._done + state.global_step)

    def on_save(self, _args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_kwargs: Any) -> None:
        self._pulse.progress(self._done + state.global_step)

    def on_train_end(
        self, _args: TrainingArguments, _state: TrainerState, _control: TrainerControl, **_kwargs: Any
    ) -> None:
        self._pulse.excuse("ending the training")
