"""Attention over rows that lie end to end is that of a dense mask, in logits and gradients."""

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
SIZES = {
    "vocab_size": 48, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "pad_token_id": 0,
}  # fmt: skip
LENGTHS = (9, 1, 14, 2)


def llama(**changes: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**SIZES, **changes))


def mistral() -> Any:
    """Rows of 9 and 14 tokens are wider than its window."""
    from transformers import MistralConfig, MistralForCausalLM

    return MistralForCausalLM(MistralConfig(**SIZES, sliding_window=4))


def gemma2() -> Any:
    """Soft-capped, so strongly that a kernel without it would show; every other layer has a window."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(**SIZES, attn_logit_softcapping=0.5, query_pre_attn_scalar=1, sliding_window=4)
    return Gemma2ForCausalLM(config)


def qwen3() -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(Qwen3Config(**SIZES))


def llama4() -> Any:
    """Chunked: a place sees no other chunk of its row."""
    from transformers import Llama4ForCausalLM, Llama4TextConfig

    config = Llama4TextConfig(
        **SIZES, attention_chunk_size=4, intermediate_size_mlp=32, num_local_experts=2, num_experts_per_tok=1,
        layer_types=["chunked_attention", "full_attention"],
    )  # fmt: skip
    return Llama4ForCausalLM(config)


def batch_of(lengths: tuple[int, ...]) -> dict[str, Any]:
    import torch

    ids = torch.randint(1, SIZES["vocab_size"], (1, sum(lengths)), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids, "position_ids": torch.cat([torch.arange(length) for length in lengths])[None]}


def logits_and_gradients(model: Any, kind: str, batch: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    model.set_attn_implementation(kind)
    model.zero_grad()
    logits = model(**batch, use_cache=False).logits
    (logits.float() ** 2).mean().backward()
    return logits.detach(), {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}


def prepared(make: Callable[[], Any]) -> Any:
    import torch

    torch.manual_seed(0)
    model = make().train()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "_proj" in name:
                parameter.mul_(10)  # else attention is nearly even, and no mask shows
    return model


@pytest.mark.parametrize("make", [llama, mistral, gemma2, qwen3, llama4])
@pytest.mark.parametrize("again", [False, True], ids=["kept", "recomputed"])
def test_logits_and_gradients_are_those_of_a_dense_mask(make: Callable[[], Any], again: bool) -> None:
    import torch

    from moaa_jobs.training.worker.attention.kinds import Attention, for_packing, for_padding

    model = prepared(make)
    if again:
        model.gradient_checkpointing_enable()
    kinds = for_packing(model.config, torch.device("cpu"))
    assert kinds == [Attention.SPANS, for_padding(model.config)]
    batch = batch_of(LENGTHS)
    logits, gradients = logits_and_gradients(model, kinds[0], batch)
    dense_logits, dense = logits_and_gradients(model, kinds[1], batch)
    torch.testing.assert_close(logits, dense_logits, rtol=1e-4, atol=1e-5)
    assert gradients.keys() == dense.keys()
    for name, value in dense.items():
        torch.testing.assert_close(gradients[name], value, rtol=1e-3, atol=1e-5, msg=name)
    apart = dict(batch, position_ids=torch.arange(sum(LENGTHS))[None])
    assert (logits_and_gradients(model, kinds[0], apart)[0] - logits).abs().max() > 0.1, "else no mask would show"


@pytest.mark.parametrize("make", [llama, mistral, gemma2])
def test_batches_of_another_shape_are_those_of_the_kind_for_padding(make: Callable[[], Any]) -> None:
    """One row without positions, as the probe of an export gives; and padded rows."""
    import torch

    from moaa_jobs.training.worker.attention.kinds import Attention, for_padding

    model = prepared(make)
    one = {"input_ids": batch_of((13,))["input_ids"]}
    mask = torch.ones(3, 8, dtype=torch.long)
    mask[1, 5:] = mask[2, 1:] = 0
    padded = {"input_ids": batch_of((24,))["input_ids"].reshape(3, 8), "attention_mask": mask}
    for batch, seen in ((one, torch.ones(1, 13, dtype=torch.bool)), (padded, mask.bool())):
        logits, dense = (
            logits_and_gradients(model, kind, batch)[0] for kind in (Attention.SPANS, for_padding(model.config))
        )
        torch.testing.assert_close(logits[seen], dense[seen], rtol=1e-4, atol=1e-5)


def test_no_mask_of_tokens_squared_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a layer is given as its mask: spans, of which nothing grows with the square of the tokens."""
    import torch
    from transformers import AttentionInterface

    from moaa_jobs.training.worker.attention import kinds, spans

    seen: list[Any] = []

    def look(*args: Any, **kwargs: Any) -> Any:
        seen.append(args[4] if len(args) > 4 else kwargs["attention_mask"])
        return spans.spans_attention(*args, **kwargs)

    monkeypatch.setitem(AttentionInterface._global_mapping, kinds.Attention.SPANS.value, look)
    model = prepared(mistral)
    model.set_attn_implementation(kinds.Attention.SPANS)
    with torch.no_grad():
        model(**batch_of(LENGTHS), use_cache=False)
    assert [mask.lengths for mask in seen] == [LENGTHS] * 2
    assert [mask.window for mask in seen] == [4] * 2
    assert seen[0].starts.tolist() == [0, 9, 10, 24, 26]


