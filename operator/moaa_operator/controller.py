"""The loop around the decision: take a key, read, decide, act, write the status, look again.

Threads run it (one for each informer, and a few workers) with the official synchronous client: a key takes a handful of
requests, and a thread that waits for one costs nothing. A key is the namespace and name of a MoAA. The queue never
gives out a key twice at once.

The MoAA itself is read from the server, not from the informer's copy: its status remembers the attempts that ended, and
a decision on an old status could run an attempt again. Children come from the copies. A child that its copy lacks is
created again, and found to exist.

One pass applies and creates; then writes the status once, guarded by the resource version that was read; then, if that
succeeded, sends Events and deletes. If the API server refuses an object, the pass decides once more, so that the status
says so, and the key comes back later and later. An error pushes the key back in the same way.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from moaa_operator.decide.reconcile import Desired, reconcile
from moaa_operator.decide.renderer import Renderer
from moaa_operator.kube import apply
from moaa_operator.kube.api import Answer, Api
from moaa_operator.kube.caches import Caches
from moaa_operator.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from moaa_operator.kube.kinds import EVENT, MOAA
from moaa_operator.kube.objects import Key, Object
from moaa_operator.kube.owner import Owner, owner_of
from moaa_operator.kube.queue import WorkQueue
from moaa_operator.observe.lookups import Warnings, Workloads, with_ends
from moaa_operator.observe.observed import Observed
from moaa_operator.observe.progress import PodFigures
from moaa_operator.observe.read import observe
from moaa_operator.settings import Settings
from moaa_operator.tell import events, status
from moaa_operator.tell.events import Event
from moaa_operator.tell.metrics import Metrics

logger = logging.getLogger(__name__)


def now_utc() -> datetime:
    """Now, in whole seconds: Kubernetes keeps no more, and a status must read back as it was written."""
    return datetime.now(UTC).replace(microsecond=0)


UNSYNCED_S = 1.0
"""How soon to look again at a run whose namespace is not known completely."""


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
        self._lately = apply.Lately()
        self._warnings = Warnings(api)
        self._workloads = Workloads(api)

    def work(self) -> None:
        """One worker: until the queue is closed."""
        while (key := self._queue.take()) is not None:
            try:
                self.handle(key)
            finally:
                self._queue.done(key)

    def handle(self, key: Key) -> None:
        """Look at one key once. Every error ends here, as a delay until the next look.

        A namespace whose copies are not complete yet waits: a child that its copy lacks would be made again, and one
        without a Role may never be complete. Others do not wait for it.
        """
        if not self._caches.is_synced(key[0]):
            self._queue.succeeded(key)
            self._queue.add_after(key, UNSYNCED_S)
            return
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
        """Say when to look again; returns the result for the metrics."""
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
        """What was done; None when the MoAA is gone.

        Raises:
            ApiError: a request failed.
        """
        try:
            document = self._api.get(MOAA, *key)
        except NotFound:
            self._metrics.forget(key)
            return None
        owner = owner_of(document)
        now = self._now()
        found, missing = self._caches.children_and_missing(owner)
        objects = dict(found)
        objects["Pod"] = with_ends(self._api, owner.namespace, objects)
        objects["Event"] = self._warnings.about(objects, now=now)
        objects["Workload"] = self._workloads.about(objects)
        observed = observe(document, objects, missing=missing, figures=self._figures(key))
        desired = reconcile(observed, now=now, settings=self._settings, render=self._render)
        refusals = apply.apply(self._api, owner, desired.apply, lately=self._lately) | apply.create(
            self._api, owner, desired.create
        )
        if refusals:
            refused = replace(observed, refusals=refusals)
            desired = reconcile(refused, now=now, settings=self._settings, render=self._render)
        document = self._write_status(document, observed, desired)
        # Before the deletions: what the written status makes news is news once, and a deletion may fail.
        self._tell(owner, document, events.between(observed.status, desired.status))
        self._metrics.observed(key, desired.status)
        apply.delete(self._api, owner, desired.delete)
        return desired

    def _write_status(self, document: Object, observed: Observed, desired: Desired) -> Object:
        """Write it if it says something new. Returns the MoAA with the metadata that it has now.

        Raises:
            Conflict: the MoAA was written since it was read.
        """
        body = status.document(desired.status)
        if body == status.document(observed.status) and document.get("status"):
            return document
        # The server keeps the rest as it is, whatever a write of the status says of it; so it says nothing.
        about = {field: document["metadata"][field] for field in ("namespace", "name", "uid", "resourceVersion")}
        written = self._api.replace_status(
            MOAA,
            observed.owner.namespace,
            {"apiVersion": document["apiVersion"], "kind": MOAA.kind, "metadata": about, "status": body},
            answer=Answer.METADATA,
        )
        self._metrics.status_written(observed.status, desired.status)
        return written

    def _tell(self, owner: Owner, document: Object, found: list[Event]) -> None:
        """Send Events. They are for people: one that cannot be sent is logged, and the pass goes on."""
        version = str(document["metadata"].get("resourceVersion") or "")
        for event in found:
            logger.info("event run=%s/%s reason=%s %s", owner.namespace, owner.name, event.reason, event.message)
            body = events.manifest(event, owner, resource_version=version, now=self._now())
            try:
                self._api.create(EVENT, owner.namespace, body, answer=Answer.METADATA)
            except AlreadyExists:
                continue
            except ApiError as error:
                logger.warning("event_not_sent run=%s/%s error=%s", owner.namespace, owner.name, error)

    def _tell_failure(self, key: Key, error: ApiError) -> None:
        """Send an Event if the API server keeps failing: a person has to look at it."""
        item = self._caches.run(key)
        if item is None or not self._is_news(key):
            return
        generation = item["metadata"].get("generation")
        self._tell(owner_of(item), item, [Event("Warning", error.reason, str(error), f"failure {generation}")])

    def _is_news(self, key: Key) -> bool:
        """A row of failures gives few Events, not one a try. One or two failures give none."""
        return self._queue.errors(key) in (3, 10, 30, 100)
