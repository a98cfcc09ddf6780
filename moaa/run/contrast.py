"""Which evaluation prompts show best what changed between two students. Pure."""

from collections.abc import Sequence

from moaa.api import MoAASpec
from moaa.rows import ScoreRow

SHOWN = 2
"""Prompts of each direction: gains, then losses."""


def benchmark_shown(spec: MoAASpec) -> str | None:
    """The benchmark whose answers are shown: the first that no decision reads, else the first of all."""
    measured = [*spec.evaluation.report, *spec.evaluation.selection]
    return measured[0].name if measured else None


def largest_changes(before: Sequence[ScoreRow], after: Sequence[ScoreRow], benchmark: str) -> list[str]:
    """Ids of the largest gains, then of the largest losses; ties in the order of ids. Equal scores are no change."""
    old = {r["id"]: r["score"] for r in before if r["benchmark"] == benchmark}
    new = {r["id"]: r["score"] for r in after if r["benchmark"] == benchmark}
    change = {i: new[i] - old[i] for i in sorted(old.keys() & new.keys())}
    gains = sorted((i for i in change if change[i] > 0), key=lambda i: -change[i])
    losses = sorted((i for i in change if change[i] < 0), key=lambda i: change[i])
    return gains[:SHOWN] + losses[:SHOWN]
