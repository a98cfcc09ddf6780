"""`python -m moaa_operator`: connect, take the lease, fill the copies, work until a signal.

SIGTERM and SIGINT end it in order: it takes no new key, finishes those under way (each is a few requests), and gives
the lease back. If it loses the lease, it ends at once: another replica works by then, and the kubelet starts this one
again as a candidate. Killed at any other moment, it leaves nothing that the next one does not find by looking.
"""

import logging
import os
import signal
import socket
import threading
import time
from functools import partial

from moaa_operator import render
from moaa_operator.controller import Controller
from moaa_operator.decide.renderer import Renderer
from moaa_operator.kube.api import Api, connect
from moaa_operator.kube.caches import Caches, run_of
from moaa_operator.kube.informer import Informer, Timing
from moaa_operator.kube.kinds import CHILDREN, MOAA
from moaa_operator.kube.leader import Elector, LeaseTiming
from moaa_operator.kube.objects import Key, Object
from moaa_operator.kube.owner import RUN_LABEL
from moaa_operator.kube.queue import Backoff, WorkQueue
from moaa_operator.observe.poller import Poller, at_work
from moaa_operator.settings import Settings
from moaa_operator.tell import health, logs
from moaa_operator.tell.metrics import Metrics

logger = logging.getLogger(__name__)

EXIT_LEASE_LOST = 1
DRAIN_S = 25.0
"""Kubernetes kills 30 s after SIGTERM."""


class Operator:
    """Everything that runs in one process. Call `start` once, then `stop` or `abandon`."""

    def __init__(self, api: Api, settings: Settings, renderer: Renderer) -> None:
        self.settings = settings
        self.metrics = Metrics()
        backoff = Backoff(settings.backoff_s, settings.backoff_max_s)
        self._queue: WorkQueue[Key] = WorkQueue(backoff, clock=time.monotonic)
        self._informers = [
            Informer(
                api,
                kind,
                namespace,
                on_change=self._on_change,
                backoff=backoff,
                selector=None if kind is MOAA else RUN_LABEL,
                timing=Timing(settings.watch_timeout_s, settings.watch_silence_s),
                owner_of=run_of,
            )
            for namespace in settings.watch_namespaces or (None,)
            for kind in (MOAA, *CHILDREN)
        ]
        self.caches = Caches(self._informers)
        is_routine = partial(self._queue.add, is_news=False)
        self._poller = Poller(partial(at_work, self.caches), is_routine, every_s=settings.progress_s)
        self._controller = Controller(
            api,
            self.caches,
            self._queue,
            settings=settings,
            render=renderer,
            metrics=self.metrics,
            figures=self._poller.of,
        )
        self._workers: list[threading.Thread] = []
        self._stopped = threading.Event()
        self.metrics.watch(self._informers, self._queue.__len__, api.traffic)

    def start(self) -> None:
        """Fill the copies and work. A run waits for its namespace's copies, and for no other's."""
        for informer in self._informers:
            informer.start()
        threading.Thread(target=self._tell_synced, name="start", daemon=True).start()
        for number in range(self.settings.workers):
            worker = threading.Thread(target=self._controller.work, name=f"worker-{number}", daemon=True)
            self._workers.append(worker)
            worker.start()
        self._poller.start()

    def stop(self) -> bool:
        """Finish the keys under way; False when some took too long."""
        self._stopped.set()
        self._queue.close()
        self._poller.stop()
        deadline = time.monotonic() + DRAIN_S
        for worker in self._workers:
            worker.join(max(deadline - time.monotonic(), 0.0))
        for informer in self._informers:
            informer.stop()
        return not any(worker.is_alive() for worker in self._workers)

    def abandon(self) -> None:
        """Take no new key and finish none: another replica works now."""
        self._stopped.set()
        self._queue.close()
        self._poller.stop()
        for informer in self._informers:
            informer.stop()

    def health(self) -> str | None:
        """What is dead, for /healthz."""
        dead = [worker.name for worker in self._workers if not worker.is_alive()]
        dead += [informer.kind.plural for informer in self._informers if informer.is_dead]
        dead += ["poller"] if self._poller.is_dead else []
        return f"dead threads: {', '.join(dead)}" if dead and not self._stopped.is_set() else None

    def readiness(self) -> str | None:
        """What is not listed yet, for /readyz; None once one namespace is known completely: the others wait alone."""
        missing = [informer for informer in self._informers if not informer.is_synced]
        if any(self.caches.is_synced(namespace) for namespace in self.settings.watch_namespaces) or not missing:
            return None
        return f"not listed yet: {', '.join(informer.kind.plural for informer in missing)}"

    def _tell_synced(self) -> None:
        for informer in self._informers:
            while not informer.wait_synced(1.0):
                if self._stopped.is_set():
                    return
        logger.info("caches_synced runs=%d", len(self.caches.runs()))

    def _on_change(self, item: Object, before: Object | None) -> None:
        key = run_of(item)
        if key is not None:
            self._queue.add(key, is_news=before is None or not _is_our_writing(item, before))


def _is_our_writing(item: Object, before: Object) -> bool:
    """Whether only the MoAA's status has changed."""
    is_edited = item["metadata"].get("generation") != before["metadata"].get("generation")
    return item["kind"] == MOAA.kind and not is_edited


def run(settings: Settings, api: Api, renderer: Renderer, stopped: threading.Event) -> int:
    """Until `stopped`; the exit code."""
    operator = Operator(api, settings, renderer)
    lost = threading.Event()
    elector = Elector(
        api,
        namespace=settings.namespace,
        name=settings.lease_name,
        identity=f"{socket.gethostname()}-{os.getpid()}",
        timing=LeaseTiming(settings.lease_duration_s, settings.lease_renew_s, settings.lease_retry_s),
        clock=time.monotonic,
    )
    is_started = threading.Event()
    pages = health.Pages(
        settings.health_host,
        settings.health_port,
        {
            "/healthz": health.page_of(operator.health),
            "/readyz": health.page_of(lambda: operator.readiness() if is_started.is_set() else None),
        },
    )
    metrics = health.Pages(
        settings.health_host, settings.metrics_port, {"/metrics": health.metrics_page(operator.metrics.registry)}
    )
    pages.start()
    metrics.start()

    def gained() -> None:
        operator.metrics.is_leader.set(1)
        is_started.set()
        operator.start()

    def on_lost() -> None:
        lost.set()
        stopped.set()

    if settings.leader_election:
        elector.run(stopped, on_gained=gained, on_lost=on_lost)
    else:
        gained()
        stopped.wait()
    if lost.is_set():
        operator.abandon()
        pages.stop()
        metrics.stop()
        return EXIT_LEASE_LOST
    is_drained = _drain(operator, elector if settings.leader_election else None)
    pages.stop()
    metrics.stop()
    logger.info("operator_stopped drained=%s", is_drained)
    return 0


def _drain(operator: Operator, elector: Elector | None) -> bool:
    """Finish what is under way with the lease held; then give it back."""
    if elector is None:
        return operator.stop()
    is_drained: list[bool] = []
    draining = threading.Thread(target=lambda: is_drained.append(operator.stop()), name="drain")
    draining.start()
    while draining.is_alive():
        if elector.is_leader:
            elector.step()
        draining.join(1.0)
    elector.release()
    return is_drained == [True]


def main() -> int:
    settings = Settings()
    logs.set_up(settings.log_level, settings.log_format)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    api = connect(timeout_s=settings.request_timeout_s)
    logger.info("operator_started namespaces=%s", ",".join(settings.watch_namespaces) or "all")
    return run(settings, api, render.bind, stopped)
