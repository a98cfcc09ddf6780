"""What was measured, as tables, as a page and as one JSON object; which aims are met."""

import json
import os
import platform
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version

from benchmarks.generation.cell import Cell, Client, Measured, Near
from benchmarks.generation.endurance import Killed, Memory

AIM = 0.99
FAST_AIM = 0.9
CPU_AIM_S = 0.5
"""For a thousand calls."""


@dataclass
class Result:
    """Everything that one run measured; parts that were not asked for are empty."""

    simulated: dict[Cell, Near] = field(default_factory=dict)
    measured: list[Measured] = field(default_factory=list)
    killed: Killed | None = None
    memory: list[Memory] = field(default_factory=list)


def table(result: Result) -> str:
    """Every part that has figures."""
    return "\n\n".join(part for part in (_simulated(result), _measured(result), _endurance(result)) if part)


def _simulated(result: Result) -> str:
    if not result.simulated:
        return ""
    head = "| in virtual time | whole | middle half |\n|---|---|---|\n"
    return head + "\n".join(
        f"| {cell.name} | {near.whole:.3f} | {near.middle:.3f} |" for cell, near in result.simulated.items()
    )


def _measured(result: Result) -> str:
    if not result.measured:
        return ""
    head = (
        "| client, replicas a model | whole | middle half | calls a second | CPU-s per 1,000 calls | busy (waiting "
        "for a core): client, servers | first call after, s | peak MiB | prompt tokens from cache | |\n"
        "|---|---|---|---|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(
        f"| {one.cell.name} | {one.near.whole:.3f} | {one.near.middle:.3f} | {one.calls_per_s:.0f} | "
        f"{one.client_cpu_s_per_1000:.2f} | {_busy(one)} | {one.first_s:.1f} | "
        f"{one.peak_mib:.0f} | {one.cache_hits:.0%} | {'CPU-limited' if one.is_cpu_limited else ''} |"
        for one in result.measured
    )


def _busy(one: Measured) -> str:
    client, server = (
        f"{one.client_busy:.2f} ({one.client_waited:.2f})",
        f"{one.server_busy:.2f} ({one.server_waited:.2f})",
    )
    return f"{client}, {server}"


def _endurance(result: Result) -> str:
    lines = []
    if (killed := result.killed) is not None:
        lines.append(
            f"Killed with -9 halfway and started again: {killed.sent_again:,} of {killed.calls:,} calls were sent "
            f"again, {killed.in_flight:,} of which were under way; the first new call came after "
            f"{killed.first_call_s:.1f} s."
        )
    if result.memory:
        lines.append("| rows | generate, MiB | its first call after, s | stage-data, MiB | stage-data, s |")
        lines[-1] += "\n|---|---|---|---|---|\n" + "\n".join(
            f"| {one.rows:,} | {one.generate_mib:.0f} | {one.first_call_s:.1f} | {one.stage_data_mib:.0f} | "
            f"{one.stage_data_s:.1f} |"
            for one in result.memory
        )
    return "\n\n".join(lines)


def aims(result: Result) -> dict[str, bool]:
    """Whether each aim that this run can judge is met."""
    found: dict[str, bool] = {}
    for cell, near in result.simulated.items():
        found[f"{AIM} of the ideal in virtual time, middle half: {cell.name}"] = near.middle >= AIM
    for one in result.measured:
        if one.cell.client is Client.BARE:
            continue
        least = AIM if one.cell.speed.factor == 1 else FAST_AIM
        found[f"{least} of the ideal, middle half: {one.cell.name}"] = one.near.middle >= least
        found[f"{CPU_AIM_S} CPU-s per 1,000 calls: {one.cell.name}"] = one.client_cpu_s_per_1000 <= CPU_AIM_S
    return found


def line(result: Result) -> str:
    """One JSON object."""
    figures = {
        "virtual": {cell.name: _near(near) for cell, near in result.simulated.items()},
        "real": {
            one.cell.name: {
                **_near(one.near),
                "cpu_s_per_1000": round(one.client_cpu_s_per_1000, 3),
                "cpu_limited": one.is_cpu_limited,
                "sent_again": one.sent_again,
            }
            for one in result.measured
        },
        "killed": None if result.killed is None else vars(result.killed),
        "memory": [vars(one) for one in result.memory],
        "aims": aims(result),
    }
    return json.dumps(figures)


def _near(near: Near) -> dict[str, float]:
    return {"whole": round(near.whole, 4), "middle": round(near.middle, 4)}


def page(result: Result, arguments: str, commit: str) -> str:
    """The result as a document."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    missed = [f"- {aim}" for aim, is_met in aims(result).items() if not is_met]
    return f"""# Generation against simulated engines, {datetime.now(UTC):%Y-%m-%d}

`python -m benchmarks.generation {arguments}` at commit {commit}; Python {platform.python_version()}, aiohttp
{version("aiohttp")}, {os.cpu_count()} CPUs ({platform.machine()}), load average {load} when it ended. Three proposers
and an aggregator; 64 slots a replica; answers of 180 tokens (median, log-normal, σ 0.8). 1 is the ideal. "whole" is
from the first request to the last answer; "middle half" from a quarter to three quarters of the rows. The servers
shared the CPUs with the client. A cell in which a process took over three quarters of a core, or waited for one for
over 3 % of its time, is said to be CPU-limited: what it shows is the machine.

{table(result)}

Aims that were missed:

{chr(10).join(missed) if missed else "none"}

Not measured: distilabel, TLS, S3, real engines, preemption.
"""
