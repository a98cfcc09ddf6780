"""Which students can have which adapters, before a GPU is asked for."""

from typing import Any

import pytest

from moaa.api.training import Dpo, Lora, Sft, Training
from moaa.errors import DataError
from moaa_jobs.training.rows.adapters import check_adapters, linear_layers
from moaa_jobs.training.rows.student import Tensor

MATRIX, VECTOR = Tensor("BF16", (8, 8)), Tensor("BF16", (8,))
TENSORS: dict[str, Tensor | None] = {
    "model.embed_tokens.weight": MATRIX,
    "model.layers.0.self_attn.q_proj.weight": MATRIX,
    "model.layers.0.self_attn.q_proj.bias": VECTOR,
    "model.layers.0.mlp.down_proj.weight": MATRIX,
    "model.layers.0.input_layernorm.weight": VECTOR,
    "transformer.h.11.attn.c_attn.weight": MATRIX,
    "lm_head.weight": MATRIX,
}


def training(*modules: str) -> Training:
    return Training(dpo=Dpo(adapter=Lora(type="LoRA", target_modules=list(modules) or None)))


def test_adapters_are_for_matrices_of_blocks() -> None:
    assert linear_layers(TENSORS) == {"q_proj", "down_proj", "c_attn"}
    assert linear_layers(dict.fromkeys(TENSORS)) == {"q_proj", "down_proj", "c_attn"}, "by names alone, too"
    check_adapters({}, TENSORS, training("q_proj", "c_attn"), "m")
    check_adapters({}, TENSORS, training(), "m")
    check_adapters({}, None, training("anything"), "m")


@pytest.mark.parametrize("module", ["lm_head", "embed_tokens", "input_layernorm", "q_prj"])
def test_a_layer_that_is_none_is_refused_with_those_there_are(module: str) -> None:
    with pytest.raises(DataError) as error:
        check_adapters({}, TENSORS, training("q_proj", module), "m")
    assert str(error.value) == (
        f"m: spec.training.dpo.adapter.targetModules: {module} is no linear layer of the student's blocks; there are "
        "c_attn, down_proj, q_proj"
    )


@pytest.mark.parametrize(
    "config", [{"num_local_experts": 8}, {"num_experts": 8}, {"text_config": {"n_routed_experts": 8}}]
)
def test_experts_get_no_adapters(config: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"^m: spec.training.dpo.adapter: the student has 8 experts"):
        check_adapters(config, None, training(), "m")
    check_adapters(config, None, Training(sft=Sft()), "m")
