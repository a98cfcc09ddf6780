"""Load a student's or ref_model's weights, with the right attention. No other module does.

`weights.models` keeps them while they are needed.
"""

import fnmatch
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from moaa.api.training import Optimization, Precision
from moaa.errors import DataError
from moaa_jobs.training.shared.messages import TrainingRefused
from moaa_jobs.training.worker.attention.kinds import Attention, for_packing, for_padding
from moaa_jobs.training.worker.memory import is_out_of_memory
from moaa_jobs.training.worker.process_group import all_say

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

_TABLES = ("*rotary_emb.inv_freq", "*.attn.bias", "*.attn.masked_bias")
"""Computed, not learned; older versions stored them."""


def load_model(folder: Path, spec: Optimization, attention: Attention | None = None) -> "PreTrainedModel":
    """The weights in the training precision, tables of positions in FP32. Sharded on arrival under ZeRO-3, if training
    arguments exist. `attention`: None is that for padded rows.

    Raises:
        DataError: a tensor is missing, of another shape, or of no use to the model, or a table cannot be computed.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    dtype = torch.bfloat16 if spec.precision is Precision.BF16 else torch.float32
    kind = attention or for_padding(AutoConfig.from_pretrained(folder, local_files_only=True))
    model: PreTrainedModel
    model, found = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, local_files_only=True, attn_implementation=kind,
        ignore_mismatched_sizes=True, output_loading_info=True,
    )  # fmt: skip
    _check_loaded(folder, found)
    _compute_tables(folder, model)
    return model


def _compute_tables(folder: Path, model: "PreTrainedModel") -> None:
    """Rotary frequencies once more in FP32, where they are not: loading under ZeRO-3 makes every tensor in the training
    precision, and at position 4,095 a frequency in BF16 is radians off. What is computed has to round to what is there.
    """
    for name, module in model.named_modules():
        rounded = {table: value for table, value in module.named_buffers(recurse=False) if "inv_freq" in table}
        rounded = {table: value for table, value in rounded.items() if value.dtype is not torch.float32}
        if not rounded:
            continue
        try:
            computed = dict(type(module)(module.config).named_buffers(recurse=False))
        except (AttributeError, TypeError):  # made of something else than the configuration
            computed = {}
        for table, value in rounded.items():
            exact = computed.get(table)
            if exact is None or not torch.equal(exact.to(value.device, value.dtype), value):
                raise DataError(
                    f"{folder}: {name}.{table} is {value.dtype} and cannot be computed again for "
                    f"{type(module).__name__}, so far positions would be off; use zeroStage 2, or precision FP32"
                )
            setattr(module, table, exact.to(value.device))


def load_together(
    folder: Path, spec: Optimization, device: torch.device, attention: Attention | None = None
) -> "PreTrainedModel":
    """`load_model` on every rank at once. If one refuses, all refuse; otherwise the others would wait for ever.

    Raises:
        TrainingRefused: the DataError of `load_model`, here or on another rank.
    """
    model, problem = None, f"{folder}: the weights of another machine of this training cannot be loaded"
    try:
        model = load_model(folder, spec, attention)
    except DataError as error:
        problem = str(error)
    refused = torch.tensor([model is None], dtype=torch.int32, device=device)
    dist.all_reduce(refused, op=dist.ReduceOp.MAX)
    if refused.item() or model is None:
        raise TrainingRefused(problem)
    return model


def _check_loaded(folder: Path, found: dict[str, Any]) -> None:
    """transformers draws what is missing at random and passes over what it does not know, with a warning at most."""
    unknown = [name for name in found["unexpected_keys"] if not any(fnmatch.fnmatch(name, one) for one in _TABLES)]
    problems = {
        "are missing": sorted(found["missing_keys"]),
        "have another shape than config.json says": sorted(str(key) for key in found["mismatched_keys"]),
        "are none of this architecture's": sorted(unknown),
    }
    for what, names in problems.items():
        if names:
            listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise DataError(
                f"{folder}: of its tensors, {listed} {what}; training would start from random numbers or leave learned "
                "ones out. Restore the weights or config.json"
            )


def attend_packed(model: Any, *, vocabulary: int, spec: Optimization, device: torch.device) -> Attention | None:
    """Set the first attention with which rows may lie end to end (`packing_is_exact`), and name it; None: with none,
    and the model has that for padded rows. Every rank must call it equally often, and all get the same.

    Raises:
        RuntimeError: the device has too little memory for rows of a few tokens.
    """
    for kind in for_packing(model.config, device):
        is_exact = False
        try:
            model.set_attn_implementation(kind.value)
            is_exact = packing_is_exact(model, vocabulary=vocabulary, spec=spec, device=device)
        except (RuntimeError, ValueError) as error:  # no such kernel for this device or head
            if is_out_of_memory(error):
                raise
            logger.warning("attention_failed kind=%s error=%s: the next is tried", kind, error)
        if all_say(is_exact, device):
            logger.info("rows_end_to_end attention=%s", kind)
            return kind
    return None


@torch.no_grad()
def packing_is_exact(model: Any, *, vocabulary: int, spec: Optimization, device: torch.device) -> bool:
    """Whether rows laid end to end give the logits they give alone.

    The model itself is probed: restarting positions alone must keep attention within a row, which depends on the
    architecture and the attention kernel. If rows see each other, logits differ by far more than the rounding allowed
    here.
    """
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(0, vocabulary, (length,), generator=generator).tolist() for length in (9, 6, 11)]
    batch = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)([{"input_ids": row} for row in rows])
    del batch["labels"]
    together = _logits(model, dict(batch), device)[0]
    alone = torch.cat([_logits(model, {"input_ids": torch.tensor([row])}, device)[0] for row in rows])
    tolerance = 0.05 if spec.precision is Precision.BF16 else 1e-3
    return bool((together - alone).abs().max() <= tolerance * alone.abs().max())


def _logits(model: Any, batch: dict[str, Any], device: torch.device) -> torch.Tensor:
    moved = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}
    logits: torch.Tensor = model(**moved, use_cache=False).logits.float()
    return logits
