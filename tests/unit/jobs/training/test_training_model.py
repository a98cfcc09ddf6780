"""Which attention a model is loaded with: the one that computes what the model is."""

from pathlib import Path

import pytest

from moaa.api.training import Sft
from moaa.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
SPEC = Sft.model_validate({"precision": "FP32"})
SIZES = {
    "vocab_size": 32, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 64,
}  # fmt: skip


def test_soft_capped_attention_is_trained_as_it_is_served(tmp_path: Path) -> None:
    """With sdpa, which leaves the capping out, these logits differ by more than they are large."""
    import torch
    from transformers import Gemma2Config, Gemma2ForCausalLM

    from moaa_jobs.training.worker.model import load_model

    torch.manual_seed(0)
    config = Gemma2Config(**SIZES, attn_logit_softcapping=0.5, query_pre_attn_scalar=1, attn_implementation="eager")
    model = Gemma2ForCausalLM(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "_proj" in name:
                parameter.mul_(10)
    model.save_pretrained(tmp_path)
    ids = torch.arange(12)[None]
    with torch.no_grad():
        served, trained = (m(input_ids=ids).logits for m in (model, load_model(tmp_path, SPEC).eval()))
    assert torch.allclose(served, trained, atol=1e-5)


def test_other_models_keep_the_fast_attention() -> None:
    from transformers import Gemma2Config, LlamaConfig

    from moaa_jobs.training.worker.attention.kinds import for_padding

    assert for_padding(LlamaConfig(**SIZES)) == "sdpa"
    assert for_padding(Gemma2Config(**SIZES, attn_logit_softcapping=None)) == "sdpa"
    assert for_padding(Gemma2Config(**SIZES)) == "eager"


def test_weights_that_are_not_there_are_not_drawn_at_random(tmp_path: Path) -> None:
    """transformers loads such a folder with a line in its log."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import LlamaConfig, LlamaForCausalLM

    from moaa_jobs.training.worker.model import load_model

    LlamaForCausalLM(LlamaConfig(**SIZES)).save_pretrained(tmp_path)
    load_model(tmp_path, SPEC)
    whole = load_file(tmp_path / "model.safetensors")
    gate = "model.layers.0.mlp.gate_proj.weight"
    cases = {
        r"lm_head\.weight are missing": {k: v for k, v in whole.items() if k != "lm_head.weight"},
        r"gate_proj\.weight are missing": {k: v for k, v in whole.items() if k != gate},
        r"own\.weight are none of this architecture's": {**whole, "model.layers.0.own.weight": torch.zeros(2)},
        r"gate_proj\.weight.*have another shape": {**whole, gate: torch.zeros(3, 16)},
    }
    for words, tensors in cases.items():
        save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(DataError, match=words):
            load_model(tmp_path, SPEC)


def test_the_mean_of_two_models_is_torch_s_to_the_bit(tmp_path: Path) -> None:
    """As exports are saved: BF16, in several files; the declared student in FP32, in one."""
    import torch
    from safetensors.torch import load_file
    from transformers import LlamaConfig, LlamaForCausalLM

    from moaa.weights.average import average

    folders = tmp_path / "before", tmp_path / "after"
    for seed, (folder, dtype, size) in enumerate(
        zip(folders, (torch.float32, torch.bfloat16), ("1GB", "6KB"), strict=True)
    ):
        torch.manual_seed(seed)
        LlamaForCausalLM(LlamaConfig(**SIZES)).to(dtype).save_pretrained(folder, max_shard_size=size)
    average(*folders, tmp_path / "mean", share=0.3)
    before, after, mean = (
        {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}
        for folder in (*folders, tmp_path / "mean")
    )
    assert len(list((tmp_path / "mean").glob("*.safetensors"))) > 1
    assert mean.keys() == after.keys()
    for name, tensor in mean.items():
        was, now = before[name].float(), after[name].float()
        assert torch.equal(tensor, (was + torch.tensor(0.3) * (now - was)).to(torch.bfloat16)), name
    LlamaForCausalLM.from_pretrained(tmp_path / "mean", dtype=torch.bfloat16)
