"""What the operator tells Prometheus. No label holds the name of an object: the number of series is fixed.

| metric | type | labels |
|---|---|---|
| moaa_operator_reconcile_seconds | histogram | result: ok, refused, conflict, error, bug |
| moaa_operator_queue_length | gauge | – |
| moaa_operator_runs | gauge | phase |
| moaa_operator_runs_stalled | gauge | – |
| moaa_operator_status_writes_total | counter | – |
| moaa_operator_watch_errors_total, _watch_relists_total, _watch_events_total | counter | kind |
| moaa_operator_watch_objects | gauge | kind |
| moaa_operator_is_leader | gauge | – |
"""

import threading
from collections import Counter as Count
from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from moaa.api.status import MoAAStatus, Phase
from moaa_operator.conditions import STALLED
from moaa_operator.informer import Informer

Key = tuple[str, str]


class Metrics:
    """Counts what the controller does. Any thread may call anything."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._lock = threading.Lock()
        self._phases: dict[Key, tuple[str, bool]] = {}
        self._seconds = Histogram(
            "moaa_operator_reconcile_seconds", "One look at one MoAA", ["result"], registry=self.registry
        )
        self._writes = Counter("moaa_operator_status_writes", "Statuses written", registry=self.registry)
        self._runs = Gauge("moaa_operator_runs", "MoAAs by phase", ["phase"], registry=self.registry)
        self._stalled = Gauge("moaa_operator_runs_stalled", "MoAAs that wait for a person", registry=self.registry)
        self.is_leader = Gauge("moaa_operator_is_leader", "1 for the replica that works", registry=self.registry)

    def reconciled(self, result: str, seconds: float) -> None:
        self._seconds.labels(result).observe(seconds)

    def status_written(self) -> None:
        self._writes.inc()

    def observed(self, key: Key, status: MoAAStatus) -> None:
        stalled = any(c.type == STALLED and c.status == "True" for c in status.conditions)
        with self._lock:
            self._phases[key] = (str(status.phase or Phase.PENDING), stalled)
            self._count()

    def forget(self, key: Key) -> None:
        with self._lock:
            self._phases.pop(key, None)
            self._count()

    def watch(self, informers: Sequence[Informer], queue_length: Callable[[], int]) -> None:
        """Have the informers and the queue asked at every scrape."""
        self.registry.register(_Watching(informers, queue_length))

    def _count(self) -> None:
        counts = Count(phase for phase, _ in self._phases.values())
        for phase in Phase:
            self._runs.labels(str(phase)).set(counts[str(phase)])
        self._stalled.set(sum(stalled for _, stalled in self._phases.values()))


class _Watching(Collector):
    """Figures that are read when they are asked for."""

    def __init__(self, informers: Sequence[Informer], queue_length: Callable[[], int]) -> None:
        self._informers = informers
        self._queue_length = queue_length

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("moaa_operator_queue_length", "MoAAs that wait for a look", value=self._queue_length())
        errors = CounterMetricFamily("moaa_operator_watch_errors", "Watches that failed", labels=["kind"])
        relists = CounterMetricFamily("moaa_operator_watch_relists", "Full lists", labels=["kind"])
        seen = CounterMetricFamily("moaa_operator_watch_events", "Watch events", labels=["kind"])
        objects = GaugeMetricFamily("moaa_operator_watch_objects", "Objects known", labels=["kind"])
        for kind in dict.fromkeys(informer.kind.kind for informer in self._informers):
            mine = [informer for informer in self._informers if informer.kind.kind == kind]
            errors.add_metric([kind], sum(i.errors for i in mine))
            relists.add_metric([kind], sum(i.relists for i in mine))
            seen.add_metric([kind], sum(i.events for i in mine))
            objects.add_metric([kind], sum(len(i.all()) for i in mine))
        yield from (errors, relists, seen, objects)
