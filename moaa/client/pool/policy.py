"""How long and how often to try: bounds of one call, and the delay before the next try. Pure."""

import random
from dataclasses import dataclass, replace
from typing import Self

from moaa.backoff import backoff_s
from moaa.client.outcome import Retry, Trouble

RESTART_GRACE_S = 120.0
"""Time to notice the death of a server of ours and to schedule its successor."""


@dataclass(frozen=True)
class Policy:
    """Bounds of every call of a pool. Times are in seconds.

    A busy server (429, 503) is waited for until the deadline, since others' progress frees it; errors of the request's
    own count against `tries`; a server that cannot be reached at all is waited for `reconnect_s`, the time in which
    a crashed server is expected to be restarted: for one of ours `for_server` takes it from the resource.
    """

    try_s: float = 900.0
    """Time limit of one HTTP request: 2,048 tokens at 2.3 tokens a second, the pace of a crowded CPU server."""
    deadline_s: float = 3600.0
    """Time limit of a call, all tries and waits together, counted from its first request."""
    reconnect_s: float = 300.0
    """How long no replica may answer at all before the servers count as gone."""
    connect_s: float = 10.0
    tries: int = 5
    """Most requests that failed on their own account (5xx, broken answers, time-outs)."""
    time_outs: int = 2
    """Of these, most time-outs: each has cost `try_s` already."""
    backoff_s: float = 0.5
    backoff_max_s: float = 30.0
    retry_after_max_s: float = 300.0
    """Longest wait a server may ask for; a longer one is cut, the deadline still holds."""
    resolve_s: float = 30.0
    """Age at which a host name's addresses are looked up again."""

    def for_server(self, startup_s: float | None) -> Self:
        """The bounds for a server that may take `startup_s` to come up again; None: an endpoint of others, nothing
        changes.

        The deadline grows by as much as `reconnect_s`, so that a call under way outlives the restart.
        """
        if startup_s is None:
            return self
        reconnect_s = startup_s + RESTART_GRACE_S
        more_s = max(0.0, reconnect_s - self.reconnect_s)
        return replace(self, reconnect_s=reconnect_s, deadline_s=self.deadline_s + more_s)

    def delay_s(self, retry: Retry, nth: int, rng: random.Random) -> float:
        """Wait before the next try after the `nth` temporary failure of a call (from 1).

        Full jitter: uniform between 0 and an exponentially growing cap, so that calls that failed together do not
        come back together. A server's Retry-After is a floor under it.
        """
        cap = backoff_s(nth, first_s=self.backoff_s, max_s=self.backoff_max_s)
        asked = 0.0 if retry.after_s is None else min(retry.after_s, self.retry_after_max_s)
        return asked + rng.uniform(0.0, cap)


@dataclass
class Tries:
    """Bookkeeping of one call's failures; the pool asks it whether there may be another try."""

    policy: Policy
    started: float
    failures: int = 0
    """Temporary failures of any kind, for the back-off."""
    own: int = 0
    time_outs: int = 0
    first_disconnect: float | None = None
    held_s: float = 0.0
    """That it waited for the endpoint's limits, which counts against no bound."""

    def record(self, retry: Retry, *, now: float, asked: float, last_response: float) -> None:
        """Note a failure of the request sent at `asked`; `last_response` is when any replica last answered anything."""
        self.failures += 1
        match retry.trouble:
            case Trouble.THROTTLED:
                pass
            case Trouble.FAILED:
                self.own += 1
            case Trouble.TIMED_OUT:
                self.own += 1
                self.time_outs += 1
            case Trouble.DISCONNECTED if last_response >= asked:
                # Other requests are answered meanwhile, so this very request may break the connection.
                self.own += 1
            case Trouble.DISCONNECTED:
                self.first_disconnect = now if self.first_disconnect is None else self.first_disconnect

    def exhausted(self) -> bool:
        return self.own >= self.policy.tries or self.time_outs >= self.policy.time_outs

    def gone(self, *, now: float, last_response: float) -> bool:
        """No replica has answered anything for `reconnect_s`, nor has this call been able to connect."""
        if self.first_disconnect is None:
            return False
        return now - max(self.first_disconnect, last_response) >= self.policy.reconnect_s

    def late(self, *, now: float, delay_s: float) -> bool:
        return now + delay_s >= self.started + self.held_s + self.policy.deadline_s
