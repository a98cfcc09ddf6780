"""What finished stages took, from their manifests: GPU hours by work time and GPUs held, dollars by prices."""

from collections.abc import Mapping
from decimal import Decimal

from moaa.api import MoAA, MoAASpec
from moaa.api.resource import Amount
from moaa.plan.budget.limits import Funds, limits_of, units_of_bill
from moaa.plan.budget.spent import Bill
from moaa.plan.forecast.estimate import Estimate
from moaa.plan.forecast.replicas import gpus_given
from moaa.plan.ids import STAGE_DATA
from moaa.plan.kinds.table import TRAINING
from moaa.plan.result import StageResult
from moaa.plan.stage import Stage
from moaa.report.schema import BudgetSummary
from moaa.run.view import RunView, StageView
from moaa.store.stages.manifest import StageManifest, TokenUsage


def gpu_hours(view: RunView, stage: StageView) -> float | None:
    """By the resource that the stage was made with; None until it is done."""
    if stage.manifest is None:
        return None
    gpus = gpus_given(stage.resource or view.resource, stage.stage, counted(view))
    return max(gpus * stage.manifest.seconds - stage.spared_gpu_seconds, 0.0) / 3600


def counted(view: RunView) -> dict[str, StageResult]:
    """What stage-data has counted: its result, once it is done."""
    staged = view.of(STAGE_DATA)
    return {} if staged is None or staged.manifest is None else {STAGE_DATA: staged.manifest.result()}


def usd(view: RunView, stage: StageView) -> float | None:
    """Dollars of GPUs and foreign endpoints; None when nothing with a price was used, or a price is not stated.

    At the prices that the resource states now: they may be added when all is done.
    """
    if stage.manifest is None or unpriced(view, stage):
        return None
    parts = _dollars(stage.manifest, gpu_hours(view, stage) or 0.0, view.resource.spec)
    return sum(parts) if parts else None


def unpriced(view: RunView, stage: StageView) -> list[str]:
    """Fields without which the cost of the stage cannot be told."""
    if stage.manifest is None:
        return []
    return _unpriced(stage.manifest, gpu_hours(view, stage) or 0.0, view.resource.spec)


def budget(view: RunView) -> list[BudgetSummary]:
    """Every limit of the run, and of each iteration that has spent something, with what is spent of it."""
    spec, funds = view.resource.spec, Funds(view.resource, view.account)
    iterations = dict.fromkeys(s.stage.iteration for s in view.stages)
    scopes: list[tuple[str, Amount, Bill]] = [("run", spec.budget, funds.spent())]
    scopes += [(f"iteration {i}", spec.budget.per_iteration, funds.spent(iteration=i)) for i in iterations]
    return [
        BudgetSummary(scope=scope, unit=unit.value, limit=float(limit), spent=float(units_of_bill(paid)[unit]))
        for scope, amount, paid in scopes
        for unit, limit in limits_of(amount).items()
        if scope == "run" or units_of_bill(paid)[unit]
    ]


def measured(
    stage: Stage, manifest: StageManifest, *, made_with: MoAA, prices: MoAASpec, results: Mapping[str, StageResult]
) -> Estimate:
    """What a stage took, by the names that the plan's estimates have; `prices` states what things cost now. Of
    `results` stage-data's says how many rows there were. As in an estimate, all servers count to the stage's end."""
    gpus = gpus_given(made_with, stage, results)
    usage = sum(manifest.usage.values(), TokenUsage())
    hours, tokens = gpus * manifest.seconds / 3600, manifest.metrics.get("tokens")
    is_priced = not _unpriced(manifest, hours, prices)
    return Estimate(
        stage.id,
        rows=manifest.rows_in,
        calls=usage.calls,
        prompt_tokens=usage.prompt_tokens if manifest.usage else None,
        completion_tokens=usage.completion_tokens if manifest.usage else None,
        trained_tokens=int(tokens) if stage.kind in TRAINING and tokens is not None else None,
        gpus=gpus,
        hours=manifest.seconds / 3600,
        gpu_hours=hours,
        usd=Decimal(str(sum(_dollars(manifest, hours, prices)))) if is_priced else None,
    )


def _dollars(manifest: StageManifest, hours: float, prices: MoAASpec) -> list[float]:
    """Of GPUs and of each endpoint; what has no price is not in it (`_unpriced`)."""
    parts = [hours * float(prices.cost.gpu_hour_usd or 0)] if hours else []
    for model in prices.models:
        usage = manifest.usage.get(model.name)
        if usage is None or model.endpoint is None or model.endpoint.price is None:
            continue
        price = model.endpoint.price
        parts.append(usage.prompt_tokens / 1e6 * float(price.input_usd_per_million))
        parts.append(usage.completion_tokens / 1e6 * float(price.output_usd_per_million))
    return parts


def _unpriced(manifest: StageManifest, hours: float, prices: MoAASpec) -> list[str]:
    fields = ["spec.cost.gpuHourUsd"] if hours and prices.cost.gpu_hour_usd is None else []
    for i, model in enumerate(prices.models):
        if model.name in manifest.usage and model.endpoint is not None and model.endpoint.price is None:
            fields.append(f"spec.models[{i}].endpoint.price")
    return fields
