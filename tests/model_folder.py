"""A model's folder with everything but weights worth the name: what resolve looks at."""

import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.training_world import CHATML, build_tokenizer

LAYER = (
    "input_layernorm.weight", "self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight",
    "self_attn.o_proj.weight", "mlp.gate_proj.weight", "mlp.up_proj.weight", "mlp.down_proj.weight",
    "post_attention_layernorm.weight",
)  # fmt: skip
TENSORS = (
    "model.embed_tokens.weight",
    *(f"model.layers.{layer}.{tensor}" for layer in (0, 1) for tensor in LAYER),
    "model.norm.weight",
    "lm_head.weight",
)
CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 2, "vocab_size": 8}


def write_model(folder: Path, *, template: Any = CHATML, config: Mapping[str, Any] = {}, **weights: Any) -> Path:
    """A llama of two layers by names of its tensors; `weights` as `write_tensors`."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer()
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
    write_tensors(folder / "model.safetensors", **weights)
    return folder


def write_tensors(file: Path, *, tensors: Iterable[str] = TENSORS, dtype: str = "F32", size: int = 4) -> None:
    """A safetensors file with one number a tensor."""
    header = {
        name: {"dtype": dtype, "shape": [1], "data_offsets": [i * size, (i + 1) * size]}
        for i, name in enumerate(tensors)
    }
    body = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(body)) + body + bytes(size * len(header)))
