"""What a run will take: rows, calls, tokens, GPU-hours and money of every stage, before anything has run.

Arithmetic on the resource and a few assumptions, each a constant with its source. Good to about a factor of two in
GPU-hours and better in calls; the report of a run has the real figures. GPU-hours are those that are paid for: all
servers of a stage hold their GPUs until the slowest is through. The minutes in which servers start come on top.
What is not known is None, never zero: a source without `limit` has unknown rows until they are counted, and money needs
prices.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import assert_never

from moaa.api import MoAA, MoAASpec
from moaa.api.evaluation import FEW_QUESTIONS, MIN_QUESTIONS
from moaa.api.models import Model
from moaa.api.resource import Schedule
from moaa.asking.load import Load
from moaa.errors import DataError
from moaa.plan.graph import build
from moaa.plan.ids import made_by
from moaa.plan.kinds.kind import Asked, Nothing, Trained
from moaa.plan.kinds.table import KINDS, TRAINING
from moaa.plan.slices import positions, slice_rows
from moaa.plan.stage import Kind, Stage

DECODE_TOKENS_PER_S = ((2, 9000), (10, 5000), (40, 2300), (80, 1500), (150, 900), (10**6, 400))
"""Completion tokens a second and GPU, by billions of parameters: 1.7B 9.2k (HF Synthetic Data Playbook), 8B 5.1 to
5.8k (MLPerf v5.1), 32B 2.35k (GPUStack), 70B 1.5k (Lambda's 0.87k with vLLM 0.5.4, ×1.8 since). H100, vLLM, a full
batch; above 80B by extrapolation."""
PREFILL_FLOPS = 4e14
"""Useful FLOP a second and GPU on prompts, 2 a parameter and token: 40 % of an H100's dense BF16."""
TRAINED_BILLIONS = 8.0
DEFAULT_BILLIONS = 8.0
"""Where a model's name does not say its size."""


@dataclass(frozen=True)
class Estimate:
    """What one stage takes, or took, or the total. None: not known, or (tokens) nothing the stage has."""

    stage: str
    rows: int | None = None
    """None where the length of a table is unknown; then nothing else is known. None in a total."""
    calls: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    trained_tokens: int | None = None
    """Tokens that go through training, epochs counted."""
    gpus: int | None = None
    """GPUs held at once; in a total, the most of any stage."""
    hours: float | None = None
    """With full batches on GPUs; what CPUs and endpoints take is not in it. In a total, of stages one after another.
    Of a stage that is done: its time, whoever worked."""
    gpu_hours: float | None = None
    """`gpus` for `hours`, as the report counts them."""
    usd: Decimal | None = None
    """None while a price is missing: `spec.cost.gpuHourUsd`, or an endpoint's."""


def estimate(resource: MoAA, counts: Mapping[str, int] | None = None) -> list[Estimate]:
    """Every stage of the graph. `counts` are rows of stage-data's tables, where they are known."""
    known = dict(counts or {})
    return [of_stage(stage, resource, known) for stage in build(resource).stages.values()]


def total(parts: Iterable[Estimate]) -> Estimate:
    """The sum; a figure that one of the parts does not know, the sum does not know either."""
    listed = list(parts)
    if any(part.rows is None for part in listed):
        return Estimate("total")
    prices = [part.usd for part in listed]
    return Estimate(
        "total",
        calls=sum(part.calls or 0 for part in listed),
        prompt_tokens=sum(part.prompt_tokens or 0 for part in listed),
        completion_tokens=sum(part.completion_tokens or 0 for part in listed),
        trained_tokens=sum(part.trained_tokens or 0 for part in listed),
        gpus=max((part.gpus or 0 for part in listed), default=0),
        hours=sum(part.hours or 0.0 for part in listed),
        gpu_hours=sum(part.gpu_hours or 0.0 for part in listed),
        usd=None if None in prices else sum((price for price in prices if price is not None), Decimal(0)),
    )


def of_stage(stage: Stage, resource: MoAA, counts: Mapping[str, int]) -> Estimate:
    """One stage; `counts` as in `estimate`."""
    kind = KINDS[stage.kind]
    rows = kind.expected(stage, resource, counts)
    if rows is None:
        return Estimate(stage.id)
    match kind.effort(stage, resource, counts):
        case Nothing():
            return Estimate(stage.id, rows=rows, calls=0, gpus=0, hours=0.0, gpu_hours=0.0, usd=Decimal(0))
        case Asked(loads):
            return asking(stage, resource, rows, loads)
        case Trained() as trained:
            return _training(stage, resource, rows, trained)
        case other:
            assert_never(other)


def too_few(stages: Iterable[Stage], resource: MoAA, counts: Mapping[str, int]) -> list[str]:
    """The errors with which these stages will stop for want of rows, the first of each table."""
    found: dict[str, str] = {}
    for stage in stages:
        if stage.kind not in (Kind.GENERATE, Kind.SAMPLE):
            continue
        for part in slice_rows(resource, stage.kind, stage.iteration):
            if part.table in counts and part.table not in found:
                try:
                    positions(part, counts[part.table])
                except DataError as error:
                    found[part.table] = str(error)
    return list(found.values())


def too_few_questions(resource: MoAA, counts: Mapping[str, int]) -> list[str]:
    """Sentences on selection benchmarks that are too small for any gain to count, as far as their rows are known."""
    found: list[str] = []
    for i, benchmark in enumerate(resource.spec.evaluation.selection):
        sizes = [size for size in (benchmark.limit, counts.get(f"eval-{benchmark.name}")) if size is not None]
        if sizes and min(sizes) < MIN_QUESTIONS:
            found.append(f"spec.evaluation.selection[{i}]: {min(sizes)} questions; {FEW_QUESTIONS}")
    return found


def loads(stage: Stage, resource: MoAA, counts: Mapping[str, int]) -> tuple[Load, ...]:
    """What a stage asks of its models; a source whose rows are not known counts as empty."""
    effort = KINDS[stage.kind].effort(stage, resource, counts)
    return effort.loads if isinstance(effort, Asked) else ()


def asking(stage: Stage, resource: MoAA, rows: int, asked: Sequence[Load]) -> Estimate:
    """What a stage over `rows` takes that asks its models these loads."""
    foreign, is_priced = Decimal(0), True
    for load in asked:
        model = _model(load.model, resource)
        if model.endpoint is None:
            continue
        if (price := model.endpoint.price) is not None:
            usd_per_call = (
                load.prompt_tokens * price.input_usd_per_million + load.completion_tokens * price.output_usd_per_million
            )
            foreign += load.calls * usd_per_call / 1_000_000
        else:
            is_priced = False
    taken = hours_by_model(resource, asked).values()
    in_turn = resource.spec.serving.schedule is Schedule.IN_TURN
    hours = sum(taken) if in_turn else max(taken, default=0.0)
    gpus = gpus_held(resource.spec, stage) if hours else 0
    usd = _usd(resource, gpus * hours)
    return Estimate(
        stage.id,
        rows=rows,
        calls=sum(load.calls for load in asked),
        prompt_tokens=sum(load.calls * load.prompt_tokens for load in asked),
        completion_tokens=sum(load.calls * load.completion_tokens for load in asked),
        gpus=gpus,
        hours=hours,
        gpu_hours=gpus * hours,
        usd=usd + foreign if usd is not None and is_priced else None,
    )


def _training(stage: Stage, resource: MoAA, rows: int, trained: Trained) -> Estimate:
    size = billions(_model(stage.student or "", resource)) / TRAINED_BILLIONS
    gpus = gpus_held(resource.spec, stage)
    gpu_hours = trained.tokens / trained.tokens_per_s * size / 3600 if gpus else 0.0
    return Estimate(
        stage.id,
        rows=rows,
        calls=0,
        trained_tokens=trained.tokens,
        gpus=gpus,
        hours=gpu_hours / gpus if gpus else 0.0,
        gpu_hours=gpu_hours,
        usd=_usd(resource, gpu_hours),
    )


def gpus_held(spec: MoAASpec, stage: Stage) -> int:
    """GPUs the resource gives a stage: its workers', or those of the models it serves.

    With schedule InTurn one model is up at a time, so the largest counts. Students are served as the declared student.
    """
    if stage.kind in TRAINING:
        resources = spec.training.resources
        return resources.workers * resources.gpus_per_worker
    models = [spec.model(spec.student if made_by(name) else name) for name in stage.serves]
    served = [_gpus_of(model) for model in models]
    return max(served, default=0) if spec.serving.schedule is Schedule.IN_TURN else sum(served)


def _gpus_of(model: Model) -> int:
    return 0 if model.endpoint else model.serving.gpus * model.serving.replicas


def hours_by_model(resource: MoAA, loads: Iterable[Load]) -> dict[str, float]:
    """Hours of full batches on the GPUs each model holds; models without GPUs are not in it."""
    hours: dict[str, float] = {}
    for load in loads:
        model = _model(load.model, resource)
        if gpus := _gpus_of(model):
            hours[load.model] = hours.get(load.model, 0.0) + _serving_hours(model, load) / gpus
    return hours


def _model(name: str, resource: MoAA) -> Model:
    return resource.spec.model(resource.spec.student if made_by(name) else name)


def _serving_hours(model: Model, load: Load) -> float:
    """GPU-hours of full batches."""
    size = billions(model)
    decode = next(rate for limit, rate in DECODE_TOKENS_PER_S if size <= limit)
    prefill = PREFILL_FLOPS / (2e9 * size)
    return load.calls * (load.prompt_tokens / prefill + load.completion_tokens / decode) / 3600


def billions(model: Model) -> float:
    """Parameters in billions as the source's name has them: `Qwen2-72B` 72, `WizardLM-2-8x22B` 176 less shared layers
    (141 as published, so ×0.8), `SmolLM2-135M` 0.135."""
    name = (model.source or "").lower()
    found = re.findall(r"(?<![a-z0-9.])(?:(\d+)x)?(\d+(?:\.\d+)?)([bm])(?![a-z0-9])", name)
    if not found:
        return DEFAULT_BILLIONS
    experts, size, unit = found[-1]
    return float(size) * (int(experts) * 0.8 if experts else 1.0) * (1.0 if unit == "b" else 0.001)


def _usd(resource: MoAA, gpu_hours: float) -> Decimal | None:
    price = resource.spec.cost.gpu_hour_usd
    if gpu_hours == 0:
        return Decimal(0)
    return None if price is None else Decimal(str(round(gpu_hours, 4))) * price
