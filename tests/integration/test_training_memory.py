"""The memory model against what torch allocates: activations and working memory of small models on the CPU."""

from typing import Any

import pytest

from moaa.plan.forecast import memory
from moaa.plan.forecast.shape import ModelShape, read_shape

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]
ROWS, LENGTH = 2, 256
SIZES = {
    "grouped heads": (128, 5, 8, 2, 352, 1024),
    "wide feed-forward": (64, 6, 4, 4, 512, 512),
}
CAPPED = {"head_dim": 16, "sliding_window": 64}
KINDS: dict[str, tuple[str, dict[str, int], bool]] = {
    "padded": ("llama", {}, False),
    "end to end": ("llama", {}, True),
    "end to end, in a window": ("mistral", {"sliding_window": 64}, True),
    "capped, padded": ("gemma2", CAPPED, False),
    "capped, end to end": ("gemma2", CAPPED, True),
}
"""Model type, what its configuration has besides, and whether its rows lie end to end."""


def spec_of(width: int, *, again: bool, packing: bool = False, **fields: Any) -> Any:
    from moaa.api.training import Sft

    return Sft.model_validate(
        {
            "precision": "FP32" if width == 4 else "BF16", "gradientCheckpointing": again, "maxLength": LENGTH,
            "microBatchSize": ROWS, "packing": packing, **fields,
        }
    )  # fmt: skip


def step_of(shape: ModelShape, width: int, *, again: bool, packing: bool = False) -> memory.Step:
    return memory.Step.of(shape, spec_of(width, again=again, packing=packing), on_gpu=False)


def build(
    sizes: tuple[int, ...], width: int, kind: str = "llama", packing: bool = False, **others: int
) -> tuple[Any, ModelShape]:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from trl.trainer.utils import add_fused_lm_head

    from moaa_jobs.training.worker.attention.kinds import for_packing, for_padding

    names = (
        "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size",
        "vocab_size",
    )  # fmt: skip
    config = AutoConfig.for_model(kind, **dict(zip(names, sizes, strict=True)), tie_word_embeddings=False, **others)
    attention = for_packing(config, torch.device("cpu"))[0] if packing else for_padding(config)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    model = model.to(torch.float32 if width == 4 else torch.bfloat16)
    model.train()
    add_fused_lm_head(model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)  # state, which is counted apart
    return model, read_shape(config.to_dict(), "m")


def loss_of(model: Any, *, packing: bool = False) -> Any:
    import torch

    if packing:
        row = torch.arange(LENGTH)
        ids = (torch.arange(ROWS * LENGTH) % model.config.vocab_size)[None]
        places = torch.cat([row] * ROWS)[None]
        return model(input_ids=ids, labels=ids, position_ids=places, use_cache=False, fused_lm_head=True).loss
    ids = torch.arange(ROWS * LENGTH).reshape(ROWS, LENGTH) % model.config.vocab_size
    mask = torch.ones_like(ids)
    mask[1, LENGTH // 2 :] = 0  # a padded row, as training has them: attention gets a mask
    return model(input_ids=ids, labels=ids, attention_mask=mask, fused_lm_head=True).loss


def saved_bytes(model: Any, *, packing: bool = False) -> int:
    """Of distinct tensors that autograd keeps, parameters left out."""
    import torch

    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage().data_ptr()
        if storage not in parameters:
            kept[storage] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss_of(model, packing=packing)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def peak_bytes(model: Any) -> int:
    """The most that a forward and backward pass allocates at once."""
    import torch

    with torch.profiler.profile(profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        loss_of(model).backward()
    assert profile.profiler is not None
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


@pytest.mark.parametrize("width", [4, 2], ids=["FP32", "BF16"])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES.keys())
def test_activations_are_what_autograd_keeps(sizes: tuple[int, ...], width: int) -> None:
    model, shape = build(sizes, width)
    assert shape.parameters == sum(parameter.numel() for parameter in model.parameters())
    for again in (False, True):
        if again:
            model.gradient_checkpointing_enable()
        told = memory.kept_bytes(shape, step_of(shape, width, again=again))
        assert told == pytest.approx(saved_bytes(model), rel=0.15 if not again else 0.35)


@pytest.mark.parametrize("width", [4, 2], ids=["FP32", "BF16"])
@pytest.mark.parametrize(("kind", "others", "packing"), KINDS.values(), ids=KINDS.keys())
def test_each_kind_of_attention_holds_what_is_said_of_pairs_of_tokens(
    kind: str, others: dict[str, int], packing: bool, width: int
) -> None:
    model, shape = build(SIZES["grouped heads"], width, kind, packing, **others)
    step = step_of(shape, width, again=False, packing=packing)
    assert memory.kept_bytes(shape, step) == pytest.approx(saved_bytes(model, packing=packing), rel=0.08)


@pytest.mark.parametrize("again", [False, True], ids=["kept", "again"])
@pytest.mark.parametrize("width", [4, 2], ids=["FP32", "BF16"])
def test_the_peak_of_a_step_is_that_of_the_model(width: int, again: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With tiles of the head small enough for layers to matter; on a CPU, torch makes copies of a tile in FP32."""
    from trl.trainer import utils

    monkeypatch.setattr(utils, "_CHUNKED_LOGPROB_CHUNK_SIZE", 64)
    monkeypatch.setattr(memory, "HEAD_TILE", (4096, 64))
    model, shape = build(SIZES["grouped heads"], width)
    if again:
        model.gradient_checkpointing_enable()
    step = step_of(shape, width, again=again)
    kept, working = memory.kept_bytes(shape, step), memory.backward_bytes(shape, step)
    assert kept + working == pytest.approx(peak_bytes(model), rel=0.25)


@pytest.mark.parametrize("dropout", ["0", "0.1"])
def test_adapters_keep_what_the_model_says(dropout: str) -> None:
    """Rank 16 of 128 columns, so that what they keep shows."""
    from moaa_jobs.training.worker.weights.lora import attach

    spec = spec_of(4, again=False, adapter={"type": "LoRA", "dropout": dropout})
    model, shape = build(SIZES["grouped heads"], 4)
    adapted = attach(model, spec, seed=0)
    trained = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    assert trained == memory.trained_parameters(shape, spec)
    adapted.train()
    assert memory.kept_bytes(shape, memory.Step.of(shape, spec, on_gpu=False)) == pytest.approx(
        saved_bytes(adapted), rel=0.15
    )
