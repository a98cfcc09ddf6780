"""How fast models answer on GPUs: published figures, by the size that a model's name says.

Good to about a factor of two; the shares of a stage's models in its work are better than that.
"""

import re
from collections.abc import Iterable
from math import inf

from moaa.api import MoAA
from moaa.api.models import Model
from moaa.asking.load import Load
from moaa.plan.ids import made_by

DECODE_TOKENS_PER_S = ((2, 9000), (10, 5000), (40, 2300), (80, 1500), (150, 900), (inf, 400))
"""Completion tokens a second and GPU, by billions of parameters: 1.7B 9.2k (HF Synthetic Data Playbook), 8B 5.1 to
5.8k (MLPerf v5.1), 32B 2.35k (GPUStack), 70B 1.5k (Lambda's 0.87k with vLLM 0.5.4, ×1.8 since). H100, vLLM, a full
batch; above 80B by extrapolation."""
PREFILL_FLOPS = 4e14
"""Useful FLOP a second and GPU on prompts, 2 a parameter and token: 40 % of an H100's dense BF16."""
DEFAULT_BILLIONS = 8.0
"""Where a model's name does not say its size."""


def server_hours(resource: MoAA, loads: Iterable[Load]) -> dict[str, float]:
    """Hours of full batches on one server of each model, by the names of the loads; models without GPUs are not in
    it."""
    hours: dict[str, float] = {}
    for load in loads:
        model = declared(load.model, resource)
        if model.endpoint is None and model.serving.gpus:
            hours[load.model] = hours.get(load.model, 0.0) + _gpu_hours(model, load) / model.serving.gpus
    return hours


def declared(name: str, resource: MoAA) -> Model:
    """The model of `Stage.serves`; a student that a stage made is served as the declared one."""
    return resource.spec.model(resource.spec.student if made_by(name) else name)


def _gpu_hours(model: Model, load: Load) -> float:
    size = billions(model)
    decode = next(rate for limit, rate in DECODE_TOKENS_PER_S if size <= limit)
    prefill_s = load.prompt_tokens * 2e9 * size / PREFILL_FLOPS
    return load.calls * (prefill_s + load.completion_tokens / decode) / 3600


def billions(model: Model) -> float:
    """Parameters in billions as the source's name has them: `Qwen2-72B` 72, `WizardLM-2-8x22B` 176 less shared layers
    (141 as published, so ×0.8), `SmolLM2-135M` 0.135."""
    name = (model.source or "").lower()
    found = re.findall(r"(?<![a-z0-9.])(?:(\d+)x)?(\d+(?:\.\d+)?)([bm])(?![a-z0-9])", name)
    if not found:
        return DEFAULT_BILLIONS
    experts, size, unit = found[-1]
    return float(size) * (int(experts) * 0.8 if experts else 1.0) * (1.0 if unit == "b" else 0.001)
