"""What `moaa validate` and `moaa plan` print, as text: the CLI adds the file and the store, nothing else."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import groupby

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from moaa.api import MoAA
from moaa.api.reading.check import warnings
from moaa.api.resource import Replicas
from moaa.plan.budget.limits import Funds
from moaa.plan.budget.spent import Account
from moaa.plan.budget.told import forecast_sentences
from moaa.plan.forecast.endpoints import limit_sentences
from moaa.plan.forecast.estimate import Estimate, estimate, too_few, too_few_questions, total
from moaa.plan.forecast.gate import gate_sentences
from moaa.plan.forecast.replicas import check_limit, loads, planned_alone, table_rows
from moaa.plan.forecast.throughput import declared, server_hours
from moaa.plan.forecast.weights import weights_sentences
from moaa.plan.graph import build
from moaa.plan.history.repeats import Repeat, sentences
from moaa.plan.kinds.judge import calls_a_prompt
from moaa.plan.kinds.sliced import USER_TURNS, turns_of
from moaa.plan.ready import Decision, World, decide
from moaa.plan.result import StageResult
from moaa.plan.slices import tables
from moaa.plan.stage import Graph, Kind, Stage
from moaa.tables import Fitted

UNKNOWN = "?"
LEAST = ("models", "tokens in", "tokens out", "GPUs", "rows", "hours", "USD", "calls")
"""Columns that a narrow window does without, in this order."""
WORTH_SAYING = 0.9
"""Part of a run's hours that Auto must be below to be named to somebody who has not asked for it."""
ANEW = "to do closed iterations again, change metadata.name; what the edit leaves as it was is found and not repeated"


def validate_text(resource: MoAA) -> str:
    """Of a resource that has loaded: what it is, and advice.

    Raises:
        ResourceError: the servers of a stage need more than `serving.maxGpus`.
    """
    check_limit(resource)
    spec, graph = resource.spec, build(resource)
    iterations = f"{spec.iterations} iteration{'s' if spec.iterations != 1 else ''}"
    models = f"{len(spec.models)} model{'s' if len(spec.models) != 1 else ''}"
    lines = [
        f"{resource.metadata.name} is valid: {models}, student {spec.student}, {iterations}, {len(graph.stages)} stages"
    ]
    lines += [f"warning: {sentence}" for sentence in warnings(resource)]
    return "\n".join(lines)


