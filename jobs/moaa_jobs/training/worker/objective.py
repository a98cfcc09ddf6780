"""Where SFT and learning from pairs differ: trainer, collator, training arguments."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, assert_never

import pyarrow as pa
import torch
import torch.distributed as dist
from transformers import TrainingArguments
from trl import SFTConfig
from trl.trainer.utils import add_fused_lm_head

from moaa.api.training import Dpo, Sft
from moaa_jobs.training.rows.order import bins_of_rows, bins_of_tokens
from moaa_jobs.training.rows.table import row_lengths, row_widths
from moaa_jobs.training.shared.messages import LoopConfig, LoopProgress
from moaa_jobs.training.worker import ref_logps
from moaa_jobs.training.worker.attention.kinds import Attention
from moaa_jobs.training.worker.losses import PairCollator, RefLogps
from moaa_jobs.training.worker.model import attend_packed
from moaa_jobs.training.worker.place import Worker
from moaa_jobs.training.worker.trainers import PairTrainer, SftCollator, SftTrainer
from moaa_jobs.training.worker.weights.models import Models

Collator = SftCollator | PairCollator
REPORT_EVERY = 20
"""Batches scored between two reports."""


class Objective(Protocol):
    """What a training stage minimises, and over which rows."""

    @property
    def trainer(self) -> Callable[..., SftTrainer | PairTrainer]:
        """Makes the trainer, by keywords (`trainers.build`)."""
        ...

    @property
    def probe_column(self) -> str:
        """Column of token ids by which the export is compared with the trained model."""
        ...

    @property
    def sequences(self) -> int:
        """Of each row."""
        ...

    def collator(self, worker: Worker, table: pa.Table, *, models: Models, pad_id: int, packed: bool) -> Collator:
        """How bins become batches; `packed` lays their rows end to end. Every rank calls it equally often.

        Raises:
            StoreError: the ref_model's log-probabilities could be neither read nor written.
        """
        ...

    def arguments(self, common: Mapping[str, Any]) -> TrainingArguments:
        """Training arguments. Make them before the model is loaded: they switch ZeRO-3's sharded loading on."""
        ...


def objective_of(config: LoopConfig) -> Objective:
    match config.spec:
        case Sft():
            return Conversations(config.spec)
        case Dpo():
            return Pairs(config.spec)
        case _:
            assert_never(config.spec)


def may_pack(worker: Worker, models: Models, *, vocabulary: int) -> Attention | None:
    """By which attention rows are laid end to end, where the resource asks for it and the student keeps them apart;
    None: they are padded. Every rank calls it equally often."""
    spec = worker.config.spec
    if not spec.packing:
        return None
    with models.scoring(worker.scratch / "student") as model:
        attention = attend_packed(model, vocabulary=vocabulary, spec=spec, device=models.device)
    worker.packing_refused = attention is None
    return attention


def capacity(objective: Objective, spec: Sft | Dpo) -> int:
    """Tokens of a bin whose rows lie end to end."""
    return objective.sequences * spec.micro_batch_size * spec.max_length


@dataclass(frozen=True)
class Conversations:
    """SFT: the mean cross-entropy of assistant tokens."""

    spec: Sft
    probe_column: str = "ids"
    sequences: int = 1

    @property
    def trainer(self) -> Callable[..., SftTrainer | PairTrainer]:
        return partial(SftTrainer, spec=self.spec)

    def collator(
        self,
        worker: Worker,  # noqa: ARG002  no ref_model
        table: pa.Table,
        *,
        models: Models,  # noqa: ARG002
        pad_id: int,
        packed: bool,
    ) -> Collator:
        return SftCollator(table, pad_id=pad_id, packed=packed)

    def arguments(self, common: Mapping[str, Any]) -> TrainingArguments:
        return SFTConfig(**common, max_length=None, packing=False, dataset_kwargs={"skip_prepare_dataset": True})


