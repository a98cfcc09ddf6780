"""GPU hours and dollars of finished stages: estimates from work time, GPUs that a stage had, and prices."""

from moaa.plan.forecast.estimate import gpus_held
from moaa.run.view import RunView, StageView


def gpu_hours(view: RunView, stage: StageView) -> float | None:
    """By the resource that the stage was made with; None until it is done."""
    if stage.manifest is None:
        return None
    return gpus_held(view.spec_of(stage), stage.stage) * stage.manifest.seconds / 3600


def usd(view: RunView, stage: StageView) -> float | None:
    """Dollars of GPUs and foreign endpoints; None when nothing with a price was used, or a price is not stated.

    At the prices that the resource states now: they may be added when all is done.
    """
    if stage.manifest is None or unpriced(view, stage):
        return None
    spec = view.resource.spec
    parts = []
    if hours := gpu_hours(view, stage):
        parts.append(hours * float(spec.cost.gpu_hour_usd or 0))
    for model in spec.models:
        usage = stage.manifest.usage.get(model.name)
        if usage is None or model.endpoint is None or model.endpoint.price is None:
            continue
        price = model.endpoint.price
        parts.append(usage.prompt_tokens / 1e6 * float(price.input_usd_per_million))
        parts.append(usage.completion_tokens / 1e6 * float(price.output_usd_per_million))
    return sum(parts) if parts else None


def unpriced(view: RunView, stage: StageView) -> list[str]:
    """Missing fields without which the cost of the stage is unknown."""
    spec, usage = view.resource.spec, stage.manifest.usage if stage.manifest else {}
    fields = []
    if gpu_hours(view, stage) and spec.cost.gpu_hour_usd is None:
        fields.append("spec.cost.gpuHourUsd")
    for i, model in enumerate(spec.models):
        if model.name in usage and model.endpoint is not None and model.endpoint.price is None:
            fields.append(f"spec.models[{i}].endpoint.price")
    return fields