def plan_view(
    resource: MoAA,
    results: Mapping[str, StageResult],
    *,
    graph: Graph | None = None,
    counts: Mapping[str, int] | None = None,
    repeated: Sequence[Repeat] = (),
    kept: Sequence[str] = (),
    found: Sequence[str] = (),
    running: Iterable[str] = (),
    measured: Mapping[str, Estimate] | None = None,
    account: Account | None = None,
) -> RenderableType:
    """The graph as a table, what is done and took, why the rest waits, what it will take, and what an edit repeats.

    `graph` and `results` come from `moaa.plan.history.survey`. `counts` are rows of tables (`sft-0`) as the user knows
    them, with what stage-data has counted of their turns; its rows replace the user's. `kept` are the sentences of
    `moaa.plan.history.repeats.without_effect`, `found` what stage-data has found of rows that are too long. `measured`
    is what stages that are done took; of one that is not in it nothing is known. `account` is what the run has spent.

    Raises:
        ResourceError: the servers of a stage need more than `serving.maxGpus`.
    """
    check_limit(resource)
    graph = graph or build(resource)
    known = {**(counts or {}), **table_rows(results)}
    parts = {part.stage: part for part in estimate(resource, known)}
    decision = decide(graph, resource, World(results, account=account or {}))
    table = Table(title=f"{resource.metadata.namespace}/{resource.metadata.name}", title_justify="left")
    table.add_column("stage", no_wrap=True)
    table.add_column("status")
    for name in ("rows", "calls", "tokens in", "tokens out", "GPUs", "hours", "GPU-h", "USD"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("models")
    shown, left = _shown(graph, results)
    for stage in shown:
        status = "running" if stage.id in running else _status(stage, results, decision)
        told = ((measured or {}) if stage.id in results else parts).get(stage.id, Estimate(stage.id))
        table.add_row(stage.id, status, *figures(told), _served(stage, resource, known))
    if left:
        table.add_row(f"{left[0].id} …", "waiting", *[""] * 8, f"{len(left)} more stages up to {left[-1].id}")
    open_parts = [parts[name] for name in graph.stages if name not in results and name in parts]
    table.add_section()
    table.add_row("left to do", "", *figures(total(open_parts)))
    edits = [*sentences(list(repeated)), *kept]
    if kept:
        edits.append(ANEW)
    short = too_few((stage for stage in graph.stages.values() if stage.id not in results), resource, known)
    notes = [*(f"edit: {line}" for line in edits), *(f"will stop with an error: {line}" for line in short)]
    notes += [f"warning: {line}" for line in (*found, *too_few_questions(resource, known))]
    if resource.spec.budget.is_given:
        funds = Funds(resource, account or {}, known)
        notes += [f"budget: {line}" for line in forecast_sentences(funds, graph, results)]
    open_stages = [stage for stage in graph.stages.values() if stage.id not in results]
    notes += [f"limit: {line}" for line in limit_sentences(open_stages, resource, known)]
    notes += [f"weights: {line}" for line in weights_sentences(open_stages, resource, results, known)]
    notes += [f"gate: {line}" for line in gate_sentences(resource, known)]
    if results:
        notes.append("Figures of stages that are done were measured.")
    return Group(Fitted(table, LEAST), *(Text(line) for line in (*notes, *_notes(resource, open_parts, known))))


def plan_text(view: RenderableType, *, width: int = 120) -> str:
    """A view as plain text, for a file, a pipe or a test."""
    console = Console(width=width, no_color=True, highlight=False)
    with console.capture() as capture:
        console.print(view)
    return capture.get()


def _shown(graph: Graph, results: Mapping[str, StageResult]) -> tuple[list[Stage], list[Stage]]:
    """Stages up to the end of the first iteration in which nothing is done yet, and the others."""
    shown: list[Stage] = []
    left: list[Stage] = []
    untouched = False
    for iteration, group in groupby(graph.stages.values(), key=lambda stage: stage.iteration):
        stages = list(group)
        (left if untouched else shown).extend(stages)
        untouched = untouched or (iteration > 0 and not any(stage.id in results for stage in stages))
    return shown, left


def _status(stage: Stage, results: Mapping[str, StageResult], decision: Decision) -> str:
    if stage.id in results:
        return "done"
    if any(identity.stage.id == stage.id for identity in decision.start):
        return "ready"
    return f"waiting: {decision.waiting[stage.id]}"


def figures(part: Estimate) -> Iterator[str]:
    """Cells of one stage or the total; empty where the stage has nothing of the kind."""
    is_total, is_training = part.stage == "total", part.trained_tokens is not None
    is_unknown = part.rows is None and not is_total
    read = part.trained_tokens if is_training and not is_total else part.prompt_tokens
    yield "" if is_total else _number(part.rows)
    yield _number(part.calls)
    yield _number(read) if read is not None or is_unknown else ""
    yield _number(part.completion_tokens) if part.completion_tokens is not None or is_unknown else ""
    yield _number(part.gpus)
    for hours in (part.hours, part.gpu_hours):
        yield UNKNOWN if hours is None else f"{hours:.1f}" if hours else ""
    yield UNKNOWN if part.usd is None else f"{part.usd.quantize(Decimal('0.01')):,}" if part.usd else ""


def _number(value: int | None) -> str:
    """`61,135`, `305k`, `137M`, `2.1B`; nothing for 0."""
    if value is None:
        return UNKNOWN
    for unit, name in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if value >= 100 * unit or (value >= unit and unit > 10**3):
            return f"{value / unit:.1f}{name}" if value < 10 * unit else f"{value / unit:.0f}{name}"
    return f"{value:,}" if value else ""


def _served(stage: Stage, resource: MoAA, known: Mapping[str, int]) -> str:
    """The models of a stage, with the number of their servers and of the machines of each, where that is not 1."""
    counts = planned_alone(resource, stage, server_hours(resource, loads(stage, resource, known)))
    models = [(name, declared(name, resource)) for name in stage.serves]
    return ", ".join(name + _spelled(counts.get(model.name, 1), model.serving.nodes) for name, model in models)


def _spelled(servers: int, nodes: int) -> str:
    count = "" if servers == 1 else f" ×{servers}"
    return count if nodes == 1 else f"{count} on {nodes} machines" + (" each" if servers > 1 else "")


def _spread(resource: MoAA, parts: Sequence[Estimate], known: Mapping[str, int]) -> Iterator[str]:
    """What `serving.replicas` Auto brings, or would bring within the GPUs that are held anyway."""
    now, names = total(parts), {part.stage for part in parts}
    if now.hours is None or now.gpu_hours is None or not now.gpus:
        return
    is_auto = resource.spec.serving.replicas is Replicas.AUTO
    limit = resource.spec.serving.max_gpus or now.gpus
    serving = {"replicas": Replicas.DECLARED if is_auto else Replicas.AUTO, "max_gpus": None if is_auto else limit}
    other = resource.with_(spec=resource.spec.with_(serving=resource.spec.serving.with_(**serving)))
    then = total(part for part in estimate(other, known) if part.stage in names)
    assert then.hours is not None, "the rows are known"
    alone, spread = (then, now) if is_auto else (now, then)
    if is_auto or then.hours < WORTH_SAYING * now.hours:
        yield (
            f"serving: {{replicas: Auto, maxGpus: {limit}}} {'takes' if is_auto else 'would take'} {spread.hours:.1f} "
            f"hours and {spread.gpu_hours:.1f} GPU-h; replicas as declared {'would take' if is_auto else 'take'} "
            f"{alone.hours:.1f} and {alone.gpu_hours:.1f}."
        )


def _skipped(resource: MoAA, names: Sequence[str]) -> Iterator[str]:
    """What judging is counted with where it skips comparisons, and between which ends that lies."""
    stages = build(resource).stages
    judging = next((stages[name] for name in names if name in stages and stages[name].kind is Kind.JUDGE), None)
    if judging is not None and (calls := calls_a_prompt(judging, resource)) is not None:
        yield (
            f"spec.judge.comparisons Adaptive is counted with {calls.usual:.0f} calls a prompt, as usual; it takes "
            f"{calls.least:.0f} at least, and up to {calls.most:.0f} where judges contradict themselves."
        )


def _notes(resource: MoAA, parts: Sequence[Estimate], known: Mapping[str, int]) -> Iterator[str]:
    unknown = [name for name, source in tables(resource) if source.limit is None and name not in known]
    if any(turns_of(name) not in known for name, _ in tables(resource)):
        yield f"Conversations count as {USER_TURNS} user turn each until stage-data has counted their turns."
    if unknown:
        yield f"?: the rows of {', '.join(unknown)} are unknown until stage-data has counted them"
    elif total(parts).usd is None:
        yield "USD ?: give spec.cost.gpuHourUsd, and endpoints their price"
    dpo, is_open = resource.spec.training.dpo, {part.stage.partition("-")[2] for part in parts}
    if dpo is not None and dpo.pairs.may_drop and Kind.DPO in is_open:
        yield (
            "Training on pairs is counted before spec.training.dpo.pairs drops any: how many it drops is known when "
            "they are judged."
        )
    yield from _spread(resource, parts, known)
    yield from _skipped(resource, [part.stage for part in parts])
    yield ("Estimates rest on the assumptions in moaa/plan/forecast; GPU-hours are good to about a factor of two.")
    yield from (f"warning: {sentence}" for sentence in warnings(resource))
