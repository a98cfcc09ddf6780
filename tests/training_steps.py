"""Steps of training with the real trainers in this process, on a tiny student: what tests of numbers share."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from moaa.api.models import Model
from moaa.api.training import LearningRateSchedule, PreferenceLoss
from tests.training_world import build_student, conversations, pairs, resource

ROWS = 16
MAX_LENGTH = 64
PACK_TOKENS = 100
"""Of a bin of pairs: three of the longest."""
BETA = 0.1
NEEDS: dict[PreferenceLoss, dict[str, str]] = {
    PreferenceLoss.ROBUST: {"labelSmoothing": "0.1"},
    PreferenceLoss.SIMPO: {"simpoGamma": "0.5"},
}


@contextmanager
def one_process(folder: Path) -> Iterator[Path]:
    """A tiny student, and a process group of one, which stays: DeepSpeed keeps what it has made of the first."""
    from moaa_jobs.training.worker.loop import prepare_environment

    prepare_environment(on_gpu=False)
    os.environ |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import deepspeed
        import torch.distributed as dist

        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        if not dist.is_initialized():
            dist.init_process_group("gloo", rank=0, world_size=1)
        deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False)
        yield build_student(folder / "model")


@contextmanager
def one_rank(rank: int, workers: int, folder: Path) -> Iterator[None]:
    """One of several processes of a group, which meet in `folder`."""
    from datetime import timedelta

    import torch

    from moaa_jobs.training.worker.loop import prepare_environment

    prepare_environment(on_gpu=False)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(workers), "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    import deepspeed
    import torch.distributed as dist

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    place = f"file://{folder / 'place'}"
    dist.init_process_group("gloo", place, rank=rank, world_size=workers, timeout=timedelta(seconds=500))
    deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False)
    yield
    dist.destroy_process_group()


def sft_table(student: Path) -> Any:
    from moaa_jobs.training.rows.chat import open_chat
    from moaa_jobs.training.rows.table import sft_table
    from moaa_jobs.training.rows.tokens import encode_conversation

    chat = open_chat(student, Model(name="student", source=f"file://{student}"), thinking=None)
    rows: list[Any] = []
    for row in conversations(ROWS):
        encoded = encode_conversation(chat, row, max_length=MAX_LENGTH)  # type: ignore[arg-type]
        assert isinstance(encoded, list)
        rows += encoded
    return sft_table(rows)


def pair_table(student: Path) -> Any:
    from moaa_jobs.training.rows.chat import open_chat
    from moaa_jobs.training.rows.table import pair_table
    from moaa_jobs.training.rows.tokens import encode_pair

    chat = open_chat(student, Model(name="student", source=f"file://{student}"), thinking=None)
    rows: list[Any] = []
    for row in pairs(ROWS):
        encoded = encode_pair(chat, row, max_length=MAX_LENGTH)  # type: ignore[arg-type]
        assert isinstance(encoded, list)
        rows += encoded
    return pair_table(rows)


def logps_of(model: Any, ids: list[int]) -> Any:
    """log p(token | what stands before it) of every token but the first: shape (T-1,)."""
    import torch

    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0, :-1]
    return torch.log_softmax(logits, dim=-1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]


def train(student: Path, table: Any, folder: Path, layout: str, **changes: Any) -> tuple[list[dict[str, float]], Any]:
    """Two steps of SFT, 8 rows each, with real DeepSpeed; the log and the trained weights."""
    from moaa_jobs.training.rows.order import batches, lay_out, pack
    from moaa_jobs.training.rows.table import row_lengths, row_widths
    from moaa_jobs.training.worker import trainers
    from moaa_jobs.training.worker.objective import Conversations

    micro = 8 if layout == "one-micro-step" else 1
    spec = resource(folder, student, workers=1, sft={"microBatchSize": micro, **changes}, dpo={}).spec.training.sft
    assert spec is not None
    steps = batches(ROWS, epochs=Decimal(1), batch_size=8, seed=0)
    where: dict[str, int] = {"workers": 1, "micro_batch_size": micro}
    packed = layout == "packed"
    if packed:
        bins = pack(steps, lengths=row_lengths(table), capacity=micro * MAX_LENGTH, **where)
    else:
        bins = lay_out(steps, widths=row_widths(table), **where)
    collator = trainers.SftCollator(table, pad_id=0, packed=packed)
    return carry_out(student, folder, Conversations(spec), collator, bins, packed=packed)


def carry_out(
    student: Path,
    folder: Path,
    objective: Any,
    collator: Any,
    bins: Any,
    *,
    steps: int = 2,
    packed: bool = False,
    callbacks: Any = (),
    held_out: Any = (),
    learned: Path | None = None,
    resume: Path | None = None,
    save_to: Path | None = None,
    schedule: Any = None,
) -> tuple[list[dict[str, float]], Any]:
    """Steps of an objective over these bins; what the trainer would export goes to `save_to`."""
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    from moaa_jobs.training.rows.tokenizer import load_tokenizer
    from moaa_jobs.training.worker import trainers
    from moaa_jobs.training.worker.attention.kinds import Attention
    from moaa_jobs.training.worker.model import load_model

    common = trainers.common_arguments(
        objective.spec, output_dir=folder, steps=steps, accumulation=bins.accumulation, seed=0, on_gpu=False
    )
    args = objective.arguments(common)
    trainer = trainers.build(
        objective.trainer,
        load_model(student, objective.spec, Attention.SPANS if packed else None),
        args,
        bins=bins.bins,
        collator=collator,
        schedule=schedule or trainers.Schedule(steps=steps, warmup_steps=0, shape=LearningRateSchedule.COSINE),
        tokenizer=load_tokenizer(student),
        callbacks=list(callbacks),
        held_out=held_out,
        learned=learned,
    )
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    if save_to is not None:
        trainer.save_model(str(save_to))
    unset_hf_deepspeed_config()  # else models that are loaded later would be sharded
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    return log, {name: value.detach().clone() for name, value in trainer.model.state_dict().items()}


def own_logps(student: Path, table: Any) -> Any:
    """Of every answer under the student, one row at a time: shape (2, rows)."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32).eval()
    return np.array(
        [
            [
                float(logps_of(model, row["prompt"] + row[name])[len(row["prompt"]) - 1 :].sum())
                for row in table.to_pylist()
            ]
            for name in ("chosen", "rejected")
        ]
    )


def pair_bins(table: Any, *, packed: bool, workers: int = 1, micro: int = 2, sort: bool = True) -> Any:
    """Bins of two steps with 8 pairs each, and the steps."""
    from moaa_jobs.training.rows.order import batches, lay_out, pack
    from moaa_jobs.training.rows.table import row_lengths, row_widths

    steps = batches(ROWS, epochs=Decimal(1), batch_size=8, seed=0)
    where: dict[str, int] = {"workers": workers, "micro_batch_size": micro}
    if packed:
        return pack(steps, lengths=row_lengths(table), capacity=PACK_TOKENS, **where), steps
    widths = row_widths(table) if sort else [0] * ROWS
    return lay_out(steps, widths=widths, **where), steps


def dpo_spec(folder: Path, student: Path, **changes: Any) -> Any:
    dpo = {"microBatchSize": 2, "learningRate": "1e-9", "zeroStage": 2, "beta": str(BETA), **changes}
    dpo |= NEEDS.get(PreferenceLoss(dpo.get("loss", "Sigmoid")), {})
    return resource(folder, student, workers=1, sft={}, dpo=dpo).spec.training.dpo
