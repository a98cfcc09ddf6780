"""The DeepSpeed configuration for a ZeRO stage, precision and kind of device. Pure.

Batch fields are left to Transformers ("auto"): written out here they would be checked against a world size that
DeepSpeed may not know yet.
"""

from typing import Any

from moaa.api.training import Optimization, Precision

REDUCE_BUCKET = 50_000_000
"""Elements reduced at a time. DeepSpeed's 500 M would reserve 2 GB of a small machine's memory per buffer."""


def training_config(spec: Optimization, *, on_gpu: bool) -> dict[str, Any]:
    """For `TrainingArguments.deepspeed`. The optimiser is torch's AdamW, so nothing is compiled at start."""
    zero: dict[str, Any] = {"stage": spec.zero_stage}
    if spec.zero_stage >= 1:
        zero |= {
            "reduce_bucket_size": REDUCE_BUCKET,
            "allgather_bucket_size": REDUCE_BUCKET,
            # Streams exist on GPUs only.
            "overlap_comm": on_gpu,
            "contiguous_gradients": True,
        }
    if spec.zero_stage == 3:
        zero |= {"stage3_gather_16bit_weights_on_model_save": True}
    return {
        "zero_optimization": zero,
        "bf16": {"enabled": spec.precision is Precision.BF16},
        "fp16": {"enabled": False},
        "gradient_clipping": "auto",
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        # The optimiser comes from torch, on GPUs and CPUs alike.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 1_000_000_000,
    }


def scoring_config(spec: Optimization) -> dict[str, Any]:
    """For `deepspeed.initialize` of a model that only scores. Sharded like the policy under ZeRO-3, else whole on
    every worker."""
    zero: dict[str, Any] = {"stage": 3 if spec.zero_stage == 3 else 0}
    return {
        "zero_optimization": zero,
        "bf16": {"enabled": spec.precision is Precision.BF16},
        "fp16": {"enabled": False},
        "train_micro_batch_size_per_gpu": 1,
        "steps_per_print": 1_000_000_000,
    }
