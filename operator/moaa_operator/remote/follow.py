"""`moaa logs --follow`: all pods of a stage at the same time, later ones too, until all that are there have ended."""

import threading
from collections.abc import Iterator
from queue import Empty, SimpleQueue

from moaa.errors import MoaaError
from moaa_operator.kube.objects import Fields, Object
from moaa_operator.observe.pods import has_ended
from moaa_operator.remote.cluster import Cluster
from moaa_operator.remote.pod_logs import Source, pods_of, read, sources
from moaa_operator.remote.requests import Logs
from moaa_operator.remote.submit import Say

LOOK_EVERY_S = 5.0
"""How long nothing is written before the pods are looked at again."""
AT_ONCE = 32
"""Logs that are followed at a time; those of further pods wait for their turn."""


def follow(cluster: Cluster, request: Logs, stage: str, say: Say, *, look_every_s: float = LOOK_EVERY_S) -> None:
    """Raises UsageError, MoaaError: a log cannot be read any more."""
    follower = _Follower(cluster, request)
    while True:
        pods = pods_of(cluster, request.name, stage)
        is_over = all(has_ended(pod) for pod in pods) and follower.has_begun(pods)
        follower.begin(pods)
        for line in follower.lines(look_every_s):
            say(line)
        if is_over and follower.is_idle:
            return


class _Follower:
    def __init__(self, cluster: Cluster, request: Logs) -> None:
        self._cluster = cluster
        self._tail = request.tail
        self._said: SimpleQueue[str | MoaaError | None] = SimpleQueue()
        """None: one of them has ended."""
        self._begun: set[Source] = set()
        self._active = 0

    @property
    def is_idle(self) -> bool:
        return self._active == 0 and self._said.empty()

    def has_begun(self, pods: list[Object]) -> bool:
        """Every log that there is."""
        return all(source in self._begun for source, pod in sources(pods) if has_log(pod, source.container))

    def begin(self, pods: list[Object]) -> None:
        for source, pod in sources(pods):
            if source not in self._begun and self._active < AT_ONCE and has_log(pod, source.container):
                self._begun.add(source)
                self._active += 1
                # A daemon: a log that says nothing must not hold the command back at Ctrl-C.
                threading.Thread(target=self._read, args=(source,), name=source.title, daemon=True).start()

    def _read(self, source: Source) -> None:
        try:
            for line in read(self._cluster, source, tail=self._tail, follow=True):
                self._said.put(f"[{source.title}] {line}")
        except MoaaError as error:
            self._said.put(error)
        finally:
            self._said.put(None)

    def lines(self, quiet_s: float) -> Iterator[str]:
        """Until all have ended, or none has said anything for that long. Raises MoaaError: one cannot be read."""
        while self._active:
            try:
                said = self._said.get(timeout=quiet_s)
            except Empty:
                return
            if isinstance(said, MoaaError):
                raise said
            if said is None:
                self._active -= 1
            else:
                yield said


def has_log(pod: Fields, container: str) -> bool:
    """The container runs, or has run."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    states = [status.get("state") or {} for status in statuses if status.get("name") == container]
    return any("running" in state or "terminated" in state for state in states)
