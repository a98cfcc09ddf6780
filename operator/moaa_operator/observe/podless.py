"""Jobs and RayJobs whose pods never came, and what was said about it.

A Job that may not make its pods (a quota, Pod Security, a missing service account) says so in Events only: its status
stays as if it had just begun. Events are many and short-lived, so they are not watched; those about a silent child are
asked for, and not often.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from moaa_operator.kube.api import Api, Object
from moaa_operator.kube.errors import ApiError
from moaa_operator.observe.pods import moment
from moaa_operator.observe.read import is_silent

logger = logging.getLogger(__name__)

SILENCE = timedelta(seconds=2)
"""Controllers make pods within a second, if at all."""
ASK_EVERY_S = 20.0
KINDS = ("Job", "RayJob")


class Warnings:
    """What Kubernetes says about silent children, each asked for at most every 20 s. Any thread may call."""

    def __init__(self, api: Api, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._clock = clock
        self._said: dict[str, tuple[float, Sequence[Object]]] = {}

    def about(self, objects: Mapping[str, Iterable[Object]], *, now: datetime) -> list[Object]:
        """Warning Events; none about a child while the server does not give them."""
        pods = list(objects.get("Pod", ()))
        found: list[Object] = []
        for item in (item for kind in KINDS for item in objects.get(kind, ())):
            created = moment(item["metadata"].get("creationTimestamp"))
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
