"""What config.json says of a model's size. Pure: the file is read by others."""

from collections.abc import Mapping
from dataclasses import dataclass

from moaa.errors import DataError

TIED = {
    "llama": False, "mistral": False, "qwen2": False, "qwen3": False, "granite": False, "phi3": False,
    "gemma": True, "gemma2": True, "gemma3_text": True, "mixtral": False, "qwen3_moe": False,
}  # fmt: skip
"""Architectures whose parameters are counted here: whether the head is the embedding where config.json is silent."""
_NORMS_A_LAYER = {"gemma2": 4, "gemma3_text": 4}
_FUSED = frozenset({"phi3"})
"""Query, key and value are one layer there, and so are gate and up."""
_EXPERTS = {
    "mixtral": ("num_local_experts", "intermediate_size"),
    "qwen3_moe": ("num_experts", "moe_intermediate_size"),
}


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a decoder with gated feed-forward layers."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    """Of one expert, where there are several."""
    vocabulary: int
    is_tied: bool
    """The head is the embedding."""
    experts: int = 1
    experts_a_token: int = 1
    norms: int = 2
    """Of a layer."""
    has_scores: bool = False
    """Attention scores are capped, so they are held in memory (Gemma 2)."""
    is_fused: bool = False
    """Query, key and value are one linear layer, and so are gate and up (Phi 3)."""
    window: int | None = None
    """How many tokens a token sees at most in some layers; None: all before it."""
    window_layers: int = 0
    """In how many layers."""

    @property
    def parameters(self) -> int:
        """Biases and norms of heads left out: less than one in a thousand."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        forward = 3 * self.hidden * self.intermediate * self.experts
        router = self.hidden * self.experts if self.experts > 1 else 0
        words = self.vocabulary * self.hidden * (1 if self.is_tied else 2)
        return self.layers * (attention + forward + router + self.norms * self.hidden) + words + self.hidden

    @property
    def linear(self) -> Mapping[str, tuple[int, int]]:
        """Width in and out of the linear layers of a block without experts, by name."""
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = (
            {"qkv_proj": (self.hidden, query + 2 * key)}
            if self.is_fused
            else {"q_proj": (self.hidden, query), "k_proj": (self.hidden, key), "v_proj": (self.hidden, key)}
        ) | {"o_proj": (query, self.hidden)}
        opened = ("gate_up_proj", 2 * self.intermediate) if self.is_fused else ("gate_proj", self.intermediate)
        forward = {opened[0]: (self.hidden, opened[1]), "down_proj": (self.intermediate, self.hidden)}
        return attention | forward | ({} if self.is_fused else {"up_proj": (self.hidden, self.intermediate)})

    @property
    def active_intermediate(self) -> int:
        """Width of the feed-forward part that a token goes through."""
        return self.intermediate * self.experts_a_token


_COUNTED_AS = ("num_experts", "num_local_experts", "n_routed_experts")
"""How config.json says how many experts there are."""


def experts_of(config: Mapping[str, object]) -> int:
    """Of a block, in any architecture; 1 where config.json names none."""
    text = config.get("text_config")
    parts = (config, text if isinstance(text, dict) else {})
    return max((found for part in parts for key in _COUNTED_AS if isinstance(found := part.get(key), int)), default=1)


def read_shape(config: Mapping[str, object], name: str) -> ModelShape:
    """The shape that a config.json describes. `name` is the model's in errors.

    Raises:
        DataError: its architecture is not among those whose parameters are counted here, or it leaves a size out.
    """
    kind = str(config.get("model_type"))
    if kind not in TIED:
        raise DataError(
            f"{name}: what training {kind} takes of memory is not known; known are {', '.join(sorted(TIED))}"
        )
    experts_key, intermediate_key = _EXPERTS.get(kind, ("", "intermediate_size"))
    hidden, heads = _size(config, "hidden_size", name), _size(config, "num_attention_heads", name)
    tied = config.get("tie_word_embeddings")
    layers = _size(config, "num_hidden_layers", name)
    window, window_layers = _window(config, layers)
    return ModelShape(
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=_size(config, "num_key_value_heads", name, default=heads),
        head_dim=_size(config, "head_dim", name, default=hidden // heads),
        intermediate=_size(config, intermediate_key, name),
        vocabulary=_size(config, "vocab_size", name),
        is_tied=tied if isinstance(tied, bool) else TIED[kind],
        experts=_size(config, experts_key, name) if experts_key else 1,
        experts_a_token=_size(config, "num_experts_per_tok", name) if experts_key else 1,
        norms=_NORMS_A_LAYER.get(kind, 2),
        has_scores=config.get("attn_logit_softcapping") is not None,
        is_fused=kind in _FUSED,
        window=window,
        window_layers=window_layers,
    )


def _window(config: Mapping[str, object], layers: int) -> tuple[int | None, int]:
    """How far a token sees, and in how many layers: in all, where config.json does not tell them apart."""
    window, kinds = config.get("sliding_window"), config.get("layer_types")
    # Qwen's models name a window that they do not use.
    is_used = config.get("use_sliding_window", not str(config.get("model_type")).startswith("qwen"))
    if not isinstance(window, int) or not is_used:
        return None, 0
    return window, kinds.count("sliding_attention") if isinstance(kinds, list) else layers


def _size(config: Mapping[str, object], key: str, name: str, *, default: int | None = None) -> int:
    """A positive integer. Raises DataError: it is none, or absent without a default."""
    found = config.get(key)
    if found is None and default is not None:
        found = default
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise DataError(f"{name}: config.json says {key}: {found!r}, so what training takes of memory is not known")
    return found
