"""A model that only scores: forward passes before training, whole on every worker or sharded under ZeRO-3."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers.integrations import HfDeepSpeedConfig
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from moaa.api.training import Optimization, Precision
from moaa_jobs.training.worker.deepspeed import scoring_config
from moaa_jobs.training.worker.model import load_model


@contextmanager
def scoring_model(folder: Path, spec: Optimization, device: torch.device) -> Iterator[Any]:
    """The bare model in evaluation mode; gone afterwards. Under ZeRO-3 every rank must call it equally often."""
    if spec.zero_stage == 3:
        import deepspeed

        # While this object lives, from_pretrained shards the weights as it reads them.
        sharded_loading = HfDeepSpeedConfig(scoring_config(spec))
        engine, *_ = deepspeed.initialize(model=load_model(folder, spec), config=scoring_config(spec))
        engine.eval()
        # Its hooks gather the parameters of each layer, so the module itself can be called.
        yield engine.module
        engine.destroy()
        del engine, sharded_loading
    else:
        yield load_model(folder, spec).to(device).eval()
    if device.type == "cuda":
        torch.cuda.empty_cache()


@torch.no_grad()
def packing_is_exact(model: Any, *, vocabulary: int, spec: Optimization, device: torch.device) -> bool:
    """Whether rows laid end to end give the logits they give alone.

    Asked of the very model: attention must stay within a row by the restarting positions alone, which depends on the
    architecture and the attention kernel. A model that lets rows see each other is told apart by far more than the
    rounding that is allowed here.
    """
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(0, vocabulary, (length,), generator=generator).tolist() for length in (9, 6, 11)]
    batch = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)([{"input_ids": row} for row in rows])
    del batch["labels"]
    together = _logits(model, dict(batch), device)[0]
    alone = torch.cat([_logits(model, {"input_ids": torch.tensor([row])}, device)[0] for row in rows])
    tolerance = 0.05 if spec.precision is Precision.BF16 else 1e-3
    return bool((together - alone).abs().max() <= tolerance * alone.abs().max())


def _logits(model: Any, batch: dict[str, Any], device: torch.device) -> torch.Tensor:
    moved = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}
    logits: torch.Tensor = model(**moved, use_cache=False).logits.float()
    return logits
