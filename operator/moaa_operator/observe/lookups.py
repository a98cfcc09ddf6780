"""Ask the server for what the watched copies do not show: how a Job's pods ended, why a child has none, and what a
queue says of what it holds back."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import assert_never

from moaa_operator.kube.api import Api
from moaa_operator.kube.errors import ApiError, NotFound
from moaa_operator.kube.kinds import POD, WORKLOADS, Kind, ServerKind
from moaa_operator.kube.kueue import JOB_UID_LABEL
from moaa_operator.kube.objects import Fields, Object, annotation, created_at, holds, is_owned_by, name_of, uid_of
from moaa_operator.kube.owner import GANG_ANNOTATION
from moaa_operator.observe import jobs, rayjobs, servers
from moaa_operator.observe.pods import has_ended

logger = logging.getLogger(__name__)

JOB_LABEL = "batch.kubernetes.io/job-name"
SILENCE = timedelta(seconds=2)
"""Controllers make pods within a second, if at all."""
ASK_EVERY_S = 20.0
ASK_QUEUE_EVERY_S = 4.0
_SILENT: Mapping[str, Callable[[Fields, Iterable[Fields]], bool]] = {
    "Job": jobs.is_silent,
    "RayJob": rayjobs.is_silent,
}
"""Kinds that should have pods, and whether one has none."""


def with_ends(api: Api, namespace: str, objects: Mapping[str, Iterable[Object]]) -> list[Object]:
    """The run's pods; of ended Jobs as the server has them, where the copies lag.

    Each kind is watched by itself, so a Job's end may be known before its pods' ends are, by as long as their watch is
    broken. A Job's outcome stands in its pods: without them finished work would count as lost and be done again.

    Raises:
        ApiError: the server does not list them.
    """
    found = {uid_of(pod): pod for pod in objects.get("Pod", ())}
    for job in objects.get("Job", ()):
        if _ended_pods(job) > sum(has_ended(pod) for pod in found.values() if is_owned_by(pod, uid_of(job))):
            fresh, _ = api.list(POD, namespace, selector=f"{JOB_LABEL}={name_of(job)}")
            found |= {uid_of(pod): pod for pod in fresh}
    return list(found.values())


def _ended_pods(job: Fields) -> int:
    """How many ended pods a Job that is over counts; 0 while it goes on."""
    is_over = any(holds(job, kind) for kind in ("Complete", "Failed"))
    status = job.get("status") or {}
    return int(status.get("succeeded") or 0) + int(status.get("failed") or 0) if is_over else 0


class Warnings:
    """What Kubernetes says about silent children, each asked for at most every 20 s. Any thread may call.

    A Job that may not make its pods (a quota, Pod Security, a missing service account) says so in Events only: its
    status stays as if it had just begun. Events are many and short-lived, so they are not watched.
    """

    def __init__(self, api: Api, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._clock = clock
        self._said: dict[str, tuple[float, Sequence[Object]]] = {}

    def about(self, objects: Mapping[str, Iterable[Object]], *, now: datetime) -> list[Object]:
        """Warning Events; none about a child while the server does not give them."""
        pods = list(objects.get("Pod", ()))
        found: list[Object] = []
        for kind, is_silent in _SILENT.items():
            for item in objects.get(kind, ()):
                created = created_at(item)
                if created is not None and now - created >= SILENCE and is_silent(item, pods):
                    found += self._ask(item)
        return found

    def _ask(self, item: Object) -> Sequence[Object]:
        uid, at = str(item["metadata"]["uid"]), self._clock()
        for other in [u for u, (asked, _) in list(self._said.items()) if at - asked >= ASK_EVERY_S]:
            self._said.pop(other, None)
        if uid not in self._said:
            try:
                said = self._api.warnings(str(item["metadata"]["namespace"]), uid)
            except ApiError as error:  # the decision goes on without: the child is silent either way
                logger.warning("events_not_given kind=%s error=%s", item["kind"], error)
                said = []
            self._said[uid] = (at, said)
        return self._said[uid][1]


class Workloads:
    """What Kueue says of a run's Jobs, RayJobs and servers that wait for quota, each asked for at most every 4 s. Any
    thread may call.

    Kueue's Workloads carry none of our labels, so they are not watched; few things wait at a time.
    """

    def __init__(self, api: Api, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._clock = clock
        self._said: dict[tuple[str, str], tuple[float, Sequence[Object]]] = {}

    def about(self, objects: Mapping[str, Iterable[Object]]) -> list[Object]:
        """Workloads; none of what Kueue does not know, or while the server does not give them."""
        pods = list(objects.get("Pod", ()))
        queued = [item for item in objects.get("Job", ()) if jobs.is_queued(item)]
        queued += [item for item in objects.get("RayJob", ()) if rayjobs.is_queued(item)]
        found = [w for item in queued for w in self._ask(item, uid_of(item), self._of_job)]
        for kind in ServerKind:
            waiting = [item for item in objects.get(kind, ()) if servers.waits_for_quota(item, kind, pods)]
            found += self._of_servers(kind, waiting)
        return found

    def _of_servers(self, kind: ServerKind, waiting: Iterable[Object]) -> list[Object]:
        match kind:
            case ServerKind.DEPLOYMENT:
                gangs = {annotation(item, GANG_ANNOTATION): item for item in waiting}
                return [w for gang, item in gangs.items() for w in self._ask(item, gang, self._of_gang)]
            case ServerKind.GROUPS:
                return [w for item in waiting for w in self._ask(item, uid_of(item), self._of_job)]
            case _:
                assert_never(kind)

    def _ask(self, item: Object, subject: str, how: Callable[[Kind, str, str], list[Object]]) -> Sequence[Object]:
        key, at = (str(item["metadata"]["namespace"]), subject), self._clock()
        for other in [k for k, (asked, _) in list(self._said.items()) if at - asked >= ASK_QUEUE_EVERY_S]:
            self._said.pop(other, None)
        if key not in self._said:
            self._said[key] = (at, self._found(*key, how))
        return self._said[key][1]

    def _found(self, namespace: str, subject: str, how: Callable[[Kind, str, str], list[Object]]) -> list[Object]:
        for kind in WORKLOADS:
            try:
                return how(kind, namespace, subject)
            except NotFound:  # the kind, in this version; or the Workload
                continue
            except ApiError as error:  # the decision goes on without: it waits either way
                logger.warning("workload_not_given namespace=%s of=%s error=%s", namespace, subject, error)
                return []
        return []

    def _of_job(self, kind: Kind, namespace: str, uid: str) -> list[Object]:
        return self._api.list(kind, namespace, selector=f"{JOB_UID_LABEL}={uid}")[0]

    def _of_gang(self, kind: Kind, namespace: str, gang: str) -> list[Object]:
        return [self._api.get(kind, namespace, gang)]
