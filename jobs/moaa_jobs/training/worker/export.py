"""The trained weights as a folder that serves: safetensors of ours, everything else as the source has it.

Tokenizer, chat template, generation settings and configuration are copied, not written again: training changes none of
them, and files written by a newer library version are what serving engines fail on. Only the configuration's dtype is
set, to that of the weights. The folder is loaded back and must give the trained model's logits before it counts.
"""

import inspect
import json
import shutil
from pathlib import Path
from typing import Any

import torch

from moaa.api.training import Optimization, Precision
from moaa_jobs.training.worker.model import load_model
from moaa_jobs.training.worker.weights.lora import base_of

_WEIGHTS = ("model*.safetensors", "model.safetensors.index.json")
_NOT_COPIED = (
    "*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json", "*.pt", "*.pth", "*.gguf", "*.h5",
    "*.msgpack", "*.onnx", "training_args*", "trainer_state.json", ".*", "*.md",
)  # fmt: skip
PROBE_TOKENS = 64
FAR = 4096
"""Where the probe's positions end, if the model goes as far. Rotary tables that are off show at great distances."""


def arrange(saved: Path, source: Path, folder: Path, spec: Optimization, *, chat_template: str | None = None) -> None:
    """Build the export in `folder`: weights moved from `saved` (what the trainer wrote), the rest from `source`.

    `chat_template` is the one trained with, where the resource gave it: serving the folder needs it.

    Raises:
        RuntimeError: the trainer wrote no weights.
    """
    shutil.rmtree(folder, ignore_errors=True)
    ignore = shutil.ignore_patterns(*_NOT_COPIED)
    names = [entry.name for entry in source.iterdir() if entry.is_file()]
    folder.mkdir(parents=True)
    for name in sorted(set(names) - ignore(str(source), names)):
        shutil.copyfile(source / name, folder / name)
    weights = [file for pattern in _WEIGHTS for file in saved.glob(pattern)]
    if not weights:
        raise RuntimeError(f"{saved}: the trainer wrote no weights")
    for file in weights:
        shutil.move(file, folder / file.name)
    _set_dtype(folder / "config.json", "bfloat16" if spec.precision is Precision.BF16 else "float32")
    if chat_template is not None:
        (folder / "chat_template.jinja").write_text(chat_template, encoding="utf-8")


def _set_dtype(file: Path, dtype: str) -> None:
    config = json.loads(file.read_text(encoding="utf-8"))
    # Older files say torch_dtype, newer ones dtype; readers of either kind must find what the weights are.
    for name in {"dtype", "torch_dtype"} & config.keys() or {"torch_dtype"}:
        config[name] = dtype
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


@torch.no_grad()
def probe(model: Any, ids: list[int], device: torch.device) -> torch.Tensor:
    """Logits after the last of the first `PROBE_TOKENS` tokens, one after another and with the second half far from the
    first: shape (2, vocabulary). On every rank, since ZeRO-3 gathers for it. A model that takes no positions is asked
    for the first alone, shape (1, vocabulary), and so is one whose configuration names no furthest position."""
    shown = torch.tensor([ids[:PROBE_TOKENS]], device=device)
    bare = base_of(model)  # what is around it hides the parameters of `forward`
    found = [model(input_ids=shown, use_cache=False)]
    furthest = getattr(bare.config.get_text_config(), "max_position_embeddings", None)
    if furthest is not None and "position_ids" in inspect.signature(bare.forward).parameters:
        count = shown.shape[1]
        gap = max(0, min(FAR, furthest) - count)
        positions = torch.arange(count, device=device)
        positions[count // 2 :] += gap
        # With a mask, a leap in positions does not begin another row.
        whole = torch.ones_like(shown)
        found.append(model(input_ids=shown, position_ids=positions[None], attention_mask=whole, use_cache=False))
    return torch.stack([output.logits[0, -1].float().cpu() for output in found])


def verify(folder: Path, ids: list[int], trained: torch.Tensor, spec: Optimization) -> None:
    """Load the folder again and compare.

    Raises:
        RuntimeError: its logits are not the trained model's.
    """
    loaded = probe(load_model(folder, spec).eval(), ids, torch.device("cpu"))
    tolerance = 0.05 if spec.precision is Precision.BF16 else 1e-3
    gap = float((loaded - trained).abs().max())
    if not gap <= tolerance * float(trained.abs().max()):
        raise RuntimeError(f"{folder}: loaded back, its logits differ from the trained model's by {gap:.3g}")
