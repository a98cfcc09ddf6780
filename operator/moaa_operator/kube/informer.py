"""A local, read-only copy of one kind of object, kept up to date by list and watch.

Each runs in a thread. The copy is complete once `is_synced`. From then on it is as old as the last event at most, and a
watch that dies without a word costs `silence_s` at most. Every change of an object adds its owner's key to the work
queue; decisions are made elsewhere. When the server no longer knows a version (410), the informer lists again and
counts the differences as changes, so nothing is lost, deletions included. A kind that the server lacks (KubeRay is not
installed) is an empty, synced copy that says so; the informer asks for it again every minute.

Objects are never changed in place, so a reader may keep one. Of each only what the operator reads is kept
(`moaa_operator.kube.transform`).
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass

from moaa_operator.kube.api import Api
from moaa_operator.kube.errors import ApiError, Gone, NotFound
from moaa_operator.kube.kinds import Kind
from moaa_operator.kube.objects import Key, Object, key_of
from moaa_operator.kube.queue import Backoff
from moaa_operator.kube.transform import kept

logger = logging.getLogger(__name__)

OnChange = Callable[[Object, Object | None], None]
"""Called with two objects. First: as it is now, or as it was last if it is gone. Second: as it was before; None if it
is new or gone."""
OwnerOf = Callable[[Object], Key | None]
"""The MoAA that an object belongs to."""
ABSENT_KIND_RETRY_S = 60.0
SHORT_WATCH_S = 1.0
"""A watch that ends sooner without an event was cut by something in between, which may cut the next one, too."""


@dataclass(frozen=True)
class Timing:
    timeout_s: float = 290.0
    """The server ends a watch after so long."""
    silence_s: float = 320.0
    """A watch without even its end for so long is dead."""


class Informer:
    """The copy of one kind, in one namespace or (None) in all."""

    def __init__(
        self,
        api: Api,
        kind: Kind,
        namespace: str | None,
        *,
        on_change: OnChange,
        backoff: Backoff,
        selector: str | None = None,
        timing: Timing | None = None,
        owner_of: OwnerOf = lambda _: None,
        keep: Callable[[Object], Object] = kept,
    ) -> None:
        self.kind = kind
        self.namespace = namespace
        self._api = api
        self._selector = selector
        self._on_change = on_change
        self._backoff = backoff
        self._timing = timing or Timing()
        self._owner_of = owner_of
        self._keep = keep
        self._lock = threading.Lock()
        self._objects: dict[Key, Object] = {}
        self._owned: dict[Key | None, dict[Key, Object]] = {}
        """The same objects by the MoAA that they belong to."""
        self._synced = threading.Event()
        self._stopped = threading.Event()
        self._is_absent = False
        self._thread: threading.Thread | None = None
        self._version: str | None = None
        """Of the last event; None: list first."""
        self.relists = 0
        self.errors = 0
        self.events = 0

    @property
    def is_synced(self) -> bool:
        """The first list is complete, or the server has no such kind."""
        return self._synced.is_set()

    @property
    def is_absent(self) -> bool:
        """The server has no such kind."""
        return self._is_absent

    @property
    def is_dead(self) -> bool:
        """Its thread ended without `stop`."""
        return self._thread is not None and not self._thread.is_alive() and not self._stopped.is_set()

    def get(self, namespace: str, name: str) -> Object | None:
        with self._lock:
            return self._objects.get((namespace, name))

    def all(self) -> list[Object]:
        with self._lock:
            return list(self._objects.values())

    def of(self, owner: Key) -> list[Object]:
        """Those that belong to a MoAA. The cost depends on their number only."""
        with self._lock:
            return list(self._owned.get(owner, {}).values())

    def start(self) -> None:
        name = f"informer-{self.kind.plural}-{self.namespace or 'all'}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No further event is passed on. The thread ends with its connection, at the latest after the watch's time."""
        self._stopped.set()

    def wait_synced(self, timeout_s: float) -> bool:
        return self._synced.wait(timeout_s)

    def _run(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            seen, begun = self.events, time.monotonic()
            try:
                if self._version is None:
                    self._version = self._list()
                self._watch(self._version)
                is_short = self.events == seen and time.monotonic() - begun < SHORT_WATCH_S
                failures = failures + 1 if is_short else 0
                if is_short:
                    self._stopped.wait(self._backoff.delay_s(failures))
            except Gone:
                failures = 1 if self.events > seen else failures + 1
                delay_s = self._backoff.delay_s(failures)
                logger.info("watch_expired kind=%s retry_s=%.1f", self.kind.plural, delay_s)
                self._version = None
                self._stopped.wait(delay_s)
            except NotFound:
                self._no_such_kind()
                self._stopped.wait(ABSENT_KIND_RETRY_S)
            except ApiError as error:
                failures = 1 if self.events > seen else failures + 1
                self._pause(error, failures)

    def _pause(self, error: ApiError, failures: int) -> None:
        """After a failure. A broken connection goes on from the last event; a server that refused is listed again."""
        self.errors += 1
        if error.status:
            self._version = None
        delay_s = max(self._backoff.delay_s(failures), error.retry_after_s or 0.0)
        logger.warning("watch_failed kind=%s retry_s=%.1f error=%s", self.kind.plural, delay_s, error)
        self._stopped.wait(delay_s)

    def _list(self) -> str:
        self.relists += 1
        items, version = self._api.list(self.kind, self.namespace, selector=self._selector, keep=self._keep)
        # The items of a list of built-in objects do not say what they are.
        named = {"apiVersion": self.kind.api_version, "kind": self.kind.kind}
        fresh = {key_of(item): {**named, **item} for item in items}
        with self._lock:
            before, self._objects, self._owned = self._objects, {}, {}
            for key, item in fresh.items():
                self._put(key, item)
        self._is_absent = False
        for changed in _differences(before, fresh):
            self._changed(changed, before.get(key_of(changed)) if key_of(changed) in fresh else None)
        self._synced.set()
        return version

    def _watch(self, version: str) -> None:
        """Follow until the server ends the watch. Raises as `Api.watch`; what was received before then holds."""
        events = self._api.watch(
            self.kind,
            self.namespace,
            version,
            selector=self._selector,
            timeout_s=self._timing.timeout_s,
            silence_s=self._timing.silence_s,
        )
        with closing(events):
            for event, item in events:
                if self._stopped.is_set():
                    return
                self.events += 1
                if event != "BOOKMARK":
                    self._take(event, item)
                self._version = str(item["metadata"].get("resourceVersion") or self._version)

    def _take(self, event: str, item: Object) -> None:
        item = self._keep(item)
        is_gone = event == "DELETED"
        with self._lock:
            before = self._put(key_of(item), None if is_gone else item)
        self._changed(item, None if is_gone else before)

    def _put(self, key: Key, item: Object | None) -> Object | None:
        """The object as it is now, None: it is gone; returns it as it was. The lock is held."""
        before = self._objects.pop(key, None)
        if before is not None:
            owner = self._owner_of(before)
            del self._owned[owner][key]
            if not self._owned[owner]:
                del self._owned[owner]
        if item is not None:
            self._objects[key] = item
            self._owned.setdefault(self._owner_of(item), {})[key] = item
        return before

    def _no_such_kind(self) -> None:
        if not self._is_absent:
            logger.warning("kind_absent kind=%s api=%s", self.kind.kind, self.kind.api_version)
        self._is_absent = True  # before the copy is empty: nobody takes its objects for deleted
        with self._lock:
            gone, self._objects, self._owned = list(self._objects.values()), {}, {}
        self._version = None
        for item in gone:
            self._changed(item, None)
        self._synced.set()

    def _changed(self, item: Object, before: Object | None) -> None:
        if not self._stopped.is_set():
            self._on_change(item, before)


def _differences(before: Mapping[Key, Object], after: Mapping[Key, Object]) -> list[Object]:
    """New, changed and vanished objects."""

    def version(item: Object) -> tuple[object, object]:
        return item["metadata"].get("uid"), item["metadata"].get("resourceVersion")

    changed = [item for key, item in after.items() if key not in before or version(before[key]) != version(item)]
    return changed + [item for key, item in before.items() if key not in after]
