"""Showing a run: a live table on a terminal, one line a step elsewhere, or JSON lines for programs."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO, Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from moaa.local.show.board import Board, StageLine, Status
from moaa.local.show.events import Notify, line
from moaa.tables import MARKS, Fitted

REFRESH_HZ = 2
PLAIN_PROGRESS_S = 15.0
"""At most one progress line a stage in this time; everything else is shown at once."""
AROUND = 8
"""Lines of the live table that are no stages: title, header, servers, what is lacking, an error or two."""


@contextmanager
def display(*, as_json: bool, console: Console) -> Iterator[Notify]:
    """What to hand to the executor so that the run can be watched."""
    if as_json:
        yield JsonLines(console.file)
    elif console.is_terminal:
        board = Board()
        with Live(
            get_renderable=lambda: render(board, height=console.size.height),
            console=console,
            refresh_per_second=REFRESH_HZ,
        ):
            yield board
    else:
        yield PlainLines(console.file)


class JsonLines:
    """Every event as one JSON object: `time`, `event`, then its fields."""

    def __init__(self, out: IO[str], *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._out = out
        self._now = now

    def __call__(self, event: str, /, **fields: object) -> None:
        body = {"time": self._now().isoformat(timespec="milliseconds"), "event": event, **fields}
        self._out.write(json.dumps(body, ensure_ascii=False, default=str) + "\n")
        self._out.flush()


class PlainLines:
    """Every event as one line of text; progress of a stage at most every 15 s."""

    def __init__(
        self,
        out: IO[str],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._out = out
        self._now = now
        self._clock = clock
        self._told: dict[str, float] = {}

    def __call__(self, event: str, /, **fields: object) -> None:
        if event == "stage_progress":
            stage = str(fields["stage"])
            if self._clock() - self._told.get(stage, float("-inf")) < PLAIN_PROGRESS_S:
                return
            self._told[stage] = self._clock()
        self._out.write(f"{self._now():%H:%M:%S} {line(event, fields)}\n")
        self._out.flush()


def render(board: Board, *, height: int | None = None) -> Group:
    """The live table. While the run goes on, stages that are done and stages far ahead are counted in place of shown,
    as far as `height` lines ask for it."""
    table = Table(box=None, padding=(0, 1), expand=False)
    for title, justify in (("stage", "left"), ("status", "left"), ("time", "right")):
        table.add_column(title, justify=justify, no_wrap=True)  # type: ignore[arg-type]  # rich's literal type
    table.add_column("progress")
    before, stages, after = _folded(board, height)
    if before:
        said = sum(len(stage.said) for stage in before.values())
        table.add_row(Text(f"✓ {len(before)} stages done", style="green"), "", "", f"{said} remarks" if said else "")
    for name, stage in stages.items():
        mark, style = MARKS[stage.status]
        seconds = board.elapsed_s(stage)
        table.add_row(
            Text(f"{mark} {name}", style=style),
            Text(stage.status, style=style),
            "" if seconds is None else duration(seconds),
            Text(summary(stage)),
        )
    if after:
        table.add_row(Text(f"· {len(after)} more stages", style="dim"), "", "", f"up to {after[-1]}")
    parts: list[Any] = [Text(f"{board.run} → {board.storage}", style="bold"), Fitted(table, ("status",))]
    if board.servers:
        parts.append(Text("servers  " + "  ".join(f"{m} ({s})" for m, s in board.servers.items()), style="dim"))
    fewer = {
        model: n for s in board.stages.values() if s.status is Status.RUNNING for model, n in s.fewer_replicas.items()
    }
    if fewer:
        parts.append(Text("room for  " + "  ".join(f"{n} replicas of {m}" for m, n in fewer.items()), style="yellow"))
    parts += [Text(f"{n}: {said}") for n, s in stages.items() for said in s.said]
    parts += [Text(f"{n}: {s.error}", style="yellow") for n, s in board.stages.items() if s.error]
    if board.is_stopping:
        parts.append(
            Text("stopping in order, so that nothing is lost; Ctrl-C again stops at once", style="bold yellow")
        )
    return Group(*parts)


def _folded(board: Board, height: int | None) -> tuple[dict[str, StageLine], dict[str, StageLine], tuple[str, ...]]:
    """Stages counted as done, stages shown, names of those counted as to come. All are shown once nothing goes on."""
    stages = board.stages
    goes_on = any(stage.status in (Status.QUEUED, Status.RUNNING, Status.RETRYING) for stage in stages.values())
    over = len(stages) + AROUND - height if height and goes_on else 0
    names = list(stages)
    done = next((i for i, s in enumerate(stages.values()) if s.status not in (Status.DONE, Status.REUSED)), 0)
    ahead = next((i for i, s in enumerate(reversed(stages.values())) if s.status is not Status.PENDING), 0)
    first = min(over + 1, done) if over > 0 and done > 1 else 0
    over -= first - 1 if first else 0
    last = min(over + 1, ahead) if over > 0 and ahead > 1 else 0
    shown = names[first : len(names) - last]
    return (
        {name: stages[name] for name in names[:first]},
        {name: stages[name] for name in shown},
        tuple(names[len(names) - last :]),
    )


def summary(stage: StageLine) -> str:
    """What a stage is doing, in one line.

    >>> summary(StageLine(Status.RUNNING, {"rows_done": 3, "rows_total": 12, "tokens_per_s": 812.4, "eta_s": 61}))
    '3/12 rows  812 tokens/s  1m01s left'
    """
    if stage.status is Status.PENDING:
        return ""
    if stage.status in (Status.DONE, Status.REUSED):
        lost = f"  {stage.failed} failed" if stage.failed else ""
        return f"{stage.rows} rows{lost}" if stage.rows else ""
    if stage.status is Status.QUEUED and not stage.figures:
        return f"waits for {', '.join(stage.models)}" if stage.models else ""
    figures = stage.figures
    parts = []
    if figures.get("rows_total"):
        parts.append(f"{figures.get('rows_done', 0)}/{figures['rows_total']} rows")
    if figures.get("steps"):
        parts.append(f"step {figures.get('step', 0)}/{figures['steps']}")
    if isinstance(loss := figures.get("loss"), int | float):
        parts.append(f"loss {loss:.3f}")
    if figures.get("failed"):
        parts.append(f"{figures['failed']} failed")
    if isinstance(speed := figures.get("tokens_per_s"), int | float) and speed:
        parts.append(f"{speed:.0f} tokens/s")
    if isinstance(waiting := figures.get("waiting"), dict) and waiting:
        parts.append("waiting for " + ", ".join(f"{model} ({rows})" for model, rows in waiting.items()))
    if isinstance(left := figures.get("eta_s"), int | float) and left:
        parts.append(f"{duration(left)} left")
    return "  ".join(parts) or str(figures.get("message", ""))


def duration(seconds: float) -> str:
    """
    >>> duration(7.4), duration(61), duration(3725)
    ('7s', '1m01s', '1h02m')
    """
    total = round(seconds)
    if total < 60:
        return f"{total}s"
    if total < 3600:
        return f"{total // 60}m{total % 60:02d}s"
    return f"{total // 3600}h{total % 3600 // 60:02d}m"
