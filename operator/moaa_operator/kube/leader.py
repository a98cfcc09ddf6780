"""One replica works at a time: it holds a Lease and renews it; another takes it over when the holder stops renewing.

Our own clock judges expiry, from the moment we saw the lease change, and never the holder's time stamps: clocks may
differ. A leader that could not renew for `renew_s` (less than the lease lasts) stops working before another may start;
for that, no request of a try waits longer than `LeaseTiming.request_timeout_s`. A leader that got no CPU for long asks
who leads before it gives up. A process that ends in order gives the lease back.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from moaa_operator.kube.api import Api
from moaa_operator.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from moaa_operator.kube.kinds import LEASE
from moaa_operator.kube.objects import Object

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LeaseTiming:
    """As `moaa_operator.settings` explains them."""

    duration_s: float
    renew_s: float
    retry_s: float

    @property
    def request_timeout_s(self) -> float:
        """A try that begins when `renew_s` is all but over has ended when the lease expires: each of its two requests
        may wait for a connection and for an answer."""
        return (self.duration_s - self.renew_s) / 4


class Elector:
    """Tries to hold one Lease under one identity. `step` is one try; `run` repeats it."""

    def __init__(
        self,
        api: Api,
        *,
        namespace: str,
        name: str,
        identity: str,
        timing: LeaseTiming,
        clock: Callable[[], float],
    ) -> None:
        self._api = api.within(timing.request_timeout_s)
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._timing = timing
        self._clock = clock
        self._seen: tuple[object, object] | None = None
        self._seen_at = 0.0
        self._renewed_at: float | None = None

    @property
    def is_leader(self) -> bool:
        """We hold the lease, and no other replica may believe that it does."""
        return self._renewed_at is not None and self._clock() - self._renewed_at < self._timing.renew_s

    def step(self) -> bool:
        """Take or renew the lease when we may; whether we lead now."""
        if self._try() and not self.is_leader:
            # The answer is so old that another may have taken over since: only the server knows.
            self._try()
        return self.is_leader

    def _try(self) -> bool:
        """Whether the server has just given us the lease."""
        asked = self._clock()
        try:
            is_ours = self._hold()
        except (Conflict, AlreadyExists):
            logger.info("lease_contended lease=%s/%s", self._namespace, self._name)
            return False
        except ApiError as error:
            logger.warning("lease_not_renewed lease=%s/%s error=%s", self._namespace, self._name, error)
            return False
        self._renewed_at = asked if is_ours else None  # the moment before the request: never later than the server's
        return is_ours

    def run(self, stopped: threading.Event, *, on_gained: Callable[[], None], on_lost: Callable[[], None]) -> None:
        """Until `stopped`, or the lease was lost after it had been gained; then it returns and is not tried again."""
        gained = False
        while not stopped.is_set():
            leads = self.step()
            if leads and not gained:
                gained = True
                logger.info("lease_gained lease=%s/%s identity=%s", self._namespace, self._name, self._identity)
                on_gained()
            elif gained and not leads:
                logger.error("lease_lost lease=%s/%s identity=%s", self._namespace, self._name, self._identity)
                on_lost()
                return
            stopped.wait(self._timing.retry_s)

    def release(self) -> None:
        """Give the lease back, so that the next replica need not wait for it to expire."""
        if self._renewed_at is None:
            return
        self._renewed_at = None
        try:
            lease = self._api.get(LEASE, self._namespace, self._name)
            if lease.get("spec", {}).get("holderIdentity") == self._identity:
                lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                self._api.replace(LEASE, self._namespace, lease)
        except ApiError as error:
            logger.info("lease_not_released error=%s", error)

    def _hold(self) -> bool:
        try:
            lease = self._api.get(LEASE, self._namespace, self._name)
        except NotFound:
            self._api.create(LEASE, self._namespace, self._new())
            return True
        spec = lease.setdefault("spec", {})
        holder = spec.get("holderIdentity") or ""
        state = (holder, spec.get("renewTime"))
        if state != self._seen:
            self._seen, self._seen_at = state, self._clock()
        lasts_s = float(spec.get("leaseDurationSeconds") or self._timing.duration_s)
        if holder and holder != self._identity and self._clock() - self._seen_at < lasts_s:
            return False
        if holder != self._identity:
            spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + 1
            spec["acquireTime"] = _now()
        spec |= {"holderIdentity": self._identity, "renewTime": _now()}
        spec["leaseDurationSeconds"] = int(self._timing.duration_s)
        self._api.replace(LEASE, self._namespace, lease)
        return True

    def _new(self) -> Object:
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": int(self._timing.duration_s),
                "acquireTime": _now(),
                "renewTime": _now(),
                "leaseTransitions": 0,
            },
        }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
