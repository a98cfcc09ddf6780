"""Attention over rows that lie end to end, without a mask of tokens².

Before the first layer transformers asks for a mask, by a function that says which place sees which. `spans_mask` asks
it about a few places each, and answers with the rows' spans, once a forward pass. Every layer's `spans_attention` takes
them: in one call of torch's FlashAttention on a GPU in half precision (`torch.nn.attention.varlen`), else span by span.
Time and memory grow with the sum of the rows' squares, not with the square of their sum.

Whatever is no such batch (padded rows, a cache, a mask of another shape) goes the way of transformers' sdpa.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.nn.attention.varlen import varlen_attn
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import causal_mask_function, sdpa_mask

FLASH_HEAD = 256
"""Widest head that FlashAttention takes, in elements; a multiple of 8."""
Sees = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Whether places see others: of batch, head, query and key index, each of shape (n,) or (1,)."""


class Spans(NamedTuple):
    """Which places see which: in a batch of one, each those of its own span up to itself. Stands for a mask."""

    starts: torch.Tensor
    """Of the n spans, and the end of the last: int32, shape (n + 1,), on the device."""
    lengths: tuple[int, ...]
    window: int | None
    """How many places one sees at most, itself included; None: all of its span."""


def spans_mask(
    *,
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int = 0,
    kv_offset: int = 0,
    mask_function: Sees = causal_mask_function,
    attention_mask: torch.Tensor | None = None,
    local_size: int | None = None,
    use_vmap: bool = False,
    device: torch.device | str = "cpu",
    **others: Any,
) -> Spans | torch.Tensor | None:
    """For transformers' `AttentionMaskInterface`: the spans, or what sdpa would get.

    `use_vmap` says that a model has added to the mask what may not be asked about by index.
    """
    is_square = q_length == kv_length and q_offset == 0 and kv_offset == 0
    if batch_size == 1 and attention_mask is None and is_square and not use_vmap:
        spans = spans_of(mask_function, q_length, local_size=local_size, device=device)
        if spans is not None and (len(spans.lengths) > 1 or spans.window is not None):
            return spans
    mask: torch.Tensor | None = sdpa_mask(
        batch_size=batch_size, q_length=q_length, kv_length=kv_length, q_offset=q_offset, kv_offset=kv_offset,
        mask_function=mask_function, attention_mask=attention_mask, local_size=local_size, use_vmap=use_vmap,
        device=device, **others,
    )  # fmt: skip
    return mask


def spans_of(sees: Sees, length: int, *, local_size: int | None, device: torch.device | str) -> Spans | None:
    """The spans of a batch of `length` places, where a span begins with each place that does not see the one before it.

    `local_size` is of a sliding window or of chunks, which are spans themselves. None: the mask is no such thing, as
    far as five questions about each place show.
    """
    places, nought = torch.arange(length, device=device), torch.zeros(1, dtype=torch.long, device=device)

    def seen(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return sees(nought, nought, query, key)

    starts = torch.cat([nought, places[1:][~seen(places[1:], places[:-1])], nought + length])
    lengths = tuple(starts.diff().tolist())
    window = local_size if local_size is not None and max(lengths) > local_size else None
    furthest = torch.repeat_interleave(starts[:-1], starts.diff(), output_size=length)
    if window is not None:
        furthest = torch.maximum(furthest, places - window + 1)
    is_first = furthest == 0
    answers = [
        seen(places, furthest),
        seen(places, (furthest + places) // 2),
        ~seen(places, (furthest - 1).clamp(min=0)) | is_first,
        ~seen(places, furthest // 2) | is_first,
        ~seen(places[:-1], places[1:]),
    ]
    return Spans(starts.to(torch.int32), lengths, window) if torch.cat(answers).all() else None


def spans_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Spans | torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    softcap: float | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """For transformers' `AttentionInterface`: shapes (1, heads, T, head) in, (1, T, heads, head) out.

    Raises:
        ValueError: the model adds to its scores what is not known here.
    """
    for name in ("position_bias", "s_aux"):
        if others.get(name) is not None:
            raise ValueError(f"{type(module).__name__} adds {name} to its attention scores, which moaa_spans lacks")

    def alone(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        if softcap is not None:
            return _capped(q, k, v, mask, dropout=dropout, scaling=scaling, softcap=softcap)
        found: torch.Tensor = sdpa_attention_forward(module, q, k, v, mask, dropout=dropout, scaling=scaling)[0]
        return found

    if not isinstance(attention_mask, Spans):
        return alone(query, key, value, attention_mask), None
    if softcap is None and dropout == 0.0 and _flash_takes(query, value):
        return _by_flash(query, key, value, attention_mask, scaling), None
    parts = zip(*(torch.split(one, list(attention_mask.lengths), dim=2) for one in (query, key, value)), strict=True)
    return torch.cat([alone(q, k, v, _band(q, attention_mask.window)) for q, k, v in parts], dim=1), None


def _band(query: torch.Tensor, window: int | None) -> torch.Tensor | None:
    """The mask of one span of which a place sees `window` places; None: all before it."""
    length = query.shape[2]
    if window is None or length <= window:
        return None
    whole = torch.ones(length, length, dtype=torch.bool, device=query.device)
    return (whole.tril() & whole.triu(1 - window))[None, None]


def _flash_takes(query: torch.Tensor, value: torch.Tensor) -> bool:
    head = query.shape[-1]
    is_half = query.dtype in (torch.bfloat16, torch.float16)
    return query.is_cuda and is_half and head == value.shape[-1] and head <= FLASH_HEAD and head % 8 == 0


def _by_flash(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, spans: Spans, scaling: float | None
) -> torch.Tensor:
    longest = max(spans.lengths)
    q, k, v = (one[0].transpose(0, 1) for one in (query, key, value))
    # To the left it counts the places beside a place itself.
    window = (-1 if spans.window is None else spans.window - 1, 0)
    found = varlen_attn(
        q, k, v, spans.starts, spans.starts, longest, longest, scale=scaling, window_size=window,
        enable_gqa=q.shape[1] != k.shape[1],
    )  # fmt: skip
    assert isinstance(found, torch.Tensor), "no logsumexp was asked for"
    return found[None]


def _capped(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    *,
    dropout: float,
    scaling: float | None,
    softcap: float,
) -> torch.Tensor:
    """As Gemma 2 is defined: scores that tanh keeps below `softcap`; no kernel of torch has that in it."""
    if mask is None:
        mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device).tril()
    groups = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    scores = softcap * torch.tanh(scores / softcap)
    # Not infinity: a padded place may see nothing, and its shares would be no numbers.
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    shares = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    shares = torch.nn.functional.dropout(shares, p=dropout)
    return (shares @ value).transpose(1, 2).contiguous()
