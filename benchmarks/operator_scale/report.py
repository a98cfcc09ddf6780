"""The result of a run as a document."""

import math
import os
import platform
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from benchmarks.operator_scale.audit import Request
from benchmarks.operator_scale.world import Phase, Start, looks

BUCKET = re.compile(r'^moaa_operator_reconcile_seconds_bucket\{le="([^"]+)",result="\w+"\}$')


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least that share of all does not exceed; not a number when there is none."""
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)] if values else math.nan


def of_histogram(metrics: Mapping[str, float], share: float) -> float:
    """Within a bucket as if its values lay evenly, as Prometheus does."""
    counts: dict[float, float] = defaultdict(float)
    for name, value in metrics.items():
        if found := BUCKET.match(name):
            counts[float(found[1])] += value
    bounds = sorted(counts)
    whole = counts.get(math.inf, 0.0)
    below, low = 0.0, 0.0
    for bound in bounds:
        if whole and counts[bound] >= share * whole:
            part = (share * whole - below) / (counts[bound] - below)
            return low if math.isinf(bound) else low + part * (bound - low)
        below, low = counts[bound], bound
    return math.nan


def counted(requests: Iterable[Request]) -> Counter[str]:
    return Counter(f"{asked.verb} {asked.resource}" for asked in requests if not asked.is_about_lease)


def table(phases: Sequence[Phase]) -> str:
    """A row a phase."""
    lines = [
        "| phase | s | reconciles | ms each, p50 / p99 | calls each | writes a minute | next child, s: p50 / p99 (n) "
        "| operator, cores | server + etcd, cores | player, cores | RSS / peak, MiB | load |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    return "\n".join([*lines, *(row(phase) for phase in phases)])


def row(phase: Phase) -> str:
    done = looks(phase.metrics)
    calls = counted(phase.requests)
    writes = sum(n for what, n in calls.items() if not what.startswith(("get ", "list ")))
    times = [1000 * of_histogram(phase.metrics, share) for share in (0.5, 0.99)]
    waits = phase.waits.seconds
    next_child = f"{quantile(waits, 0.5):.2f} / {quantile(waits, 0.99):.2f} ({len(waits):,})" if waits else "–"
    cells = [
        phase.name,
        f"{phase.wall_s:.0f}",
        f"{done:,.0f}",
        f"{times[0]:.0f} / {times[1]:.0f}",
        f"{calls.total() / done:.1f}" if done else "–",
        f"{60 * writes / phase.wall_s:,.0f}",
        next_child,
        f"{phase.cpu['operator']:.2f}",
        f"{phase.cpu['kube-apiserver'] + phase.cpu['etcd']:.2f}",
        f"{phase.cpu['player']:.2f}",
        f"{phase.memory_mib[0]:.0f} / {phase.memory_mib[1]:.0f}",
        f"{phase.load:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def calls(phases: Sequence[Phase], starts: Mapping[str, Start]) -> str:
    """What the operator asked for, most first."""
    lines = []
    every = [(phase.name, phase.requests) for phase in phases] + [(n, s.requests) for n, s in starts.items()]
    for name, requests in every:
        most = ", ".join(f"{n:,} {what}" for what, n in counted(requests).most_common(8))
        lines.append(f"- {name}: {most or 'nothing'}; {sum(r.is_about_lease for r in requests)} about the lease")
    return "\n".join(lines)


def document(command: str, commit: str, phases: Sequence[Phase], start: Start, *, objects: int) -> str:
    return f"""# One operator and {objects:,} MoAAs, {datetime.now(UTC):%Y-%m-%d}

`{command}` at commit {commit}; {os.cpu_count()} CPUs ({platform.machine()}), Python {platform.python_version()}.

Start with all runs there: {start.ready_s:.1f} s
until ready, {start.looked_s:.1f} s until every run had been looked at, {start.cpu_s:.1f} s of CPU.

{table(phases)}

## What was asked of the API server

{calls(phases, {"start": start})}
"""
