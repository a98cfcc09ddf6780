"""From fetched files to an exported model: the part of a worker that uses torch. Every rank runs the same."""

import shutil
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, assert_never

import deepspeed
import pyarrow as pa
import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
from transformers import PreTrainedTokenizerBase
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from moaa.api.training import BatchOf, Keep, Sft
from moaa.store.stages.folders import publish_folder
from moaa_jobs.training.rows.order import (
    Batch,
    Layout,
    batches,
    fill_sequences,
    lay_out,
    lay_out_sequences,
    pack,
)
from moaa_jobs.training.rows.table import open_table, row_lengths, row_widths
from moaa_jobs.training.rows.tokenizer import load_tokenizer, stop_ids
from moaa_jobs.training.shared.checkpoints import BEST, SAVED_STATE, SavedState, bring_checkpoint
from moaa_jobs.training.shared.messages import LoopProgress, LoopResult, TrainingRefused
from moaa_jobs.training.shared.storage import file_system
from moaa_jobs.training.trackers.choose import recorder_of
from moaa_jobs.training.trackers.recorder import Recorder
from moaa_jobs.training.worker import export, trainers
from moaa_jobs.training.worker.attention.kinds import Attention
from moaa_jobs.training.worker.cadence import Cadence, Turn
from moaa_jobs.training.worker.callbacks import CheckpointReporter, Looks, PulseKeeper, StepRecorder
from moaa_jobs.training.worker.objective import Collator, capacity, may_pack, objective_of
from moaa_jobs.training.worker.place import Worker
from moaa_jobs.training.worker.process_group import all_say, meet, shared_values
from moaa_jobs.training.worker.weights import best, lora
from moaa_jobs.training.worker.weights.models import Models

Trained = trainers.SftTrainer | trainers.PairTrainer


@dataclass(frozen=True)
class Start:
    """Where this run of the loop begins."""

    saved: SavedState
    model: Path
    checkpoint: Path | None = None
    """Of the trainer, to continue exactly; None begins with `model` and a new optimiser."""
    learned: Path | None = None
    """Adapters of an earlier attempt, which `model` gets."""
    step: int = 0


