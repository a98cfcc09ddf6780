"""GPU hours and dollars of finished stages: estimates from work time, the resource's GPUs and its prices."""

from moaa.api import MoAASpec
from moaa.plan.estimate import gpus_held
from moaa.plan.stage import Stage
from moaa.store.manifest import StageManifest


def gpu_hours(spec: MoAASpec, stage: Stage, manifest: StageManifest) -> float:
    return gpus_held(spec, stage) * manifest.seconds / 3600


def usd(spec: MoAASpec, stage: Stage, manifest: StageManifest) -> float | None:
    """Dollars of GPUs and foreign endpoints; None when nothing with a price was used, or a price is not stated."""
    if unpriced(spec, stage, manifest):
        return None
    parts = []
    if hours := gpu_hours(spec, stage, manifest):
        parts.append(hours * float(spec.cost.gpu_hour_usd or 0))
    for model in spec.models:
        usage = manifest.usage.get(model.name)
        if usage is None or model.endpoint is None or model.endpoint.price is None:
            continue
        price = model.endpoint.price
        parts.append(usage.prompt_tokens / 1e6 * float(price.input_usd_per_million))
        parts.append(usage.completion_tokens / 1e6 * float(price.output_usd_per_million))
    return sum(parts) if parts else None


def unpriced(spec: MoAASpec, stage: Stage, manifest: StageManifest) -> list[str]:
    """Fields without which the cost of the stage cannot be told."""
    fields = []
    if gpu_hours(spec, stage, manifest) and spec.cost.gpu_hour_usd is None:
        fields.append("spec.cost.gpuHourUsd")
    for i, model in enumerate(spec.models):
        if model.name in manifest.usage and model.endpoint is not None and model.endpoint.price is None:
            fields.append(f"spec.models[{i}].endpoint.price")
    return fields
