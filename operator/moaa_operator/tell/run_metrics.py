"""Metrics of single runs, as their statuses have them.

| metric | type | further labels |
|---|---|---|
| moaa_run_stalled | gauge: 1 while it waits for a person | – |
| moaa_run_open | gauge: 1 until it has succeeded or failed for good | – |
| moaa_run_failures | gauge: attempts in a row that failed, the most of any stage | – |
| moaa_run_spent | gauge | unit: dollars, gpuHours, tokens |
| moaa_run_budget_limit | gauge: what `spec.budget` allows | unit |
| moaa_run_budget_left | gauge: of that; below zero once it is exceeded | unit |

All have the labels `run_namespace` and `run`, since `namespace` is what Prometheus itself calls the operator's. A run
has twelve series at most, and none once its MoAA is gone. What is not known has none either: dollars as long as a part
has no price, a limit that the resource does not state.
"""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from moaa.api.status import CostLeft, MoAAStatus, Phase, RunCost
from moaa.plan.budget.limits import Unit
from moaa_operator.kube.objects import Key
from moaa_operator.tell.conditions import STALLED

Amounts = Mapping[Unit, Decimal]


@dataclass(frozen=True)
class RunFigures:
    """What is kept of a run's status between two scrapes."""

    phase: Phase
    is_stalled: bool
    failures: int
    spent: Amounts = field(default_factory=dict)
    left: Amounts = field(default_factory=dict)


def figures_of(status: MoAAStatus) -> RunFigures:
    cost = status.cost
    return RunFigures(
        phase=status.phase or Phase.PENDING,
        is_stalled=any(c.type == STALLED and c.status == "True" for c in status.conditions),
        failures=max((entry.failures for entry in status.attempts), default=0),
        spent=_amounts(cost) if cost is not None else {},
        left=_amounts(cost.left) if cost is not None and cost.left is not None else {},
    )


class Runs(Collector):
    """The runs that were looked at and are there. Any thread may call anything."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._figures: dict[Key, RunFigures] = {}

    def put(self, key: Key, status: MoAAStatus) -> None:
        found = figures_of(status)
        with self._lock:
            self._figures[key] = found

    def forget(self, key: Key) -> None:
        with self._lock:
            self._figures.pop(key, None)

    def all(self) -> dict[Key, RunFigures]:
        """A copy."""
        with self._lock:
            return dict(self._figures)

    def collect(self) -> Iterator[Metric]:
        labels = ("run_namespace", "run")
        stalled = GaugeMetricFamily("moaa_run_stalled", "1 while it waits for a person", labels=labels)
        is_open = GaugeMetricFamily("moaa_run_open", "1 until it has succeeded or failed for good", labels=labels)
        failures = GaugeMetricFamily("moaa_run_failures", "Attempts of one stage that failed in a row", labels=labels)
        units = (*labels, "unit")
        spent = GaugeMetricFamily("moaa_run_spent", "What it has spent", labels=units)
        limit = GaugeMetricFamily("moaa_run_budget_limit", "What spec.budget allows", labels=units)
        left = GaugeMetricFamily("moaa_run_budget_left", "What is left of it", labels=units)
        for key, run in self.all().items():
            stalled.add_metric(key, run.is_stalled)
            is_open.add_metric(key, run.phase not in (Phase.SUCCEEDED, Phase.FAILED))
            failures.add_metric(key, run.failures)
            for unit, amount in run.spent.items():
                spent.add_metric((*key, unit), float(amount))
            for unit, amount in run.left.items():
                left.add_metric((*key, unit), float(amount))
                if unit in run.spent:
                    limit.add_metric((*key, unit), float(amount + run.spent[unit]))
        yield from (stalled, is_open, failures, spent, limit, left)


def _amounts(of: RunCost | CostLeft) -> Amounts:
    """Those that are known."""
    found: dict[Unit, Decimal | None] = {
        Unit.DOLLARS: None if of.dollars is None else Decimal(of.dollars),
        Unit.GPU_HOURS: None if of.gpu_hours is None else Decimal(of.gpu_hours),
        Unit.TOKENS: None if of.tokens is None else Decimal(of.tokens),
    }
    return {unit: amount for unit, amount in found.items() if amount is not None}