@pytest.mark.parametrize("make", [llama, mistral])
def test_flash_attention_is_called_as_it_is_documented(
    make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No GPU is here: in its place stands a kernel that does what torch's documentation of `varlen_attn` says."""
    import torch

    from moaa_jobs.training.worker.attention import spans
    from moaa_jobs.training.worker.attention.kinds import Attention

    calls: list[tuple[int, int]] = []

    def kernel(
        q: Any, k: Any, v: Any, cu_q: Any, cu_k: Any, max_q: int, max_k: int, *, scale: float,
        window_size: tuple[int, int], enable_gqa: bool,
    ) -> Any:  # fmt: skip
        assert enable_gqa
        assert cu_q.dtype is cu_k.dtype is torch.int32
        assert max_q == max_k == max(LENGTHS)
        calls.append(window_size)
        places = torch.arange(q.shape[0])
        span = torch.bucketize(places, cu_q[1:], right=True)
        gap = places[:, None] - places
        seen = (span[:, None] == span) & (gap >= -window_size[1])
        if window_size[0] >= 0:
            seen &= gap <= window_size[0]
        k, v = (one.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for one in (k, v))
        scores = torch.einsum("qhd,khd->hqk", q, k) * scale
        return torch.einsum("hqk,khd->qhd", scores.masked_fill(~seen, float("-inf")).softmax(-1), v)

    monkeypatch.setattr(spans, "varlen_attn", kernel)
    monkeypatch.setattr(spans, "_flash_takes", lambda _query, _value: True)
    model, batch = prepared(make), batch_of(LENGTHS)
    logits, gradients = logits_and_gradients(model, Attention.SPANS, batch)
    dense_logits, dense = logits_and_gradients(model, Attention.SDPA, batch)
    assert calls == [(-1 if make is llama else 3, 0)] * 2
    torch.testing.assert_close(logits, dense_logits, rtol=1e-4, atol=1e-5)
    for name, value in dense.items():
        torch.testing.assert_close(gradients[name], value, rtol=1e-3, atol=1e-5, msg=name)


def test_a_mask_that_is_no_spans_stays_a_mask() -> None:
    import torch
    from transformers.masking_utils import causal_mask_function, chunked_causal_mask_function, or_masks

    from moaa_jobs.training.worker.attention.spans import spans_of

    def prefix(_batch: Any, _head: Any, query: Any, key: Any) -> Any:
        """The first four places see each other, and all see them."""
        return (query >= 0) & (key < 4)

    def strided(_batch: Any, _head: Any, query: Any, key: Any) -> Any:
        return (key <= query) & ((query - key) % 2 == 0)

    def of(sees: Any) -> Any:
        return spans_of(sees, 10, local_size=None, device="cpu")

    assert of(causal_mask_function).lengths == (10,)
    assert of(chunked_causal_mask_function(4, torch.zeros(1, dtype=torch.long))).lengths == (4, 4, 2)
    assert of(or_masks(causal_mask_function, prefix)) is None
    assert of(strided) is None


def test_an_attention_that_fails_or_mixes_rows_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import torch

    from moaa.api.training import Sft
    from moaa_jobs.training.worker import model as models
    from moaa_jobs.training.worker.attention.kinds import Attention

    monkeypatch.setattr("torch.distributed.all_reduce", lambda *_args, **_kwargs: None)
    model, tried = prepared(llama).eval(), []

    def probe(says: dict[Attention, bool | Exception]) -> Any:
        def answer(probed: Any, **_kwargs: Any) -> bool:
            kind = Attention(probed.config._attn_implementation)
            tried.append(kind)
            said = says[kind]
            if isinstance(said, Exception):
                raise said
            return said

        monkeypatch.setattr(models, "packing_is_exact", answer)
        spec = Sft.model_validate({"precision": "FP32"})
        return models.attend_packed(model, vocabulary=48, spec=spec, device=torch.device("cpu"))

    spans, dense = Attention.SPANS, Attention.SDPA
    assert probe({spans: True}) is spans
    assert probe({spans: RuntimeError("no kernel for sm_30"), dense: True}) is dense
    assert "kind=moaa_spans error=no kernel for sm_30" in caplog.text
    assert probe({spans: False, dense: False}) is None
    assert model.config._attn_implementation == "sdpa", "the kind for padded rows"
    assert tried == [spans, spans, dense, spans, dense]
    with pytest.raises(RuntimeError, match="out of memory"):
        probe({spans: RuntimeError("CUDA out of memory")})


def test_the_memory_model_knows_when_flash_attention_is_taken() -> None:
    from moaa.plan.forecast import memory
    from moaa_jobs.training.worker.attention import spans

    assert memory.FLASH_HEAD == spans.FLASH_HEAD
