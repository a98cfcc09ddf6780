"""The operator's metrics for Prometheus.

No label of these holds the name of an object, so the number of their series is fixed. `run_metrics` has those of runs.

| metric | type | labels |
|---|---|---|
| moaa_operator_reconcile_seconds | histogram | result: ok, refused, conflict, error, bug |
| moaa_operator_queue_length | gauge | – |
| moaa_operator_runs | gauge | phase |
| moaa_operator_runs_stalled | gauge | – |
| moaa_operator_attempts_total | counter | kind |
| moaa_operator_attempts_failed_total | counter | kind, permanent: true, false |
| moaa_operator_released_total | counter | – |
| moaa_operator_stages_done_total | counter | kind |
| moaa_operator_status_writes_total | counter | – |
| moaa_operator_watch_errors_total, _watch_relists_total, _watch_events_total | counter | kind |
| moaa_operator_watch_objects | gauge | kind |
| moaa_operator_api_answers_total, _api_answer_bytes_total | counter | method; watches are not in it |
| moaa_operator_is_leader | gauge | – |

`kind` of the attempts and stages is a stage's kind, or `preflight` or `inspect`. They are counted when the status is
written, so each counts once.
"""

import threading
from collections import Counter as Count
from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from moaa.api.status import MoAAStatus, Phase
from moaa.plan.stage import Kind
from moaa_operator.kube.api import Traffic
from moaa_operator.kube.informer import Informer
from moaa_operator.kube.objects import Key
from moaa_operator.tell.events import is_release
from moaa_operator.tell.run_metrics import Runs

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""A look takes a few milliseconds and its requests; more than a second of one is a server in trouble."""


class Metrics:
    """Counts what the controller does. Any thread may call anything."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._counting = threading.Lock()
        self._looked_at = Runs()
        self.registry.register(self._looked_at)
        self._seconds = Histogram(
            "moaa_operator_reconcile_seconds",
            "One look at one MoAA",
            ["result"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._writes = Counter("moaa_operator_status_writes", "Statuses written", registry=self.registry)
        self._runs = Gauge("moaa_operator_runs", "MoAAs by phase", ["phase"], registry=self.registry)
        self._stalled = Gauge("moaa_operator_runs_stalled", "MoAAs that wait for a person", registry=self.registry)
        self.is_leader = Gauge("moaa_operator_is_leader", "1 for the replica that works", registry=self.registry)

        self._attempts = Counter("moaa_operator_attempts", "Attempts begun", ["kind"], registry=self.registry)
        self._failed = Counter(
            "moaa_operator_attempts_failed", "Attempts that failed", ["kind", "permanent"], registry=self.registry
        )
        self._released = Counter(
            "moaa_operator_released", "Servers or Ray clusters given back without machines", registry=self.registry
        )
        self._done = Counter("moaa_operator_stages_done", "Stages done", ["kind"], registry=self.registry)

    def reconciled(self, result: str, seconds: float) -> None:
        self._seconds.labels(result).observe(seconds)

    def status_written(self, before: MoAAStatus, after: MoAAStatus) -> None:
        """Counts what has happened from one status to the next."""
        self._writes.inc()
        known = {(entry.stage, entry.fingerprint) for entry in before.stages}
        for stage in after.stages:
            if (stage.stage, stage.fingerprint) not in known:
                self._done.labels(stage.kind).inc()
        earlier = {(entry.stage, entry.fingerprint): entry for entry in before.attempts}
        for entry in after.attempts:
            last, kind = earlier.get((entry.stage, entry.fingerprint)), _kind(entry.stage)
            if entry.attempt > (last.attempt if last else 0):
                self._attempts.labels(kind).inc()
            if entry.failures > (last.failures if last else 0):
                self._failed.labels(kind, str(entry.is_permanent).lower()).inc()
            if is_release(last, entry):
                self._released.inc()

    def observed(self, key: Key, status: MoAAStatus) -> None:
        self._looked_at.put(key, status)
        self._count()

    def forget(self, key: Key) -> None:
        """The MoAA is gone, and its series with it."""
        self._looked_at.forget(key)
        self._count()

    def watch(self, informers: Sequence[Informer], queue_length: Callable[[], int], traffic: Traffic) -> None:
        """Have the informers, the queue and the API server's answers asked at every scrape."""
        self.registry.register(_Watching(informers, queue_length, traffic))

    def _count(self) -> None:
        with self._counting:
            runs = self._looked_at.all().values()
            counts = Count(run.phase for run in runs)
            for phase in Phase:
                self._runs.labels(str(phase)).set(counts[phase])
            self._stalled.set(sum(run.is_stalled for run in runs))


def _kind(stage: str) -> str:
    """Of a stage's id, or of a check.

    >>> _kind("i1-evaluate-sft"), _kind("i0-stage-data"), _kind("preflight")
    ('evaluate', 'stage-data', 'preflight')
    """
    name = stage.partition("-")[2] or stage
    return next((str(kind) for kind in Kind if name.startswith(kind)), name)


class _Watching(Collector):
    """Figures that are read when they are asked for."""

    def __init__(self, informers: Sequence[Informer], queue_length: Callable[[], int], traffic: Traffic) -> None:
        self._informers = informers
        self._queue_length = queue_length
        self._traffic = traffic

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
        answers = CounterMetricFamily("moaa_operator_api_answers", "Answers of the API server", labels=["method"])
        size = CounterMetricFamily("moaa_operator_api_answer_bytes", "Their bytes", labels=["method"])
        for method, (number, whole) in self._traffic.all().items():
            answers.add_metric([method], number)
            size.add_metric([method], whole)
        yield from (answers, size)
