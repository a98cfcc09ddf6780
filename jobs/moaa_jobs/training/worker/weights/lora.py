"""Adapters by peft: attached to a loaded student before training, merged into its weights afterwards.

Adapters have the training precision; DeepSpeed keeps FP32 master weights of them where it does for all weights. Since B
starts at zero, an adapted student gives what the student gives until the first step. Every rank draws the same A.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from moaa.api.training import Lora, Optimization
from moaa_jobs.training.shared.messages import TrainingRefused
from moaa_jobs.training.worker.model import load_model

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel

ALL_LINEAR = "all-linear"
"""peft's name for every linear layer but the head."""


def attach(
    model: "PreTrainedModel", spec: Optimization, *, seed: int, learned: Path | None = None
) -> "PreTrainedModel | PeftModel":
    """The model with new adapters, or with those of a checkpoint's folder `learned`; the model itself where `spec` has
    none. Give the model its fused head and turn its dropout off before: the adapters' own stays.

    Raises:
        RuntimeError: the folder's adapters are not those of this model.
        TrainingRefused: the model has no layer of a name in targetModules.
    """
    if spec.adapter is None:
        return model
    from peft import get_peft_model, load_peft_weights, set_peft_model_state_dict

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            adapted: PeftModel = get_peft_model(model, lora_config(spec.adapter), autocast_adapter_dtype=False)
        except ValueError as error:
            raise TrainingRefused(f"adapter: {error}; correct targetModules, or leave it out") from error
    if learned is not None:
        found: Any = set_peft_model_state_dict(adapted, load_peft_weights(str(learned), device="cpu"))
        missing = [name for name in found.missing_keys if ".lora_" in name]
        if missing or found.unexpected_keys:
            named = [*missing, *found.unexpected_keys]
            raise RuntimeError(f"{learned}: its adapters are others than the resource's, for instance {named[0]}")
    if spec.gradient_checkpointing:
        # A layer that is computed again passes no gradient on unless its input asks for one, and the embedding is
        # frozen.
        adapted.enable_input_require_grads()
    return adapted


def lora_config(adapter: Lora) -> "LoraConfig":
    from peft import LoraConfig

    return LoraConfig(
        r=adapter.rank,
        lora_alpha=float(adapter.alpha),  # type: ignore[arg-type]  # only divided by the rank
        lora_dropout=float(adapter.dropout),
        target_modules=ALL_LINEAR if adapter.target_modules is None else sorted(set(adapter.target_modules)),
        task_type="CAUSAL_LM",
    )


def base_of(model: Any) -> Any:
    """The model without what DeepSpeed and peft wrap around it."""
    bare = getattr(model, "module", model)
    return bare.get_base_model() if hasattr(bare, "peft_config") else bare


def merge(student: Path, saved: Path, folder: Path, spec: Optimization) -> None:
    """Write the student's weights with the adapters of `saved` (what the trainer wrote) added to them, as the trainer
    writes those of a model without adapters. In the machine's memory, on one rank; products are computed in FP32.

    Raises:
        DataError: the student cannot be loaded.
        ValueError: a merged weight is not finite.
    """
    from peft import PeftModel

    adapted = PeftModel.from_pretrained(load_model(student, spec), str(saved))
    merged: Any = adapted.merge_and_unload(safe_merge=True)
    merged.save_pretrained(folder)
