"""Bytes that one training worker needs, by part, before anything has run.

State (weights, gradients, optimiser) follows ZeRO (arXiv 1910.02054, §3 and §5); activations are counted tensor by
tensor as autograd saves them, in the manner of Korthikanti et al. (arXiv 2205.05198, §4), for the gated feed-forward
layers and RMSNorm of today's models and attention that stores no scores. The rest are buffers of DeepSpeed and of
TRL's fused language-model head, at the sizes that they have by default.

State is exact. Activations and the head are held against measured peaks on a CPU (tests/integration/
test_training_memory.py). What a GPU adds (context, NCCL, fragmentation) is an allowance that nobody has measured here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final, assert_never

from moaa.api.training import Dpo, Optimization, Precision, Sft
from moaa.plan.forecast.shape import ModelShape

GIB: Final = 1 << 30
REDUCE_BUCKET = 50_000_000
"""Elements reduced at a time, as `moaa_jobs.training.worker.deepspeed` sets it; twice, since sending overlaps."""
MAX_LIVE = 1_000_000_000
"""Gathered elements that ZeRO-3 keeps at most: DeepSpeed's stage3_max_live_parameters."""
SUB_GROUP = 1_000_000_000
"""Elements that ZeRO-3 updates at a time: DeepSpeed's sub_group_size."""
HEAD_TILE = (4096, 32768)
"""Tokens × words of one tile of TRL's fused head; it is that wide for a smaller vocabulary, too."""
DEVICE_BYTES = 2 * GIB
"""CUDA context and NCCL's buffers: an allowance (ours, not measured)."""
USABLE = 0.92
"""Part of a GPU that the allocator can fill before fragmentation ends it: an allowance (ours, not measured)."""


@dataclass(frozen=True)
class Memory:
    """Bytes of one worker at its highest moment. Every field is a part; `total` is their sum."""

    weights: int
    gradients: int
    optimizer: int
    """FP32 master weights where there are any, and Adam's two moments."""
    activations: int
    """Kept from the forward to the backward pass."""
    working: int
    """The most of three, one after the other: a layer's backward pass, the head's, the update."""
    buffers: int
    """Gathered parameters (ZeRO-3) and buckets of gradients on their way."""

    @property
    def state(self) -> int:
        """What is there from the first step to the last, whatever a step holds."""
        return self.weights + self.gradients + self.optimizer

    @property
    def total(self) -> int:
        return sum(getattr(self, part.name) for part in fields(self))


def usable(gpu_memory_bytes: int) -> int:
    """What a GPU of that size leaves for the parts of `Memory`."""
    return max(0, int(gpu_memory_bytes * USABLE) - DEVICE_BYTES)


