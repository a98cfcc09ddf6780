"""The attention a model is loaded with: the one place where it is chosen.

Rows that are padded take transformers' own. Rows that lie end to end take what holds no mask of tokens² where there is
such a kind; the probe of packing (`model.packing_is_exact`) judges each, and the padded kind comes last.
"""

from enum import StrEnum
from typing import TYPE_CHECKING

from transformers import AttentionInterface, AttentionMaskInterface, AutoModelForCausalLM

from moaa_jobs.training.worker.attention.spans import spans_attention, spans_mask

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig


class Attention(StrEnum):
    """As transformers spells it (`attn_implementation`)."""

    EAGER = "eager"
    """The model's own formula: scores of rows × tokens²."""
    SDPA = "sdpa"
    """torch's; a mask of tokens² for rows end to end."""
    FLEX = "flex_attention"
    """torch's, compiled; a mask in blocks."""
    SPANS = "moaa_spans"
    """Ours: row by row (`spans`)."""


AttentionInterface.register(Attention.SPANS, spans_attention)
AttentionMaskInterface.register(Attention.SPANS, spans_mask)


def for_padding(config: "PretrainedConfig") -> Attention:
    """The fastest kind that computes what the model is, for rows that are padded.

    transformers' sdpa leaves out the soft-capping of attention scores (Gemma 2) without a word, which gives other
    logits than the model was made and is served with. A model without sdpa (gpt-oss) has eager alone.
    """
    return Attention.EAGER if _is_capped(config) or not _offers(config, "_supports_sdpa") else Attention.SDPA


def for_packing(config: "PretrainedConfig", device: "torch.device") -> list[Attention]:
    """Kinds to try for rows end to end, the best first; the last is that for padding.

    A model that takes flex_attention's masks hands through what is no tensor, and so takes ours.
    """
    found = [for_padding(config)]
    if _offers(config, "_supports_flex_attn") and _offers(config, "_supports_sdpa"):
        found.insert(0, Attention.SPANS)
        # Compiled, it knows no training on CPUs.
        if _is_capped(config) and device.type == "cuda":
            found.insert(0, Attention.FLEX)
    return found


def _is_capped(config: "PretrainedConfig") -> bool:
    return getattr(config.get_text_config(), "attn_logit_softcapping", None) is not None


def _offers(config: "PretrainedConfig", what: str) -> bool:
    """Whether the class that `config` is loaded as says so; False where transformers has no such class."""
    kind = AutoModelForCausalLM._model_mapping.get(type(config), None)
    return bool(getattr(kind, what, False))
