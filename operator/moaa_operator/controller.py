"""The loop around the decision: take a key, read, decide, act, write the status, look again.

Design: threads (one for each informer, a few workers) around the official synchronous client. The work of a key is a
handful of requests; a thread that waits for one costs nothing, and there is no second flavour of I/O. Keys are
namespace and name of a MoAA; the queue sees to it that none is worked on twice at once.

The MoAA itself is read from the server, not from the informer's copy: its status is the only memory of ended attempts,
and a decision on an old one could run an attempt again. Children come from the copies; one that is not in the copy yet
is made again and found to exist.

One pass: apply and create; then one status write, guarded by the resource version that was read; then, only if that
succeeded, deletions and events. What the API server refuses to make is decided upon once more, so that the status
says it; the key then comes back later and later. An error pushes the key back likewise.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from moaa_operator.decide.reconcile import Desired, reconcile
from moaa_operator.decide.renderer import Renderer
from moaa_operator.kube import apply
from moaa_operator.kube.api import CHILDREN, EVENT, MOAA, POD, RAYJOB, Api, Kind, Object
from moaa_operator.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from moaa_operator.kube.informer import Informer
from moaa_operator.kube.owner import RUN_LABEL, Owner
from moaa_operator.kube.queue import WorkQueue
from moaa_operator.observe.ended import with_ends
from moaa_operator.observe.podless import Warnings
from moaa_operator.observe.read import Observed, observe, owner_of
from moaa_operator.settings import Settings
from moaa_operator.tell import events, status
from moaa_operator.tell.events import Event
from moaa_operator.tell.metrics import Metrics
from moaa_operator.tell.progress import PodFigures

logger = logging.getLogger(__name__)

Key = tuple[str, str]


def now_utc() -> datetime:
    """Whole seconds: Kubernetes keeps no more, and a status must read back as it was written."""
    return datetime.now(UTC).replace(microsecond=0)


class Caches:
    """The informers' copies of what belongs to runs, in every watched namespace."""

    def __init__(self, informers: list[Informer]) -> None:
        self.informers = informers

    @property
    def are_synced(self) -> bool:
        return all(informer.is_synced for informer in self.informers)

    def has_kind(self, kind: Kind) -> bool:
        return not any(informer.is_absent for informer in self.informers if informer.kind is kind)

    def runs(self) -> list[Key]:
        """Every MoAA there is."""
        return [_key(item) for informer in self.informers if informer.kind is MOAA for item in informer.all()]

    def pods(self) -> list[Object]:
        """Of every run."""
        return [item for informer in self.informers if informer.kind is POD for item in informer.all()]

    def children(self, owner: Owner) -> Mapping[str, list[Object]]:
        """The run's objects by kind."""
        found: dict[str, list[Object]] = {kind.kind: [] for kind in CHILDREN}
        for informer in self.informers:
            if informer.kind is MOAA or informer.namespace not in (None, owner.namespace):
                continue
            found[informer.kind.kind] += informer.of((owner.namespace, owner.name))
        return found


def _run(item: Object) -> str | None:
    return (item["metadata"].get("labels") or {}).get(RUN_LABEL)


def _key(item: Object) -> Key:
    return str(item["metadata"]["namespace"]), str(item["metadata"]["name"])


def key_of(item: Object) -> Key | None:
    """The MoAA that an object makes worth a look; None: it is nobody's."""
    if item.get("kind") == MOAA.kind:
        return _key(item)
    run = _run(item)
    return (str(item["metadata"].get("namespace") or ""), run) if run else None


