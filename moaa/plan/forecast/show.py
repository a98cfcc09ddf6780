"""What `moaa validate` and `moaa plan` print, as text: the CLI adds the file and the store, nothing else."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import groupby

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from moaa.api import MoAA
from moaa.api.reading.check import warnings
from moaa.plan.budget.limits import Funds
from moaa.plan.budget.spent import Account
from moaa.plan.budget.told import forecast_sentences
from moaa.plan.forecast.estimate import Estimate, estimate, too_few, too_few_questions, total
from moaa.plan.forecast.gate import gate_sentences
from moaa.plan.graph import build
from moaa.plan.history.repeats import Repeat, sentences
from moaa.plan.ids import STAGE_DATA
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
ANEW = "to do closed iterations again, change metadata.name; what the edit leaves as it was is found and not repeated"


def validate_text(resource: MoAA) -> str:
    """Of a resource that has loaded: what it is, and advice. Errors are `ResourceError`'s own text."""
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
    """
    graph = graph or build(resource)
    staged = results[STAGE_DATA].outputs if STAGE_DATA in results else {}
    known = {**(counts or {}), **{name: output.rows for name, output in staged.items()}}
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
        told = (measured or {}) if stage.id in results else parts
        table.add_row(stage.id, status, *figures(told.get(stage.id, Estimate(stage.id))), ", ".join(stage.serves))
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
    yield from _skipped(resource, [part.stage for part in parts])
    yield (
        "Estimates rest on the assumptions in moaa/plan/forecast/estimate.py; "
        "GPU-hours are good to about a factor of two."
    )
    yield from (f"warning: {sentence}" for sentence in warnings(resource))
