"""The weights in a worker's memory, one model at a time: what has scored is trained without being loaded again.

A worker tries a student's attention, scores pairs with the ref_model, and trains the student. The ref_model of DPO is
most often the student as it stands before training, so a worker loads once. A student of 70 billion parameters takes
minutes to load.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from moaa.api.training import Optimization
from moaa_jobs.training.worker.attention.kinds import Attention, for_padding
from moaa_jobs.training.worker.deepspeed import scoring_config
from moaa_jobs.training.worker.model import load_together

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Models:
    """Every rank asks for the same in the same order: loading and, under ZeRO-3, each pass is done together."""

    def __init__(self, spec: Optimization, device: torch.device) -> None:
        self.device = device
        self._spec = spec
        self._folder: Path | None = None
        self._model: PreTrainedModel | None = None

    @contextmanager
    def scoring(self, folder: Path) -> Iterator[Any]:
        """The bare model in evaluation mode, whole on every worker or sharded under ZeRO-3. It may be given another
        attention and the fused head, and no other weights.

        Raises:
            TrainingRefused: it cannot be loaded.
        """
        if self._spec.zero_stage == 3:
            import deepspeed

            engine, *_ = deepspeed.initialize(model=self._loaded(folder), config=scoring_config(self._spec))
            engine.eval()
            # Its hooks gather the parameters of each layer, so the module itself can be called.
            yield engine.module
            engine.destroy()
        else:
            yield self._loaded(folder).to(self.device).eval()

    def take(self, folder: Path, attention: Attention | None) -> "PreTrainedModel":
        """The model to be trained, which is no longer kept here. Under ZeRO-3 training arguments have to exist.
        `attention`: None is that for padded rows.

        Raises:
            TrainingRefused: it cannot be loaded.
        """
        if self._folder != folder.resolve() or self._model is None:
            self._drop()
            return load_together(folder, self._spec, self.device, attention)
        model = self._model
        model.set_attn_implementation(attention or for_padding(model.config))
        self._drop()
        return model

    def _loaded(self, folder: Path) -> "PreTrainedModel":
        if self._folder != folder.resolve() or self._model is None:
            self._drop()
            self._model, self._folder = self._load(folder), folder.resolve()
        return self._model

    def _load(self, folder: Path) -> "PreTrainedModel":
        if self._spec.zero_stage < 3:
            return load_together(folder, self._spec, self.device)
        from transformers.integrations import HfDeepSpeedConfig

        # While this object lives, from_pretrained shards the weights as it reads them.
        sharded_loading = HfDeepSpeedConfig(scoring_config(self._spec))
        model = load_together(folder, self._spec, self.device)
        del sharded_loading
        return model

    def _drop(self) -> None:
        self._model = self._folder = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
