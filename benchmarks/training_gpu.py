"""What a GPU gives a training step, from today's path to the fastest: tokens a second, MFU, memory, kernels.

    python -m benchmarks.training_gpu [--layers N] [--tokens N] [--seconds S] [--cells NAME …]
    python -m benchmarks.training_gpu --tiny --device cpu      whether it runs; no figures

One process with the base install, torch and transformers, without Ray, DeepSpeed and TRL. A Llama of random weights at
the widths of Llama 3.1 8B, with fewer layers, learns from rows of log-normal lengths, in BF16 with FP32 master weights
and moments. Before the cells, logits and gradients of packed rows are held to those of a dense mask, on this device.

A cell is one way to do the step. Tokens a second are those of rows, padding not. MFU follows PaLM (arXiv 2204.02311,
app. B) with causal attention counted by half, within rows alone, and nothing counted that is computed again. Memory is
the allocator's peak, beside what `moaa plan` counts for it. Each cell prints a line; the last line is one JSON object.

Ends with 69 where there is no GPU, and with 1 where a cell failed or packed rows came out otherwise than dense ones.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers import LlamaConfig, LlamaForCausalLM

from moaa.api.training import Sft
from moaa.plan.forecast.memory import training_memory
from moaa.plan.forecast.shape import read_shape
from moaa_jobs.training.worker.attention.kinds import Attention

NO_GPU = 69
"""Exit code: what was asked for is not there (EX_UNAVAILABLE)."""
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "A10G": 70e12, "L4": 121e12}
"""Dense BF16 operations a second by name of the GPU, from NVIDIA's data sheets (SXM versions)."""
WIDTHS = {
    "vocab_size": 128_256, "hidden_size": 4096, "intermediate_size": 14_336, "num_attention_heads": 32,
    "num_key_value_heads": 8, "rope_theta": 500_000.0, "tie_word_embeddings": False,
}  # fmt: skip
TINY = {
    "vocab_size": 256, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2,
    "tie_word_embeddings": False,
}  # fmt: skip
TILE = 2048
"""Tokens whose logits are held at a time."""
WARM_UP = 2
NEAR = 0.05
"""How far packed logits and gradients may be from dense ones in BF16, as part of the largest."""


@dataclass(frozen=True)
class Cell:
    """One way to do the step."""

    name: str
    attention: Attention
    packed: bool
    recompute: bool
    tiles: bool
    """Logits are held a tile at a time, else whole."""
    compiled: bool = False
    """Each layer by torch.compile; GPUs only."""


CELLS = [
    Cell("padded", Attention.SDPA, packed=False, recompute=True, tiles=True),
    Cell("packed, dense mask", Attention.SDPA, packed=True, recompute=True, tiles=True),
    Cell("packed, spans", Attention.SPANS, packed=True, recompute=True, tiles=True),
    Cell("packed, spans, whole logits", Attention.SPANS, packed=True, recompute=True, tiles=False),
    Cell("packed, spans, kept", Attention.SPANS, packed=True, recompute=False, tiles=True),
    Cell("packed, spans, compiled", Attention.SPANS, packed=True, recompute=True, tiles=True, compiled=True),
    Cell("packed, spans, kept, compiled", Attention.SPANS, packed=True, recompute=False, tiles=True, compiled=True),
]
"""The third is what MoAA does today; the first two are what it did."""


@dataclass(frozen=True)
class Size:
    """What all cells share."""

    widths: dict[str, Any]
    layers: int
    tokens: int
    """Of a packed micro-step."""
    longest: int
    """Tokens of a row at most."""
    seconds: float
    """Of a cell, warm-up included."""
    device: torch.device


def lengths_of(size: Size) -> list[int]:
    """Log-normal, as answers' are, to the number of tokens."""
    draw, found = random.Random(0), list[int]()
    while (left := size.tokens - sum(found)) > 0:
        found.append(min(left, size.longest, max(2, int(draw.lognormvariate(0, 0.8) * size.longest / 4))))
    return found


def build(size: Size, cell: Cell) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(**size.widths, num_hidden_layers=size.layers, max_position_embeddings=size.tokens)
    with size.device:
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.set_attn_implementation(cell.attention.value)
    # To BF16 went the table of rotary frequencies, too, which training keeps in FP32.
    model.model.rotary_emb = type(model.model.rotary_emb)(config).to(size.device)
    if cell.recompute:
        model.gradient_checkpointing_enable()
    if cell.compiled:
        for layer in model.model.layers:
            layer.compile()
    return model.train()


