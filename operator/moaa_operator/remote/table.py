"""A run on a cluster as tables for a terminal, from its resource and status. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from moaa.api.attempts import StageAttempts, Step
from moaa.api.reading.load import load_document
from moaa.api.status import SUCCEEDED, MoAAStatus, RunCost, StageCost, StageStatus
from moaa.errors import ResourceError
from moaa.plan.result import StageResult
from moaa.tables import MARKS, Fitted
from moaa_operator.decide.scope import CHECKS
from moaa_operator.kube.objects import Object, created_at
from moaa_operator.observe.read import status_of
from moaa_operator.remote.cluster import meta
from moaa_operator.tell.conditions import ACCEPTED, SERVERS, STALLED, STORAGE, TRAINING
from moaa_operator.tell.progress import duration, sentence
from moaa_operator.tell.results import hold, iteration_of, results_of

_CALM: dict[str, str] = {ACCEPTED: "True", STORAGE: "True", SERVERS: "True", TRAINING: "True", STALLED: "False"}
"""Conditions that are not shown while they have this status."""


@dataclass(frozen=True)
class Line:
    """One stage."""

    stage: str
    status: str
    """A key of `MARKS`."""
    progress: str


def runs_table(documents: Sequence[Object], *, now: datetime) -> RenderableType:
    """A line for each MoAA, as `kubectl get moaa` shows it."""
    table = Table(box=None, padding=(0, 1))
    titles = ("name", "phase", "iteration", "stage", "progress", "score", "reason", "age")
    for title in titles:
        table.add_column(title, no_wrap=True)
    for document in documents:
        status = status_of(document)
        begun = created_at(document)
        table.add_row(
            meta(document),
            str(status.phase or "not looked at yet"),
            status.iteration or "",
            status.stage or "",
            status.progress or "",
            status.score or "",
            next((c.reason for c in status.conditions if c.type == SUCCEEDED), ""),
            duration(int((now - begun).total_seconds())) if begun else "",
        )
    return Fitted(table, ("age", "score", "iteration", "progress", "reason", "stage"))


def run_view(document: Object, *, now: datetime) -> RenderableType:
    """The head line, the stages, and what there is to know or to do."""
    status = status_of(document)
    table = Table(box=None, padding=(0, 1))
    table.add_column("stage", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("progress")
    lines, more = stage_lines(document, status, now=now)
    for line in lines:
        mark, style = MARKS[line.status]
        table.add_row(Text(f"{mark} {line.stage}", style=style), Text(line.status, style=style), line.progress)
    if more:
        table.add_row(Text(f"· {more} more stages", style="dim"), "", "of later iterations")
    return Group(
        Text(head(document, status), style="bold"), Fitted(table, ("status",)), *map(Text, notes(document, status))
    )


def head(document: Object, status: MoAAStatus) -> str:
    parts = [str(status.phase) if status.phase else "no operator has looked at it yet"]
    parts += [f"iteration {status.iteration}"] if status.iteration else []
    parts += [f"score {status.score}"] if status.score else []
    parts += [spent(status.cost)] if status.cost is not None else []
    return f"{meta(document)}: {', '.join(parts)}"


def spent(cost: RunCost | StageCost) -> str:
    """
    >>> spent(StageCost(stage="i1-sft", gpu_hours="6.00", dollars="15.00"))
    '6.00 GPU-hours, 15.00 dollars'
    """
    dollars = [] if cost.dollars is None else [f"{cost.dollars} dollars"]
    return ", ".join([f"{cost.gpu_hours} GPU-hours", *dollars])


def stage_lines(document: Object, status: MoAAStatus, *, now: datetime) -> tuple[list[Line], int]:
    """Stages up to the end of the open iteration, and how many come after them.

    Of a resource that this version cannot read only those are shown that the status names.
    """
    known = results_of(status)
    entries = {entry.stage: entry for entry in of_stages(status.attempts)}
    stages = {entry.stage: entry for entry in status.stages}
    try:
        held = hold(load_document(document), known)
        names, done = list(held.graph.stages), held.results
    except ResourceError:
        names, done = [*known, *(name for name in entries if name not in known)], known
    at = max((iteration_of(name) for name in [*done, *entries] if name in names), default=0)
    opened = at + 1 if at and all(name in done for name in names if iteration_of(name) == at) else max(at, 1)
    shown = [name for name in names if iteration_of(name) <= opened]
    return [_line(name, done, stages, entries, status, now) for name in shown], len(names) - len(shown)


def _line(
    name: str,
    done: Mapping[str, StageResult],
    stages: dict[str, StageStatus],
    entries: dict[str, StageAttempts],
    status: MoAAStatus,
    now: datetime,
) -> Line:
    if name in done:
        return Line(name, "done", made(stages[name]))
    entry = entries.get(name)
    if entry is None or (entry.step is None and not entry.failures and entry.retry_after is None):
        return Line(name, "pending", "")
    attempt = f"attempt {entry.attempt}: " if entry.attempt > 1 else ""
    match entry.step:
        case Step.SERVERS:
            return Line(name, "queued", f"{attempt}waits for its servers")
        case Step.FINALISE:
            return Line(name, "running", f"{attempt}its manifest is being written")
        case Step.WORK:
            is_shown = name == status.stage and status.work is not None
            words = sentence(status.work) if is_shown and status.work else f"{entry.reached} % is saved"
            return Line(name, "running", attempt + words)
        case None:
            return _between(name, entry, now)
        case _:
            assert_never(entry.step)


def _between(name: str, entry: StageAttempts, now: datetime) -> Line:
    """An attempt has ended, and none is under way."""
    if entry.is_permanent:
        return Line(name, "failed", entry.message)
    if entry.retry_after is None or entry.retry_after <= now:
        return Line(name, "retrying", entry.message)
    wait = duration(int((entry.retry_after - now).total_seconds()))
    return Line(name, "retrying", f"again in {wait}: {entry.message}")


def made(stage: StageStatus) -> str:
    """Rows by table, and the score."""
    rows = [f"{output.rows:,} {output.name}" for output in stage.outputs if output.rows]
    return ", ".join([*rows, *([f"score {stage.score}"] if stage.score else [])])


def notes(document: Object, status: MoAAStatus) -> Iterator[str]:
    """Sentences below the table: conditions that speak, decisions, warnings, where the weights are."""
    for condition in status.conditions:
        if condition.message and _CALM.get(condition.type) != condition.status:
            yield f"{condition.type} {condition.status} ({condition.reason}): {condition.message}"
    for closed in status.history:
        if closed.why:
            yield f"iteration {closed.iteration}: {closed.why}"
    for stage in status.stages:
        for warning in stage.warnings:
            yield f"warning: {stage.stage}: {warning}"
    if status.cost is not None:
        yield from _spending(status.cost)
    if status.promoted is not None and status.promoted.uri is not None:
        uid = document["metadata"]["uid"]
        storage = str(document["spec"]["storage"]["uri"]).rstrip("/")
        yield f"weights: {storage}/{status.promoted.uri}; `moaa export FILE --uid {uid} --model DIR` takes them"


def _spending(cost: RunCost) -> Iterator[str]:
    least = ", at least, since the status was lost once" if cost.is_least else ""
    yield f"spent{least}: {'; '.join(f'{stage.stage} {spent(stage)}' for stage in cost.stages)}"
    if cost.unpriced:
        yield f"dollars are not known without the prices of {', '.join(cost.unpriced)}"
    left = cost.left
    if left is not None:
        found = ((left.dollars, "dollars"), (left.gpu_hours, "GPU-hours"), (left.tokens, "tokens"))
        yield f"left of spec.budget: {', '.join(f'{amount} {unit}' for amount, unit in found if amount is not None)}"


def of_stages(entries: Sequence[StageAttempts]) -> list[StageAttempts]:
    """Without questions to the store."""
    return [entry for entry in entries if entry.stage not in CHECKS]


def current_stage(status: MoAAStatus) -> str | None:
    """The stage at work, or the last that was; None: none has begun."""
    if status.stage is not None:
        return status.stage
    begun = [entry.stage for entry in of_stages(status.attempts) if entry.attempt]
    done = [entry.stage for entry in status.stages]
    return next(iter([*reversed(begun), *reversed(done)]), None)
