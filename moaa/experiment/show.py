"""What `moaa experiment --plan` prints: every run, what it shares, what it adds and what that takes."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from moaa.api.reading.check import warnings
from moaa.experiment.expand import Expanded
from moaa.experiment.sharing import Share
from moaa.plan.forecast.estimate import total
from moaa.plan.show import figures
from moaa.tables import Fitted

LEAST = ("tokens in", "tokens out", "GPUs", "hours", "stages", "USD", "done", "calls", "shared")
"""Columns that a narrow window does without, in this order."""
COLUMNS = ("calls", "tokens in", "tokens out", "GPUs", "hours", "GPU-h", "USD")


def plan_view(expanded: Expanded, shares: Sequence[Share]) -> RenderableType:
    """A table with one line a run, then what each run shares and adds by name."""
    table = Table(title=f"{expanded.name}: {len(expanded.arms)} arms", title_justify="left")
    table.add_column("arm")
    for name in ("seed", "stages", "done", "shared", "adds", *COLUMNS):
        table.add_column(name, justify="right", no_wrap=True)
    for share in shares:
        parts = [len(share.done), len(share.shared), len(share.adds)]
        cells = [str(share.run.seed), str(sum(parts)), *map(str, parts)]
        table.add_row(share.run.arm, *cells, *list(figures(share.estimate))[1:])
    table.add_section()
    sums = [sum(map(len, column)) for column in zip(*((s.done, s.shared, s.adds) for s in shares), strict=True)]
    whole = total(part for share in shares for part in share.parts)
    table.add_row("all", "", str(sum(sums)), *map(str, sums), *list(figures(whole))[1:])
    lines = [line for share in shares for line in _told(expanded, share)]
    return Group(Fitted(table, LEAST), *map(Text, [*lines, *_notes(shares), *_warnings(expanded)]))


def _told(expanded: Expanded, share: Share) -> Iterator[str]:
    yield f"{share.run.label} ({share.run.name})"
    if changes := expanded.changes(share.run.arm):
        yield f"  differs from {expanded.arms[0]}: {'; '.join(changes)}"
    if share.done:
        yield f"  done: {', '.join(share.done)}"
    for maker, names in groupby(share.shared, key=lambda name: share.shared[name].label):
        yield f"  shared with {maker}: {', '.join(names)}"
    found = f"; {share.found_calls:,} proposals are in a ledger by then" if share.found_calls else ""
    yield f"  adds: {', '.join(share.adds) or 'nothing'}{found}"


def _notes(shares: Sequence[Share]) -> Iterator[str]:
    yield "done: in the store. shared: a line above does it. adds: this run does it; figures are for these stages."
    yield (
        "Figures are upper bounds: proposals that an earlier run has asked for over the same rows are left out; other "
        "calls that are found in a ledger and not sent again are counted."
    )
    if any(share.estimate.calls is None for share in shares):
        yield "?: rows of some table are unknown until stage-data has counted them; --rows TABLE=N tells."
    elif any(share.estimate.usd is None for share in shares):
        yield "USD ?: give spec.cost.gpuHourUsd, and endpoints their price."


def _warnings(expanded: Expanded) -> Iterator[str]:
    """Advice on each arm, said once for all arms that it concerns."""
    found: dict[str, list[str]] = {}
    for arm in expanded.arms:
        for sentence in warnings(expanded.of(arm)[0].resource):
            found.setdefault(sentence, []).append(arm)
    for sentence, arms in found.items():
        yield f"warning: {', '.join(arms) if len(arms) < len(expanded.arms) else 'every arm'}: {sentence}"