class Session:
    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.config = worker.config
        self.spec = worker.config.spec
        self.objective = objective_of(worker.config)
        self.device: torch.device = ray.train.torch.get_device()
        self.models = Models(self.spec, self.device)
        self.student = worker.scratch / "student"
        self.table: pa.Table = open_table(worker.scratch / "tokens.arrow")
        self.lengths = row_lengths(self.table)
        self.trained = len(self.lengths) - self.config.held_out
        """Rows that are trained on; those behind them are held out."""
        self.units = self._units()
        """What a batch counts: rows, or sequences, each as the rows in it."""
        self.turn = Turn(partial(all_say, device=self.device))

    @property
    def _counts_sequences(self) -> bool:
        return isinstance(self.spec, Sft) and self.spec.batch_of is BatchOf.SEQUENCES

    def _units(self) -> list[list[int]]:
        if self._counts_sequences:
            return fill_sequences(self.lengths[: self.trained], capacity=self.spec.max_length)
        return [[row] for row in range(self.trained)]

    def run(self) -> LoopResult | None:
        # The op is compiled at start, and only helps ranks of one machine without GPUs.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        # Without it ZeRO-3's sharded loading takes the world for one rank.
        deepspeed.init_distributed(dist_backend=dist.get_backend(), auto_mpi_discovery=False)
        tokenizer = load_tokenizer(self.student)
        pad_id = (
            tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(stop_ids(self.student, tokenizer))
        )
        steps = batches(
            len(self.units),
            epochs=self.spec.epochs,
            batch_size=self.spec.batch_size,
            seed=self.config.resource.spec.seed,
        )
        start = self._start()
        tracking = self._tracking(start)
        with self.worker.phase("score"):
            attention = may_pack(self.worker, self.models, vocabulary=len(tokenizer))
            packed = attention is not None
            collator = self.objective.collator(
                self.worker, self.table, models=self.models, pad_id=pad_id, packed=packed
            )
        with self.worker.phase("load"):
            layout = self._layout(steps, packed)
            trainer, recorder, keeper = self._trainer(start, steps, layout, collator, tokenizer, tracking, attention)
        tracking.start(start.saved.curve)
        with self.worker.phase("train"):
            trainer.train(resume_from_checkpoint=str(start.checkpoint) if start.checkpoint else None)
        with self.worker.phase("export"):
            step = recorder.curve[-1].step
            self.worker.report(LoopProgress(phase="exporting", step=step, steps=step))
            exported = self._export(trainer, keeper)
            tracking.close()
        if exported is None:
            return None
        model, files = exported
        return LoopResult(
            model=model,
            files=files,
            curve=recorder.curve,
            resumed_step=start.step,
            packed=packed,
            packing_refused=self.worker.packing_refused,
            kept_step=keeper.kept_step(),
            stopped_early=recorder.curve[-1].step < len(steps),
            checkpoints_late=self.turn.late,
            seconds=self.worker.seconds,
        )

    @property
    def _best(self) -> Path:
        """Where rank 0 keeps the best weights so far."""
        return self.worker.scratch / "output" / BEST

    def _tracking(self, start: Start) -> Recorder:
        """Rank 0's; of the others nobody hears."""
        if self.worker.rank != 0:
            return Recorder([])
        return recorder_of(self.config, self.worker.store, self.worker.scratch, resumed_step=start.step)

    def _start(self) -> Start:
        """The newest checkpoint: this attempt's after a worker was lost, else the one the driver found."""
        found = ray.train.get_checkpoint()
        resume = self.config.resume
        if found is not None:
            _, root = file_system(self.config.resource.spec.storage)
            key, weights_only = found.path.rstrip("/").removeprefix(f"{root}/"), False
        elif resume is not None:
            key, weights_only = f"{self.config.checkpoints}/{resume.folder}", resume.weights_only
        else:
            return Start(SavedState(), self.student)
        with self.worker.phase("resume"):
            folder = self._bring_checkpoint(key, weights_only=weights_only)
        saved = SavedState.model_validate_json((folder / SAVED_STATE).read_bytes())
        if self.worker.rank == 0:
            best.restore(folder, self._best)
        step = int(Path(key).name.removeprefix("step-"))
        self.worker.resumed_step = step
        if weights_only:
            saved = saved.model_copy(update={"done": step})
            if self.spec.adapter is not None:
                return Start(saved, self.student, learned=folder, step=step)
            return Start(saved, folder, step=step)
        return Start(saved, self.student, checkpoint=folder, step=step)

    def _bring_checkpoint(self, key: str, *, weights_only: bool) -> Path:
        """The checkpoint's folder on this machine, with what its ranks need of it."""
        there = self.worker.store.local_path(key)
        if there is not None:
            return there
        worker, target = self.worker, self.worker.scratch / "resume"
        if worker.local_rank == 0:
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            ranks = worker.local_ranks
            worker.runner.run(bring_checkpoint(worker.store, key, target, ranks=ranks, weights_only=weights_only))
        meet("resume")
        return target

    def _cadence(self) -> Cadence | None:
        minutes = self.spec.checkpoint_minutes
        return None if minutes is None else Cadence(shared_values(), rank=self.worker.rank, minutes=minutes)

    def _layout(self, steps: list[Batch], packed: bool) -> Layout:
        spec, workers = self.spec, self.config.workers
        if self._counts_sequences:
            if not packed:
                raise TrainingRefused(
                    "batchOf Sequences: this student does not keep rows apart that lie end to end, so no sequence can "
                    "be filled; write batchOf: Rows"
                )
            return lay_out_sequences(
                steps,
                sequences=self.units,
                lengths=self.lengths,
                workers=workers,
                micro_batch_size=spec.micro_batch_size,
            )
        if not packed:
            widths = row_widths(self.table)
            return lay_out(steps, widths=widths, workers=workers, micro_batch_size=spec.micro_batch_size)
        return pack(
            steps,
            lengths=self.lengths,
            workers=workers,
            micro_batch_size=spec.micro_batch_size,
            capacity=capacity(self.objective, spec),
        )

    def _trainer(
        self,
        start: Start,
        steps: list[Batch],
        layout: Layout,
        collator: Collator,
        tokenizer: PreTrainedTokenizerBase,
        tracking: Recorder,
        attention: Attention | None,
    ) -> tuple[Trained, StepRecorder, best.Keeper]:
        spec, done = self.spec, start.saved.done
        # Before the weights are loaded: training arguments switch ZeRO-3's sharded loading on.
        args = self.objective.arguments(
            trainers.common_arguments(
                spec,
                output_dir=self.worker.scratch / "output",
                steps=len(steps) - done,
                accumulation=layout.accumulation,
                seed=self.config.resource.spec.seed,
                on_gpu=self.config.on_gpu,
            )
        )
        tokens = [sum(self.lengths[row] for row in rows) for rows in self.units]
        recorder = StepRecorder(
            start.saved,
            steps_an_epoch=len(self.units) / spec.batch_size,
            tokens_seen=list(accumulate(sum(tokens[number] for number in batch) for batch in steps)),
            report=lambda step, loss, rate: self.worker.report(
                LoopProgress(phase="training", step=step, steps=len(steps), loss=loss, tokens_per_s=rate)
            ),
            track=tracking.add,
            looks=Looks(spec.eval_steps, len(steps)) if self.config.held_out else None,
        )
        trainer = trainers.build(
            self.objective.trainer,
            self.models.take(start.model, attention),
            args,
            bins=layout.bins[done * layout.accumulation * self.config.workers :],
            collator=collator,
            schedule=trainers.schedule_of(spec, steps=len(steps), done=done),
            tokenizer=tokenizer,
            held_out=range(self.trained, len(self.lengths)),
            learned=start.learned,
            callbacks=[
                recorder,
                CheckpointReporter(self.worker, recorder, done=done, cadence=self._cadence(), turn=self.turn),
                PulseKeeper(self.worker.pulse, done=done),
            ],
        )
        keeper = best.Keeper(spec, self._best, rank=self.worker.rank, curve=lambda: recorder.curve)
        if spec.looks_decide:
            trainer.after_look = lambda control: self._after_look(keeper, trainer, control)
        return trainer, recorder, keeper

    def _after_look(self, keeper: best.Keeper, trainer: Trained, control: Any) -> None:
        self.worker.pulse.excuse("keeping the best weights")
        keeper.looked(control, probe=lambda: self._probe(trainer), save=lambda folder: trainer.save_model(str(folder)))

    def _probe(self, trainer: Trained) -> torch.Tensor:
        """Of the model as it is now, in evaluation mode, by the first row's tokens (`export.probe`)."""
        return export.probe(trainer.model_wrapped, self._probe_ids(), self.device)

    def _probe_ids(self) -> list[int]:
        ids: list[int] = self.table.column(self.objective.probe_column)[0].as_py()
        return ids

    def _export(self, trainer: Trained, keeper: best.Keeper) -> Any:
        """Rank 0: the folder's `Output` and its objects."""
        output, config = self.worker.scratch / "output", self.config
        match self.spec.keep:
            case Keep.LAST:
                saved = output / "saved"
                trainer.model_wrapped.eval()
                logits = self._probe(trainer)
                trainer.save_model(str(saved))
                if self.worker.rank != 0:
                    return None
            case Keep.BEST:
                if self.worker.rank != 0:
                    return None
                saved, logits = keeper.kept()
            case _:
                assert_never(self.spec.keep)
        unset_hf_deepspeed_config()  # or what is loaded from here on would be sharded
        if self.spec.adapter is not None:
            lora.merge(self.student, saved, output / "merged", self.spec)
            saved = output / "merged"
        folder = output / "model"
        resource = config.resource.spec
        template = resource.model(resource.student).chat_template
        export.arrange(saved, self.student, folder, self.spec, chat_template=template)
        export.verify(folder, self._probe_ids(), logits, self.spec)
        return self.worker.runner.run(
            publish_folder(self.worker.store, config.stage_path, self.worker.token, folder, "model")
        )