@dataclass(frozen=True)
class Pairs:
    """A loss on pairs (`losses`), most of them against a ref_model whose log-probabilities are computed once."""

    spec: Dpo
    probe_column: str = "prompt"
    sequences: int = 2

    @property
    def trainer(self) -> Callable[..., SftTrainer | PairTrainer]:
        return partial(PairTrainer, spec=self.spec)

    def collator(self, worker: Worker, table: pa.Table, *, models: Models, pad_id: int, packed: bool) -> Collator:
        if not self.spec.loss.reads_ref_model:
            return PairCollator(table, pad_id=pad_id, packed=packed, ref_logps=None)
        scored = self._ref_logps(worker, table, models, pad_id=pad_id, packed=packed)
        return PairCollator(table, pad_id=pad_id, packed=packed, ref_logps=scored)

    def arguments(self, common: Mapping[str, Any]) -> TrainingArguments:
        return TrainingArguments(**common)

    def _ref_logps(self, worker: Worker, table: pa.Table, models: Models, *, pad_id: int, packed: bool) -> RefLogps:
        """From the store, where they are put first if they are not there."""
        config, rows, run = worker.config, table.num_rows, worker.runner.run
        assert config.ref_model is not None, "every stage that learns from pairs has one"
        folder = ref_logps.folder_of(
            config.stage_path,
            self.spec,
            tokens_digest=config.tokens_digest,
            ref_model=config.ref_model.digest,
            packed=packed,
        )
        stored = run(ref_logps.read(worker.store, folder, rows=rows))
        # All ranks must go the same way, even if one looked a moment later.
        missing = torch.tensor([stored is None], dtype=torch.int32, device=models.device)
        dist.all_reduce(missing, op=dist.ReduceOp.MAX)
        if stored is not None and not missing.item():
            return stored
        left = [run(ref_logps.left(worker.store, folder, rows=rows)) if worker.rank == 0 else []]
        dist.broadcast_object_list(left, device=models.device)
        if left[0]:
            self._score(worker, table, models, folder, left[0], pad_id=pad_id, packed=packed)
        worker.pulse.excuse("storing ref_logps")
        dist.barrier()
        if worker.rank == 0:
            run(ref_logps.finish(worker.store, folder))
        dist.barrier()
        stored = run(ref_logps.read(worker.store, folder, rows=rows))
        assert stored is not None, "rank 0 has just written it"
        return stored

    def _score(
        self,
        worker: Worker,
        table: pa.Table,
        models: Models,
        folder: str,
        rows: Sequence[int],
        *,
        pad_id: int,
        packed: bool,
    ) -> None:
        """Score `rows` with the other ranks, and store them in parts; end to end, if the ref_model allows it, too."""

        def keep(scored: ref_logps.Scored) -> None:
            worker.pulse.excuse("storing ref_logps")
            worker.runner.run(ref_logps.write_part(worker.store, folder, scored))

        def report(step: int, of: int) -> None:
            worker.pulse.progress(step)
            if step == of or step % REPORT_EVERY == 0:
                worker.report(LoopProgress(phase="scoring", step=step, steps=of))

        device = models.device
        with models.scoring(worker.scratch / "ref-model") as model:
            vocabulary = model.config.get_text_config().vocab_size
            packs = packed and attend_packed(model, vocabulary=vocabulary, spec=self.spec, device=device) is not None
            add_fused_lm_head(model)
            bins = self._bins(table, rows, packed=packs)
            collate = PairCollator(table, pad_id=pad_id, packed=packs, ref_logps=None)
            ref_logps.score(
                model, bins, collate, rank=worker.rank, workers=worker.config.workers, device=device, keep=keep,
                report=report,
            )  # fmt: skip

    def _bins(self, table: pa.Table, rows: Sequence[int], *, packed: bool) -> list[list[int]]:
        """Of rows that are looked at once."""
        if packed:
            return bins_of_tokens(rows, lengths=row_lengths(table), capacity=capacity(self, self.spec))
        return bins_of_rows(rows, widths=row_widths(table), micro_batch_size=self.spec.micro_batch_size)
