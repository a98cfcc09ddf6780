"""Bytes that one training worker needs, by part, before anything has run.

State (weights, gradients, optimiser) follows ZeRO (arXiv 1910.02054, §3 and §5); activations are counted tensor by
tensor as autograd saves them, in the manner of Korthikanti et al. (arXiv 2205.05198, §4), for the gated feed-forward
layers and RMSNorm of today's models, and what attention holds of pairs of tokens (`pairs_of`). The rest are buffers of
DeepSpeed and of TRL's fused language-model head, at the sizes that they have by default. With adapters (LoRA)
gradients and optimiser are those of the adapters, and all weights stay.

State is exact. Activations and the head are held against measured peaks on a CPU (tests/integration/
test_training_memory.py). What a GPU adds (context, NCCL, fragmentation) is an allowance that nobody has measured here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Final, assert_never

from moaa.api.training import Dpo, Lora, Optimization, Precision, Sft
from moaa.errors import DataError
from moaa.plan.forecast.shape import ModelShape

GIB: Final = 1 << 30
REDUCE_BUCKET = 50_000_000
"""Elements reduced at a time, as `moaa_jobs.training.worker.deepspeed` sets it; twice, since sending overlaps."""
MAX_LIVE = 1_000_000_000
"""Gathered elements that ZeRO-3 keeps at most: DeepSpeed's stage3_max_live_parameters."""
SUB_GROUP = 1_000_000_000
"""Elements that ZeRO-3 updates at a time: DeepSpeed's sub_group_size."""
FLASH_HEAD = 256
"""Widest head of FlashAttention, as `moaa_jobs.training.worker.attention.spans` asks for it."""
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


