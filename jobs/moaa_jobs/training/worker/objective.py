"""Where SFT and learning from pairs differ: trainer, collator, training arguments."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, assert_never

import pyarrow as pa
import torch
import torch.distributed as dist
from trl import DPOConfig, SFTConfig
from trl.trainer.utils import add_fused_lm_head

from moaa.api.training import Dpo, Sft
from moaa_jobs.training.shared.messages import LoopConfig, LoopProgress
from moaa_jobs.training.worker import ref_logps
from moaa_jobs.training.worker.losses import loss_arguments
from moaa_jobs.training.worker.model import packing_is_exact, scoring_model
from moaa_jobs.training.worker.place import Worker
from moaa_jobs.training.worker.trainers import PairCollator, PairTrainer, SftCollator, SftTrainer

Collator = SftCollator | PairCollator
REPORT_EVERY = 20
"""Batches scored between two reports."""


class Objective(Protocol):
    """What a training stage minimises, and over which rows."""

    @property
    def trainer(self) -> type[SftTrainer] | type[PairTrainer]: ...

    @property
    def probe_column(self) -> str:
        """Column of token ids by which the export is compared with the trained model."""
        ...

    def collator(
        self, worker: Worker, table: pa.Table, *, device: torch.device, pad_id: int, vocabulary: int
    ) -> tuple[Collator, bool]:
        """How bins become batches, and whether rows are laid end to end. Every rank calls it equally often.

        Raises:
            StoreError: the ref_model's log-probabilities could be neither read nor written.
        """
        ...

    def arguments(self, common: Mapping[str, Any]) -> SFTConfig | DPOConfig:
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


@dataclass(frozen=True)
class Conversations:
    """SFT: the mean cross-entropy of assistant tokens."""

    spec: Sft
    trainer: type[SftTrainer] = SftTrainer
    probe_column: str = "ids"

    def collator(
        self, worker: Worker, table: pa.Table, *, device: torch.device, pad_id: int, vocabulary: int
    ) -> tuple[Collator, bool]:
        packed = False
        if self.spec.packing:
            with scoring_model(worker.scratch / "student", self.spec, device) as model:
                packed = packing_is_exact(model, vocabulary=vocabulary, spec=self.spec, device=device)
            worker.packing_refused = not packed
        return SftCollator(table, pad_id=pad_id, packed=packed), packed

    def arguments(self, common: Mapping[str, Any]) -> SFTConfig:
        return SFTConfig(**common, packing=False, dataset_kwargs={"skip_prepare_dataset": True})


@dataclass(frozen=True)
class Pairs:
    """A loss on pairs (`losses`), against a ref_model whose log-probabilities are computed once."""

    spec: Dpo
    trainer: type[PairTrainer] = PairTrainer
    probe_column: str = "prompt"

    def collator(
        self,
        worker: Worker,
        table: pa.Table,
        *,
        device: torch.device,
        pad_id: int,
        vocabulary: int,  # noqa: ARG002  pairs are never packed
    ) -> tuple[Collator, bool]:
        scored = self._ref_logps(worker, table, device=device, pad_id=pad_id)
        return PairCollator(table, pad_id=pad_id, ref_logps=scored), False

    def arguments(self, common: Mapping[str, Any]) -> DPOConfig:
        return DPOConfig(**common, **loss_arguments(self.spec), precompute_ref_log_probs=True, disable_dropout=True)

    def _ref_logps(self, worker: Worker, table: pa.Table, *, device: torch.device, pad_id: int) -> ref_logps.RefLogps:
        """From the store, where they are put first if they are not there."""
        config = worker.config
        folder = f"{config.checkpoints}/ref-logps"
        digest, rows = config.tokens_digest, table.num_rows
        stored = worker.runner.run(ref_logps.read(worker.store, folder, tokens_digest=digest, rows=rows))
        # All ranks must go the same way, even if one looked a moment later.
        missing = torch.tensor([stored is None], dtype=torch.int32, device=device)
        dist.all_reduce(missing, op=dist.ReduceOp.MAX)
        if stored is not None and not missing.item():
            return stored

        def report(step: int, of: int) -> None:
            worker.pulse.progress(step)
            if step == of or step % REPORT_EVERY == 0:
                worker.report(LoopProgress(phase="scoring", step=step, steps=of))

        with scoring_model(worker.scratch / "ref-model", self.spec, device) as model:
            add_fused_lm_head(model)
            mine, values = ref_logps.score(
                model, table, PairCollator(table, pad_id=pad_id, ref_logps=None), rank=worker.rank,
                workers=config.workers, batch_size=self.spec.micro_batch_size, device=device, report=report,
            )  # fmt: skip
        worker.pulse.excuse("storing ref_logps")
        keys = [ref_logps.part_key(folder, config.run_name, rank) for rank in range(config.workers)]
        worker.runner.run(ref_logps.write_part(worker.store, keys[worker.rank], mine, values))
        dist.barrier()
        if worker.rank == 0:
            manifest = ref_logps.RefLogpsManifest(tokens_digest=digest, rows=rows, parts=keys)
            worker.runner.run(ref_logps.write_manifest(worker.store, folder, manifest))
        dist.barrier()
        stored = worker.runner.run(ref_logps.read(worker.store, folder, tokens_digest=digest, rows=rows))
        assert stored is not None, "rank 0 has just written it"
        return stored
