"""What a run will take: rows, calls, tokens, GPU-hours and money of every stage, before anything has run.

Arithmetic on the resource and a few assumptions, each a constant with its source. Good to about a factor of two in
GPU-hours and better in calls; the report of a run has the real figures. GPU-hours are those that are paid for: all
servers of a stage hold their GPUs until the slowest is through. The minutes in which servers start come on top.
What is not known is None, never zero: a source without `limit` has unknown rows until they are counted, and money needs
prices.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from moaa.api import MoAA, MoAASpec
from moaa.api.data import Answers
from moaa.api.evaluation import Benchmark, Pairwise
from moaa.api.mixture import Judge, JudgeMethod, Mixture
from moaa.api.models import Model
from moaa.api.resource import Schedule
from moaa.errors import DataError
from moaa.plan.graph import benchmarks, build, made_by, resolved_judge, resolved_mixture
from moaa.plan.slices import Slice, positions, rows_taken, slice_rows
from moaa.plan.stage import TRAINING, Kind, Stage
from moaa.plan.subjects import How, subjects

# Recipe §1.7: 560 tokens a proposer call and about 2,100 an aggregator call with four proposals.
PROMPT_TOKENS = 200
ANSWER_TOKENS = 360
AGGREGATE_INSTRUCTION_TOKENS = 280
"""Our aggregate prompt (about 1,150 characters) without its proposals."""
MARKER_TOKENS = 20
"""Marker lines around one proposal or evaluation."""
CRITERIA_INSTRUCTION_TOKENS = 550
"""Our criteria prompt with eight definitions and its example."""
CRITERIA_ANSWER_TOKENS = 100
JUDGE_INSTRUCTION_TOKENS = 330
EVALUATION_TOKENS = 450
"""Free text of one judge: three criteria, a summary, a comparison (ours; peers write 400)."""
VERDICT_TOKENS = 300
USER_TURNS = 1
"""UltraFeedback; a multi-turn source costs a mixture pass a turn."""
USABLE_PAIRS = Decimal("0.9")
"""Part of the prompts whose best and worst answers differ (ours)."""

DECODE_TOKENS_PER_S = ((2, 9000), (10, 5000), (40, 2300), (80, 1500), (150, 900), (10**6, 400))
"""Completion tokens a second and GPU, by billions of parameters: 1.7B 9.2k (HF Synthetic Data Playbook), 8B 5.1 to
5.8k (MLPerf v5.1), 32B 2.35k (GPUStack), 70B 1.5k (Lambda's 0.87k with vLLM 0.5.4, ×1.8 since). H100, vLLM, a full
batch; above 80B by extrapolation."""
PREFILL_FLOPS = 4e14
"""Useful FLOP a second and GPU on prompts, 2 a parameter and token: 40 % of an H100's dense BF16."""
SFT_TOKENS_PER_S = 6000
"""A GPU, 8B, packed BF16 (torchtitan's 5.8 to 6.7k on H100); other sizes in proportion."""
DPO_TOKENS_PER_S = 3000
"""Of chosen and rejected together (open-instruct: 2.0 to 5.3k on H100)."""
TRAINED_BILLIONS = 8.0
DEFAULT_BILLIONS = 8.0
"""Where a model's name does not say its size."""


@dataclass(frozen=True)
class Estimate:
    """One stage, or the total. None: not known from the resource, or (tokens) nothing the stage has."""

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
    """With full batches on GPUs; what CPUs and endpoints take is not in it. In a total, of stages one after another."""
    gpu_hours: float | None = None
    """`gpus` for `hours`, as the report counts them."""
    usd: Decimal | None = None
    """None while a price is missing: `spec.cost.gpuHourUsd`, or an endpoint's."""


@dataclass(frozen=True)
class Load:
    """Calls of one shape to one model."""

    model: str
    calls: int
    prompt_tokens: int
    """Of one call."""
    completion_tokens: int
    """Of one call."""


def estimate(resource: MoAA, counts: Mapping[str, int] | None = None) -> list[Estimate]:
    """Every stage of the graph. `counts` are rows of stage-data's tables, where they are known."""
    known = dict(counts or {})
    return [_stage(stage, resource, known) for stage in build(resource).stages.values()]


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


def _stage(stage: Stage, resource: MoAA, counts: Mapping[str, int]) -> Estimate:
    if stage.kind in (Kind.RESOLVE, Kind.STAGE_DATA, Kind.PROMOTE):
        return Estimate(stage.id, rows=0, calls=0, gpus=0, hours=0.0, gpu_hours=0.0, usd=Decimal(0))
    rows = _rows(stage, resource, counts)
    if rows is None:
        return Estimate(stage.id)
    if stage.kind in TRAINING:
        return _training(stage, resource, rows)
    return _asking(stage, resource, rows, list(loads(stage, resource, counts)))


def _rows(stage: Stage, resource: MoAA, counts: Mapping[str, int]) -> int | None:
    """Rows a stage works on; None while a table's length is unknown."""
    spec = resource.spec
    if stage.kind is Kind.EVALUATE:
        sizes = [_questions(b, counts) for b in benchmarks(spec)]
    else:
        source = Kind.GENERATE if stage.kind in (Kind.GENERATE, Kind.SFT) else Kind.SAMPLE
        sizes = [_taken(part, counts) for part in slice_rows(resource, source, stage.iteration)]
    rows = 0
    for size in sizes:
        if size is None:
            return None
        rows += size
    return int(rows * USABLE_PAIRS) if stage.kind is Kind.DPO else rows


def _taken(part: Slice, counts: Mapping[str, int]) -> int | None:
    """Rows of a slice. A table with fewer ends no slice early: it is read again, or the stage stops (`too_few`)."""
    return rows_taken(part, counts[part.table]) if part.table in counts else part.limit


def _questions(benchmark: Benchmark, counts: Mapping[str, int]) -> int | None:
    """Rows of a benchmark, which `limit` only caps."""
    counted = counts.get(f"eval-{benchmark.name}", benchmark.limit)
    return counted if counted is None or benchmark.limit is None else min(counted, benchmark.limit)


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


def loads(stage: Stage, resource: MoAA, counts: Mapping[str, int]) -> Iterator[Load]:
    """What a stage asks of its models; a source whose rows are not known counts as empty."""
    spec = resource.spec
    if stage.kind is Kind.GENERATE:
        parts = zip(spec.data.sft, slice_rows(resource, Kind.GENERATE, stage.iteration), strict=True)
        asked = [part for source, part in parts if source.answers is Answers.MIXTURE]
        prompts = sum(_taken(part, counts) or 0 for part in asked)
        if asked:
            yield from _mixture_loads(resolved_mixture(resource, stage), prompts * USER_TURNS)
    elif stage.kind is Kind.SAMPLE and spec.training.dpo is not None:
        rows = _rows(stage, resource, counts) or 0
        yield Load(stage.student or spec.student, rows * spec.training.dpo.samples, PROMPT_TOKENS, ANSWER_TOKENS)
    elif stage.kind is Kind.JUDGE and spec.judge is not None and spec.training.dpo is not None:
        rows, samples = _rows(stage, resource, counts) or 0, spec.training.dpo.samples
        yield from judge_loads(resolved_judge(spec.judge, resource, stage), rows * samples * (samples - 1) // 2)
    elif stage.kind is Kind.EVALUATE:
        yield from _evaluation_loads(stage, resource, counts)


def _mixture_loads(mixture: Mixture, prompts: int) -> Iterator[Load]:
    read = 0
    for layer in mixture.layers:
        for proposer in layer.proposers:
            yield Load(proposer.model, prompts * proposer.samples, _with_proposals(read), ANSWER_TOKENS)
        read = sum(proposer.samples for proposer in layer.proposers)
    yield Load(mixture.aggregator.model, prompts, _with_proposals(read), ANSWER_TOKENS)


def _with_proposals(count: int) -> int:
    """Tokens of a prompt that shows `count` proposals of the layer before."""
    shown = AGGREGATE_INSTRUCTION_TOKENS + count * (ANSWER_TOKENS + MARKER_TOKENS)
    return PROMPT_TOKENS + (shown if count else 0)


def judge_loads(judge: Judge, pairs: int) -> Iterator[Load]:
    """Calls that decide `pairs` unordered pairs, each in both orders."""
    both = PROMPT_TOKENS + 2 * ANSWER_TOKENS
    if judge.criteria and judge.aggregator is not None:
        yield Load(judge.aggregator.model, pairs, both + CRITERIA_INSTRUCTION_TOKENS, CRITERIA_ANSWER_TOKENS)
    written = VERDICT_TOKENS if judge.method is JudgeMethod.PANEL else EVALUATION_TOKENS
    for model in judge.judges:
        yield Load(model.model, 2 * pairs, both + JUDGE_INSTRUCTION_TOKENS, written)
    if judge.aggregator is not None:
        read = len(judge.judges) * (EVALUATION_TOKENS + MARKER_TOKENS)
        yield Load(judge.aggregator.model, 2 * pairs, both + JUDGE_INSTRUCTION_TOKENS + read, VERDICT_TOKENS)


def _evaluation_loads(stage: Stage, resource: MoAA, counts: Mapping[str, int]) -> Iterator[Load]:
    """Answers of everyone measured, then verdicts against the baseline, whose answers iteration 0 has made."""
    measured = subjects(resource, stage)
    for benchmark in benchmarks(resource.spec):
        answers = (_questions(benchmark, counts) or 0) * benchmark.samples
        if any(subject.how is How.MIXTURE for subject in measured):
            yield from _mixture_loads(resolved_mixture(resource, stage), answers)
        for subject in measured:
            if subject.how is How.ALONE:
                yield Load(subject.model, answers, PROMPT_TOKENS, ANSWER_TOKENS)
        if isinstance(benchmark, Pairwise):
            yardstick = resource.spec.student if benchmark.baseline == "$base" else benchmark.baseline
            # The baseline's own answers tie without a call.
            others = [s for s in measured if s.how is How.MIXTURE or s.model != yardstick]
            yield from judge_loads(resolved_judge(benchmark.judge, resource, stage), answers * len(others))


def _asking(stage: Stage, resource: MoAA, rows: int, asked: list[Load]) -> Estimate:
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


def _training(stage: Stage, resource: MoAA, rows: int) -> Estimate:
    training = resource.spec.training
    if stage.kind is Kind.SFT and training.sft is not None:
        tokens = int(rows * training.sft.epochs * (PROMPT_TOKENS + ANSWER_TOKENS) * USER_TURNS)
        per_second = float(SFT_TOKENS_PER_S)
    elif training.dpo is not None:
        tokens = int(rows * training.dpo.epochs * 2 * (PROMPT_TOKENS + ANSWER_TOKENS))
        per_second = float(DPO_TOKENS_PER_S)
    else:
        raise ValueError(f"spec.training: {stage.id} belongs to a part that is absent")
    size = billions(_model(stage.student or "", resource)) / TRAINED_BILLIONS
    gpus = gpus_held(resource.spec, stage)
    gpu_hours = tokens / per_second * size / 3600 if gpus else 0.0
    return Estimate(
        stage.id,
        rows=rows,
        calls=0,
        trained_tokens=tokens,
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