def training_memory(shape: ModelShape, spec: Sft | Dpo, *, workers: int, on_gpu: bool) -> Memory:
    """One of `workers` workers that trains a model, or adapters of it.

    The reference model of DPO does not count: it scores before training, in less than training takes. A student whose
    rows would see each other end to end is padded in spite of `packing`, which shows only when it is tried.

    Raises:
        DataError: an adapter is for what the architecture does not have.
    """
    width = element_bytes(spec)
    trained = trained_parameters(shape, spec)
    all_of_them = shape.parameters + (trained if spec.adapter else 0)
    mine = {stage: -(-trained // workers) if spec.zero_stage >= stage else trained for stage in (1, 2)}
    step = Step.of(shape, spec, on_gpu=on_gpu)
    activations, backward = kept_bytes(shape, step), backward_bytes(shape, step)
    # The update comes when the activations have gone: what counts is how far it rises above them.
    update = _update(mine[1], spec) - activations
    return Memory(
        weights=(-(-all_of_them // workers) if spec.zero_stage >= 3 else all_of_them) * width,
        gradients=mine[2] * width,
        optimizer=mine[1] * (8 + (4 if _has_master(spec) else 0)),
        activations=activations,
        working=max(backward, update),
        buffers=_buffers(all_of_them, trained, spec, width),
    )


def trained_parameters(shape: ModelShape, spec: Optimization) -> int:
    """All of a model's, or those of its adapters: matrices of rank × in and out × rank for each adapted layer.

    Raises:
        DataError: an adapter is for what the architecture does not have.
    """
    if spec.adapter is None:
        return shape.parameters
    return shape.layers * sum(spec.adapter.rank * (into + out) for into, out in adapted(shape, spec.adapter).values())


def adapted(shape: ModelShape, adapter: Lora) -> Mapping[str, tuple[int, int]]:
    """Width in and out of the linear layers of a block that get adapters.

    Raises:
        DataError: the block has experts, or no layer of a name in targetModules.
    """
    if shape.experts > 1:
        raise DataError("adapter: the student has experts, whose weights cannot get adapters; remove it")
    if adapter.target_modules is None:
        return shape.linear
    if unknown := sorted(set(adapter.target_modules) - shape.linear.keys()):
        raise DataError(
            f"adapter.targetModules: {unknown[0]} is no linear layer of the student's blocks; there are "
            f"{', '.join(sorted(shape.linear))}"
        )
    return {name: shape.linear[name] for name in set(adapter.target_modules)}


def element_bytes(spec: Optimization) -> int:
    """Of a weight in the training precision."""
    match spec.precision:
        case Precision.BF16:
            return 2
        case Precision.FP32:
            return 4
        case _:
            assert_never(spec.precision)


def _rows(spec: Sft | Dpo) -> int:
    """Sequences that a worker holds at a time."""
    match spec:
        case Sft():
            return spec.micro_batch_size
        case Dpo():
            return 2 * spec.micro_batch_size
        case _:
            assert_never(spec)


@dataclass(frozen=True)
class Pairs:
    """Bytes that attention holds for every two tokens of a row."""

    mask: int = 0
    """Once, before the first layer: which sees which."""
    layer: int = 0
    """In each of `layers`, from the forward to the backward pass."""
    layers: int = 0


def pairs_of(shape: ModelShape, spec: Sft | Dpo, *, on_gpu: bool) -> Pairs:
    """By the kinds of attention of `moaa_jobs.training.worker.attention`, the first that rows end to end can take.

    FlashAttention holds nothing, nor does flex_attention, by which capped scores are computed on a GPU. torch's sdpa
    turns a mask into numbers of the training precision in every layer; it gets one where rows are padded, or where a
    window is shorter than a row. One row alone, or row by row, it needs none.
    """
    width = element_bytes(spec)
    is_short = shape.window is not None and shape.window < spec.max_length
    if shape.has_scores:
        # What tanh and softmax gave, softmax in FP32; and in half precision what was made of it.
        scores = Pairs(layer=shape.heads * (width + 4 + (width if width < 4 else 0)), layers=shape.layers)
        if not spec.packing:
            return replace(scores, mask=width)
        return Pairs() if on_gpu else scores
    if spec.packing:
        is_flash = on_gpu and width == 2 and shape.head_dim <= FLASH_HEAD and shape.head_dim % 8 == 0
        return Pairs(layer=width, layers=shape.window_layers) if is_short and not is_flash else Pairs()
    if _rows(spec) > 1:
        return Pairs(mask=1, layer=width, layers=shape.layers)
    return Pairs(mask=1, layer=width, layers=shape.window_layers) if is_short else Pairs()


@dataclass(frozen=True)
class Step:
    """What a worker holds at a time, and what is learned of it."""

    rows: int
    """Side by side, or end to end."""
    length: int
    """Tokens of each row."""
    width: int
    """Bytes of an element."""
    again: bool
    """Of each layer only its input is kept, and the rest is computed again (gradient checkpointing)."""
    adapters: int = 0
    """Bytes that a block's adapters keep for each token."""
    learns_head: bool = True
    pairs: Pairs = Pairs()

    @staticmethod
    def of(shape: ModelShape, spec: Sft | Dpo, *, on_gpu: bool) -> "Step":
        """Raises DataError: an adapter is for what the architecture does not have."""
        width, adapters = element_bytes(spec), 0
        if spec.adapter is not None:
            layers = adapted(shape, spec.adapter).values()
            adapters = len(layers) * spec.adapter.rank * width
            if spec.adapter.dropout:  # each adapter keeps its own input, and which of it was left out
                adapters += sum(into for into, _ in layers) * (width + 1)
        return Step(
            rows=_rows(spec),
            length=spec.max_length,
            width=width,
            again=spec.gradient_checkpointing,
            adapters=adapters,
            learns_head=spec.adapter is None,
            pairs=pairs_of(shape, spec, on_gpu=on_gpu),
        )

    @property
    def tokens(self) -> int:
        return self.rows * self.length

    @property
    def token_pairs(self) -> int:
        """Of the same row."""
        return self.rows * self.length**2


def kept_bytes(shape: ModelShape, step: Step) -> int:
    """What the backward pass needs of the forward pass."""
    a_pair = step.pairs.mask
    if step.again:
        one = step.tokens * shape.hidden * step.width
    else:
        one = layer_bytes(shape, step)
        a_pair += step.pairs.layer * step.pairs.layers
    last_norm = step.tokens * norm_bytes(shape, step.width)
    return shape.layers * one + last_norm + step.token_pairs * a_pair


def backward_bytes(shape: ModelShape, step: Step) -> int:
    """The more of two: the head's backward pass, or a layer's, which holds all of the layer if it is computed again."""
    layer = step.tokens * step.width * (3 * shape.active_intermediate + shape.hidden)
    if step.again:
        layer += layer_bytes(shape, step) + step.token_pairs * step.pairs.layer
    return max(layer, head_bytes(shape, step))


def norm_bytes(shape: ModelShape, width: int) -> int:
    """A token's part of one RMSNorm: its input in FP32, the scaled input, the result."""
    return shape.hidden * (4 + 2 * width)


def layer_bytes(shape: ModelShape, step: Step) -> int:
    """Saved by one layer: its norms, query, key and value at the width of the heads, the answer of attention, and four
    tensors of the feed-forward part (gate, its activation, up, their product); and what adapters keep. Pairs of tokens
    come on top."""
    width = step.width
    a_token = (
        shape.norms * norm_bytes(shape, width)
        + width * 4 * shape.heads * shape.head_dim
        + 4 * shape.heads
        + width * 4 * shape.active_intermediate
        + step.adapters
    )
    return step.tokens * a_token


def head_bytes(shape: ModelShape, step: Step) -> int:
    """A tile of logits, and gradients in FP32 of the head's weights, if they are learned, and of its input. Logits are
    never whole."""
    tile = min(step.tokens, HEAD_TILE[0]) * HEAD_TILE[1] * step.width
    rows = (shape.vocabulary if step.learns_head else 0) + step.tokens
    return tile + (4 + step.width) * shape.hidden * rows


def _has_master(spec: Optimization) -> bool:
    """DeepSpeed keeps FP32 master weights under BF16, and a second copy of FP32 weights under ZeRO, too."""
    return spec.precision is Precision.BF16 or spec.zero_stage > 0


def _update(mine: int, spec: Optimization) -> int:
    """Gradients in FP32 and one temporary of Adam's, over what is updated at a time."""
    at_once = min(mine, SUB_GROUP) if spec.zero_stage == 3 else mine
    return at_once * (8 if _has_master(spec) else 4)


def _buffers(all_of_them: int, trained: int, spec: Optimization, width: int) -> int:
    buckets = 2 * min(REDUCE_BUCKET, trained) * width if spec.zero_stage > 0 else 0
    gathered = min(all_of_them, MAX_LIVE) * width if spec.zero_stage == 3 else 0
    return buckets + gathered


def parts(memory: Memory) -> Mapping[str, int]:
    """Bytes by the name of the part, in the order in which they are shown."""
    return {part.name: getattr(memory, part.name) for part in fields(memory)}
