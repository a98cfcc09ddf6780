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

STEADY, ONE_BY_ONE, AT_ONCE = "nothing happens", "one after the other", "at once"
"""Names of phases that the aims are about."""
ANSWERED = "moaa_operator_api_answer_bytes_total"
NEXT_CHILD_S, MEMORY_MIB, WRITES_A_MINUTE = 2.0, 300, 1.0
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
    return Counter(_what(request) for request in requests if not request.is_about_lease)


def next_child(phase: Phase) -> str:
    waits = phase.waits.seconds
    return f"{quantile(waits, 0.5):.2f} / {quantile(waits, 0.99):.2f} ({len(waits):,})" if waits else "–"


def is_write(what: str) -> bool:
    return not what.startswith(("get ", "list "))


def writes_a_minute(phase: Phase) -> float:
    return 60 * sum(n for what, n in counted(phase.requests).items() if is_write(what)) / phase.wall_s


def speed(phases: Sequence[Phase]) -> str:
    lines = [
        "| phase | s | looks | ms each, p50 / p99 | requests each | writes a minute | next child, s (n) |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for phase in phases:
        done = looks(phase.metrics)
        p50, p99 = (1000 * of_histogram(phase.metrics, share) for share in (0.5, 0.99))
        each = f"{p50:.0f} / {p99:.0f} | {counted(phase.requests).total() / done:.1f}" if done else "– | –"
        lines.append(
            f"| {phase.name} | {phase.wall_s:.0f} | {done:,.0f} | {each} | {writes_a_minute(phase):,.0f} "
            f"| {next_child(phase)} |"
        )
    return "\n".join(lines)


def traffic(phases: Sequence[Phase], runs: Mapping[str, int]) -> str:
    """What one run takes of the API server, whatever the load: requests, and bytes of their answers. `runs`: how many
    a phase moved."""
    lines = ["| phase | runs | requests | of those writes | kB answered |", "|---|---:|---:|---:|---:|"]
    for phase in phases:
        if not runs.get(phase.name):
            continue
        asked, moved = counted(phase.requests), runs[phase.name]
        writes = sum(n for what, n in asked.items() if is_write(what))
        size = sum(n for name, n in phase.metrics.items() if name.startswith(ANSWERED))
        each = f"{asked.total() / moved:.1f} | {writes / moved:.1f} | {size / moved / 1000:.1f}"
        lines.append(f"| {phase.name} | {moved} | {each} |")
    return "\n".join(lines)


def cost(phases: Sequence[Phase]) -> str:
    lines = [
        "| phase | operator, cores | API server and etcd | player | operator's memory now / at most, MiB | load |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for phase in phases:
        server = phase.cpu["kube-apiserver"] + phase.cpu["etcd"]
        now, most = phase.memory_mib
        lines.append(
            f"| {phase.name} | {phase.cpu['operator']:.2f} | {server:.2f} | {phase.cpu['player']:.2f} "
            f"| {now:.0f} / {most:.0f} | {phase.load:.1f} |"
        )
    return "\n".join(lines)


def asked(phases: Sequence[Phase], start: Start) -> str:
    """What the operator asked for, how often, and how many milliseconds the server took on average; most first."""
    every = [(phase.name, phase.requests) for phase in phases] + [("started anew", start.requests)]
    lines = []
    for name, requests in every:
        spent: defaultdict[str, float] = defaultdict(float)
        for request in requests:
            spent[_what(request)] += 1000 * request.seconds
        most = [f"{what} {n:,} ({spent[what] / n:.0f})" for what, n in counted(requests).most_common(9)]
        leases = sum(request.is_about_lease for request in requests)
        lines.append(f"- {name}: {', '.join(most) or 'nothing'}; lease {leases}")
    return "\n".join(lines)


def _what(request: Request) -> str:
    return f"{request.verb} {request.resource}"


def aims(phases: Sequence[Phase]) -> str:
    """What was asked for, and whether it is so."""
    lines = ["| aim | measured | holds |", "|---|---|---|"]
    for phase in phases:
        if phase.name == ONE_BY_ONE or phase.name.endswith(AT_ONCE):
            p99 = quantile(phase.waits.seconds, 0.99)
            what = f"next child within {NEXT_CHILD_S:.0f} s (p99), {phase.name}"
            lines.append(f"| {what} | {p99:.2f} s | {_holds(p99 < NEXT_CHILD_S)} |")
    most = max(phase.memory_mib[1] for phase in phases)
    lines.append(f"| memory below {MEMORY_MIB} MiB at its most | {most:.0f} MiB | {_holds(most < MEMORY_MIB)} |")
    writes = writes_a_minute(next(phase for phase in phases if phase.name == STEADY))
    few = _holds(writes < WRITES_A_MINUTE)
    lines.append(f"| hardly a write when nothing happens | {writes:.1f} a minute and the lease | {few} |")
    return "\n".join(lines)


def _holds(is_so: bool) -> str:
    return "yes" if is_so else "no"


def document(
    command: str, commit: str, phases: Sequence[Phase], start: Start, *, objects: int, runs: Mapping[str, int]
) -> str:
    return f"""# One operator and {objects:,} MoAAs, {datetime.now(UTC):%Y-%m-%d}

`{command}` at commit {commit}; {os.cpu_count()} CPUs ({platform.machine()}), Python {platform.python_version()}.

{aims(phases)}

{speed(phases)}

{cost(phases)}

What one run takes of the API server, whatever else the machine does:

{traffic(phases, runs)}

Started anew with {start.objects:,} objects in its copies: {start.ready_s:.1f} s until ready, {start.looked_s:.1f} s
until every run had been looked at, {start.cpu_s:.1f} s of CPU.

Requests of the operator, and milliseconds that the API server took for one:

{asked(phases, start)}
"""
