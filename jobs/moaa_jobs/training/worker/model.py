"""A model's weights in memory: the one place where a student or a ref_model is loaded, and with which attention."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from moaa.api.training import Optimization, Precision

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


def load_model(folder: Path, spec: Optimization) -> "PreTrainedModel":
    """The weights in the training precision. Sharded on arrival under ZeRO-3, if training arguments exist."""
    from transformers import AutoConfig, AutoModelForCausalLM

    dtype = torch.bfloat16 if spec.precision is Precision.BF16 else torch.float32
    kind = attention(AutoConfig.from_pretrained(folder, local_files_only=True))
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, local_files_only=True, attn_implementation=kind
    )
    return model


def attention(config: "PretrainedConfig") -> Literal["sdpa", "eager"]:
    """The fastest attention that computes what the model is.

    transformers' sdpa leaves out the soft-capping of attention scores (Gemma 2) without a word, which gives other
    logits than the model was made and is served with. Eager has it, and holds scores of rows × tokens².
    """
    is_capped = getattr(config.get_text_config(), "attn_logit_softcapping", None) is not None
    return "eager" if is_capped else "sdpa"