def training_memory(shape: ModelShape, spec: Sft | Dpo, *, workers: int) -> Memory:
    """One of `workers` workers that trains all weights of a model.

    The reference model of DPO does not count: it scores before training, in less than training takes.
    """
    width = element_bytes(spec)
    partition = -(-shape.parameters // workers)
    mine = {stage: partition if spec.zero_stage >= stage else shape.parameters for stage in (1, 2, 3)}
    rows, length = rows_held(spec), row_length(spec)
    activations = kept_bytes(shape, rows=rows, length=length, width=width, again=spec.gradient_checkpointing)
    backward = backward_bytes(shape, rows=rows, length=length, width=width, again=spec.gradient_checkpointing)
    # The update comes when the activations have gone: what counts is how far it rises above them.
    update = _update(mine[1], spec) - activations
    return Memory(
        weights=mine[3] * width,
        gradients=mine[2] * width,
        optimizer=mine[1] * (8 + (4 if _has_master(spec) else 0)),
        activations=activations,
        working=max(backward, update),
        buffers=_buffers(shape, spec, width),
    )


def element_bytes(spec: Optimization) -> int:
    """Of a weight in the training precision."""
    match spec.precision:
        case Precision.BF16:
            return 2
        case Precision.FP32:
            return 4
        case _:
            assert_never(spec.precision)


def rows_held(spec: Sft | Dpo) -> int:
    """Sequences that a worker holds at a time; laid end to end they are one."""
    return 1 if spec.packing else _sequences(spec)


def row_length(spec: Sft | Dpo) -> int:
    """Tokens of the longest sequence that a worker can meet."""
    return spec.max_length * (_sequences(spec) if spec.packing else 1)


def _sequences(spec: Sft | Dpo) -> int:
    match spec:
        case Sft():
            return spec.micro_batch_size
        case Dpo():
            return 2 * spec.micro_batch_size
        case _:
            assert_never(spec)


def kept_bytes(shape: ModelShape, *, rows: int, length: int, width: int, again: bool) -> int:
    """What the backward pass needs of the forward pass. `again`: of each layer only its input is kept, and the rest is
    computed again (gradient checkpointing)."""
    tokens = rows * length
    one = tokens * shape.hidden * width if again else layer_bytes(shape, rows=rows, length=length, width=width)
    # The last norm, and the mask of rows that are padded or lie end to end: one byte a pair of tokens.
    return shape.layers * one + tokens * norm_bytes(shape, width) + rows * length * length


def backward_bytes(shape: ModelShape, *, rows: int, length: int, width: int, again: bool) -> int:
    """The more of two: the head's backward pass, or a layer's, which with `again` holds all of the layer."""
    tokens = rows * length
    layer = tokens * width * (3 * shape.active_intermediate + shape.hidden)
    if again:
        layer += layer_bytes(shape, rows=rows, length=length, width=width)
    return max(layer, head_bytes(shape, tokens, width))


def norm_bytes(shape: ModelShape, width: int) -> int:
    """A token's part of one RMSNorm: its input in FP32, the scaled input, the result."""
    return shape.hidden * (4 + 2 * width)


def layer_bytes(shape: ModelShape, *, rows: int, length: int, width: int) -> int:
    """Saved by one layer: two norms, query, key and value at the width of the heads, the answer of attention, and four
    tensors of the feed-forward part (gate, its activation, up, their product)."""
    a_token = (
        2 * norm_bytes(shape, width)
        + width * 4 * shape.heads * shape.head_dim
        + 4 * shape.heads
        + width * 4 * shape.active_intermediate
    )
    scores = rows * shape.heads * length * length * (2 * width + 4) if shape.has_scores else 0
    return rows * length * a_token + scores


def head_bytes(shape: ModelShape, tokens: int, width: int) -> int:
    """A tile of logits, and gradients in FP32 of the head's weights and of its input. Logits are never whole."""
    return min(tokens, HEAD_TILE[0]) * HEAD_TILE[1] * width + (4 + width) * shape.hidden * (shape.vocabulary + tokens)


def _has_master(spec: Optimization) -> bool:
    """DeepSpeed keeps FP32 master weights under BF16, and a second copy of FP32 weights under ZeRO, too."""
    return spec.precision is Precision.BF16 or spec.zero_stage > 0


def _update(mine: int, spec: Optimization) -> int:
    """Gradients in FP32 and one temporary of Adam's, over what is updated at a time."""
    at_once = min(mine, SUB_GROUP) if spec.zero_stage == 3 else mine
    return at_once * (8 if _has_master(spec) else 4)


def _buffers(shape: ModelShape, spec: Optimization, width: int) -> int:
    buckets = 2 * min(REDUCE_BUCKET, shape.parameters) * width if spec.zero_stage > 0 else 0
    gathered = min(shape.parameters, MAX_LIVE) * width if spec.zero_stage == 3 else 0
    return buckets + gathered


def parts(memory: Memory) -> Mapping[str, int]:
    """Bytes by the name of the part, in the order in which they are shown."""
    return {part.name: getattr(memory, part.name) for part in fields(memory)}