class Controller:
    """Works on keys until its queue is closed."""

    def __init__(
        self,
        api: Api,
        caches: Caches,
        queue: WorkQueue[Key],
        *,
        settings: Settings,
        render: Renderer,
        metrics: Metrics,
        figures: Callable[[Key], Mapping[str, PodFigures]] = lambda _: {},
        now: Callable[[], datetime] = now_utc,
    ) -> None:
        self._api = api
        self._caches = caches
        self._queue = queue
        self._settings = settings
        self._render = render
        self._metrics = metrics
        self._figures = figures
        self._now = now
        self._warnings = Warnings(api)

    def work(self) -> None:
        """One worker: until the queue is closed."""
        while (key := self._queue.take()) is not None:
            try:
                self.handle(key)
            finally:
                self._queue.done(key)

    def handle(self, key: Key) -> None:
        """One look at one key. The one place where any error is caught: what it means is decided here."""
        started = time.monotonic()
        result = "ok"
        try:
            found = self._pass(key)
        except Conflict as error:
            result = "conflict"
            logger.info("reconcile_conflict run=%s/%s error=%s", *key, error)
            self._queue.failed(key)
        except ApiError as error:
            result = "error"
            delay_s = self._queue.failed(key, at_least_s=error.retry_after_s or 0.0)
            logger.warning("reconcile_failed run=%s/%s retry_s=%.1f error=%s", *key, delay_s, error)
            self._tell_failure(key, error)
        except Exception:  # a bug must not end the worker; the key comes again
            result = "bug"
            delay_s = self._queue.failed(key)
            logger.exception("reconcile_crashed run=%s/%s retry_s=%.1f", *key, delay_s)
        else:
            result = self._look_again(key, found)
        self._metrics.reconciled(result, time.monotonic() - started)

    def _look_again(self, key: Key, found: Desired | None) -> str:
        """When; the result for the metrics."""
        if found is not None and found.is_refused:
            self._queue.failed(key)
            return "refused"
        self._queue.succeeded(key)
        if found is None or found.requeue_after_s is None:
            self._queue.forget(key)
        else:
            self._queue.add_after(key, found.requeue_after_s)
        return "ok"

    def _pass(self, key: Key) -> Desired | None:
        """What was done; None when the MoAA is gone. Raises ApiError."""
        try:
            document = self._api.get(MOAA, *key)
        except NotFound:
            self._metrics.forget(key)
            return None
        owner = owner_of(document)
        now = self._now()
        objects = dict(self._caches.children(owner))
        objects["Pod"] = with_ends(self._api, owner.namespace, objects)
        objects["Event"] = self._warnings.about(objects, now=now)
        observed = observe(document, objects, has_kuberay=self._caches.has_kind(RAYJOB), figures=self._figures(key))
        desired = reconcile(observed, now=now, settings=self._settings, render=self._render)
        refusals = apply.apply(self._api, owner, desired.apply) | apply.create(self._api, owner, desired.create)
        if refusals:
            refused = replace(observed, refusals=refusals)
            desired = reconcile(refused, now=now, settings=self._settings, render=self._render)
        document = self._write_status(document, observed, desired)
        apply.delete(self._api, owner, desired.delete)
        self._tell(owner, document, events.between(observed.status, desired.status))
        self._metrics.observed(key, desired.status)
        return desired

    def _write_status(self, document: Object, observed: Observed, desired: Desired) -> Object:
        """Only when it says something new. Raises Conflict: somebody wrote the MoAA since it was read."""
        body = status.document(desired.status)
        if body == status.document(observed.status) and document.get("status"):
            return document
        written = self._api.replace_status(MOAA, observed.owner.namespace, {**document, "status": body})
        self._metrics.status_written(observed.status, desired.status)
        return written

    def _tell(self, owner: Owner, document: Object, found: list[Event]) -> None:
        """Events are for people: one that cannot be sent is logged and no reason to fail."""
        version = str(document["metadata"].get("resourceVersion") or "")
        for event in found:
            logger.info("event run=%s/%s reason=%s %s", owner.namespace, owner.name, event.reason, event.message)
            body = events.manifest(event, owner, resource_version=version, now=self._now())
            try:
                self._api.create(EVENT, owner.namespace, body)
            except AlreadyExists:
                continue
            except ApiError as error:
                logger.warning("event_not_sent run=%s/%s error=%s", owner.namespace, owner.name, error)

    def _tell_failure(self, key: Key, error: ApiError) -> None:
        """An API server that keeps failing is for a person to look at."""
        item = next((i.get(*key) for i in self._caches.informers if i.kind is MOAA and i.get(*key)), None)
        if item is None or not self._is_news(key):
            return
        generation = item["metadata"].get("generation")
        self._tell(owner_of(item), item, [Event("Warning", error.reason, str(error), f"failure {generation}")])

    def _is_news(self, key: Key) -> bool:
        """One Event for a row of equal failures, not one for each try; a passing hiccup gives none."""
        return self._queue.errors(key) in (3, 10, 30, 100)