def batch_of(lengths: Sequence[int], size: Size, *, packed: bool) -> dict[str, torch.Tensor]:
    """Packed in one row, or padded in one row each; `labels` are -100 where there is no token."""
    draw = torch.Generator().manual_seed(0)
    rows = [torch.randint(0, size.widths["vocab_size"], (length,), generator=draw) for length in lengths]
    if packed:
        positions = torch.cat([torch.arange(length) for length in lengths])[None]
        batch = {"input_ids": torch.cat(rows)[None], "position_ids": positions, "labels": torch.cat(rows)[None].clone()}
        batch["labels"][positions == 0] = -100
    else:
        pad = torch.nn.utils.rnn.pad_sequence
        batch = {
            "input_ids": pad(rows, batch_first=True),
            "attention_mask": pad([torch.ones_like(row) for row in rows], batch_first=True),
            "labels": pad(rows, batch_first=True, padding_value=-100),
        }
    return {name: value.to(size.device) for name, value in batch.items()}


def loss_of(model: LlamaForCausalLM, batch: dict[str, torch.Tensor], *, tiles: bool) -> torch.Tensor:
    """Mean cross-entropy over tokens."""
    asked = {name: value for name, value in batch.items() if name != "labels"}
    hidden = model.model(**asked, use_cache=False).last_hidden_state[:, :-1].flatten(0, 1)
    labels = batch["labels"][:, 1:].flatten()

    def part(states: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(model.lm_head(states).float(), wanted, reduction="sum")

    if not tiles:
        return part(hidden, labels) / (labels >= 0).sum()
    pairs = zip(torch.split(hidden, TILE), torch.split(labels, TILE), strict=True)
    sums = [checkpoint(part, *pair, use_reentrant=False) for pair in pairs]
    return torch.stack(sums).sum() / (labels >= 0).sum()


class Master:
    """AdamW on FP32 copies of BF16 weights, as DeepSpeed has them."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        self._weights = list(model.parameters())
        self._copies = [weight.detach().float() for weight in self._weights]
        self._adam = torch.optim.AdamW(self._copies, lr=1e-4, fused=self._copies[0].is_cuda or None)

    @torch.no_grad()
    def step(self) -> None:
        for copy, weight in zip(self._copies, self._weights, strict=True):
            assert weight.grad is not None, "every weight takes part"
            copy.grad, weight.grad = weight.grad.float(), None
        self._adam.step()
        self._adam.zero_grad()
        for copy, weight in zip(self._copies, self._weights, strict=True):
            weight.copy_(copy)


def operations(size: Size, lengths: Sequence[int]) -> float:
    """Of one step that computes nothing twice: 6 a parameter and token, embeddings not, and causal attention."""
    shape = read_shape({"model_type": "llama", **size.widths, "num_hidden_layers": size.layers}, "benchmark")
    multiplied = shape.parameters - shape.vocabulary * shape.hidden
    attention = 6 * shape.layers * shape.heads * shape.head_dim * sum(length**2 for length in lengths)
    return 6.0 * multiplied * sum(lengths) + attention


def planned_bytes(size: Size, cell: Cell, rows: int) -> int:
    """The memory model's total less DeepSpeed's buffers, which are not here. Padded, all rows are as long as one."""
    shape = read_shape({"model_type": "llama", **size.widths, "num_hidden_layers": size.layers}, "benchmark")
    length = size.tokens if cell.packed else size.longest
    fields = {"microBatchSize": 1 if cell.packed else rows, "batchSize": 1 if cell.packed else rows}
    spec = Sft.model_validate(
        {**fields, "maxLength": length, "packing": cell.packed, "gradientCheckpointing": cell.recompute, "zeroStage": 2}
    )
    needed = training_memory(shape, spec, workers=1, on_gpu=size.device.type == "cuda")
    return needed.total - needed.buffers


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(size: Size, cell: Cell) -> dict[str, Any]:
    """One cell's figures; those of a GPU are None on a CPU."""
    on_gpu, lengths = size.device.type == "cuda", lengths_of(size)
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    model = build(size, cell)
    master, batch = Master(model), batch_of(lengths, size, packed=cell.packed)

    def step() -> float:
        loss = loss_of(model, batch, tiles=cell.tiles)
        loss.backward()  # type: ignore[no-untyped-call]
        master.step()
        return float(loss.detach())

    begun = time.monotonic()
    first, *_ = (step() for _ in range(WARM_UP))
    synchronize(size.device)
    started, steps = time.monotonic(), 0
    while steps == 0 or time.monotonic() - begun < size.seconds:
        last = step()
        steps += 1
    synchronize(size.device)
    a_step = (time.monotonic() - started) / steps
    peak = torch.cuda.max_memory_allocated() if on_gpu else None
    speed = next((speed for name, speed in PEAKS.items() if on_gpu and name in torch.cuda.get_device_name()), None)
    return {
        "cell": cell.name,
        "steps": steps,
        "loss": [round(first, 4), round(last, 4)],
        "slots_used": round(sum(lengths) / batch["input_ids"].numel(), 3),
        "tokens_per_s": round(sum(lengths) / a_step),
        "mfu": None if speed is None else round(operations(size, lengths) / a_step / speed, 3),
        "peak_gib": None if peak is None else round(peak / 2**30, 2),
        "planned_gib": round(planned_bytes(size, cell, len(lengths)) / 2**30, 2),
        "kernels": top_kernels(step, on_gpu=on_gpu),
    }


def top_kernels(step: Any, *, on_gpu: bool, count: int = 5) -> dict[str, float]:
    """Share of the device's time in one step, by kernel."""
    kinds = torch.profiler.ProfilerActivity
    with torch.profiler.profile(activities=[kinds.CUDA if on_gpu else kinds.CPU]) as profile:
        step()
    times = {
        event.key: float(event.self_device_time_total if on_gpu else event.self_cpu_time_total)
        for event in profile.key_averages()
    }
    most = sorted(times, key=lambda name: -times[name])[:count]
    return {name[:80]: round(times[name] / max(1.0, sum(times.values())), 3) for name in most}


def disagreement(size: Size) -> float:
    """How far logits and gradients of packed rows are from those of a dense mask, as part of the largest."""
    found, short = [], Size(size.widths, 2, 384, 200, 0.0, size.device)
    batch = batch_of([7, 200, 1, 64, 112], short, packed=True)
    for kind in (Attention.SPANS, Attention.SDPA):
        model = build(short, Cell(kind.name, kind, packed=True, recompute=False, tiles=False))
        logits = model(**{name: value for name, value in batch.items() if name != "labels"}, use_cache=False).logits
        loss_of(model, batch, tiles=False).backward()  # type: ignore[no-untyped-call]
        gradients = [layer.self_attn.q_proj.weight.grad for layer in model.model.layers]
        found.append([logits.detach().float(), *(one.float() for one in gradients)])
    return max(float((one - other).abs().max() / other.abs().max()) for one, other in zip(*found, strict=True))


def chosen(size: Size, names: Sequence[str]) -> list[Cell]:
    """The cells asked for; on a CPU none that is compiled."""
    return [
        cell
        for cell in CELLS
        if (not names or cell.name in names) and (size.device.type == "cuda" or not cell.compiled)
    ]


def run(size: Size, names: Sequence[str]) -> int:
    """The exit code."""
    apart = disagreement(size)
    print(f"packed rows differ from a dense mask by {apart:.4f} of the largest value (at most {NEAR})", flush=True)
    found: list[dict[str, Any]] = []
    for cell in chosen(size, names):
        try:
            found.append(measure(size, cell))
        except (RuntimeError, ValueError) as error:  # too little memory, or no kernel: the others are measured
            found.append({"cell": cell.name, "failed": next(iter(str(error).splitlines()), type(error).__name__)})
        print(json.dumps(found[-1]), flush=True)
    on_gpu = size.device.type == "cuda"
    device = torch.cuda.get_device_name() if on_gpu else "cpu"
    about = {"device": device, "torch": torch.__version__, "layers": size.layers, "tokens": size.tokens}
    print(json.dumps({**about, "disagreement": round(apart, 5), "cells": found}))
    return 1 if apart > NEAR or any("failed" in cell for cell in found) else 0


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a small model, a step a cell: whether it runs, no figures")
    parser.add_argument("--layers", type=int, default=8, metavar="N", help="default: 8, about 45 GB of state")
    parser.add_argument("--tokens", type=int, default=16_384, metavar="N", help="of a micro-step; default: 16384")
    parser.add_argument("--longest", type=int, default=4096, metavar="N", help="tokens of a row at most; default: 4096")
    parser.add_argument("--seconds", type=float, default=25.0, metavar="S", help="a cell; default: 25")
    parser.add_argument("--cells", nargs="+", default=[], choices=[cell.name for cell in CELLS], metavar="NAME")
    options = parser.parse_args(words)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("training_gpu: needs a GPU, and torch finds none; --tiny --device cpu shows whether it runs")
        return NO_GPU
    if options.device == "cpu" and not options.tiny:
        parser.error("--device cpu measures nothing: add --tiny")
    device = torch.device(options.device)
    if options.tiny:
        return run(Size(TINY, 2, 192, 64, 0.0, device), options.cells)
    widths = (WIDTHS, options.layers, options.tokens, options.longest, options.seconds, device)
    return run(Size(*widths), options.cells)


if __name__ == "__main__":
    sys.exit(main())
