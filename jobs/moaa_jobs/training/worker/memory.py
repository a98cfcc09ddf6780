"""Out of memory: which errors say so, and what the resource can do about it. Imports no torch."""

from collections.abc import Iterator

from moaa.api.training import Dpo, Sft
from moaa_jobs.training.shared.messages import LoopConfig

_SAYS = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory", "failed to allocate")
"""Of torch: CUDA's and HIP's allocator, the CPU's, NCCL's buffers."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a worker failed since a device or machine has too little memory; the same step would fail again."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(says in words for says in _SAYS)


def out_of_memory(error: BaseException, config: LoopConfig) -> str:
    """What happened, and every setting that would take less, the cheapest first."""
    first = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
    return f"too little memory: {first}. What takes less: {'; '.join(_remedies(config.spec, config))}"


def _remedies(spec: Sft | Dpo, config: LoopConfig) -> Iterator[str]:
    """None of them changes what is learned but `maxLength`."""
    if not spec.gradient_checkpointing:
        yield "gradientCheckpointing: true"
    if spec.micro_batch_size > 1:
        yield f"microBatchSize below {spec.micro_batch_size}"
    if spec.zero_stage < 3 and config.workers > 1:
        yield "zeroStage: 3"
    yield f"more workers than {config.workers}, or GPUs with more memory"
    yield f"maxLength below {spec.max_length}, which leaves out longer rows"
