"""The life of a stage's attempts, as values: begun, moved on, failed, deferred, released, stopped. Pure.

An attempt number is used once. Failures count from the last edit of the resource: whoever edits it has mended
something, and a new generation gets all attempts again. Servers and Ray clusters that found no machine, turns that
deferred rows and attempts that were stopped on purpose are no failures.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta

from moaa.api.attempts import StageAttempts, Step, WaitingRows
from moaa_operator.settings import Settings

MAX_MESSAGE = 1000
NO_MACHINE = "NoMachine"
"""The reason of attempts that gave back the machines they had, since they found no others."""


def new(stage: str, fingerprint: str, generation: int) -> StageAttempts:
    return StageAttempts(stage=stage, fingerprint=fingerprint, generation=generation)


def begin(entry: StageAttempts, step: Step, *, now: datetime, turn: str | None = None) -> StageAttempts:
    """The next attempt."""
    return entry.with_(attempt=entry.attempt + 1, step=step, since=now, retry_after=None, turn=turn)


def move(entry: StageAttempts, step: Step, *, now: datetime) -> StageAttempts:
    return entry.with_(step=step, since=now)


def idle(entry: StageAttempts, *, reason: str = "", message: str = "") -> StageAttempts:
    """Nothing of it runs any more, and that is nobody's failure."""
    return entry.with_(step=None, since=None, reason=reason or entry.reason, message=cut(message) or entry.message)


def failed(
    entry: StageAttempts,
    *,
    reason: str,
    message: str,
    is_permanent: bool,
    now: datetime,
    run: str,
    settings: Settings,
) -> StageAttempts:
    """The attempt under way has failed; the next begins after a delay that doubles.

    It counts for the generation it began under: an edit made while it ran has mended it, for all one knows.
    """
    failures = entry.failures + 1
    delay_s = min(settings.retry_s * 2.0 ** min(failures - 1, 20), settings.retry_max_s)
    return entry.with_(
        step=None,
        since=None,
        failures=failures,
        is_permanent=is_permanent,
        reason=reason,
        message=cut(message),
        retry_after=now + timedelta(seconds=delay_s * spread(entry, failures, run)),
    )


def released(entry: StageAttempts, *, message: str, now: datetime, run: str, minutes: float) -> StageAttempts:
    """Its servers, or its Ray cluster, found no machines in time. They come back after up to half of `minutes`, at
    another moment than those of other runs, so that two runs do not take turns at holding half of what each needs."""
    wait_s = 60 * minutes / 2 * spread(entry, entry.releases + 1, run)
    return entry.with_(
        step=None,
        since=None,
        releases=entry.releases + 1,
        reason=NO_MACHINE,
        message=cut(message),
        retry_after=now + timedelta(seconds=wait_s),
    )


def is_released(entry: StageAttempts, *, now: datetime) -> bool:
    """Its machines were given back and their time has not come again."""
    return (
        entry.step is None and entry.reason == NO_MACHINE and entry.retry_after is not None and entry.retry_after > now
    )


def deferred(entry: StageAttempts, waiting: Mapping[str, int], *, calls: int) -> StageAttempts:
    """Rows wait for models that were not served; `calls` were sent meanwhile."""
    return entry.with_(
        step=None,
        since=None,
        reason="Deferred",
        message="",
        waiting=[WaitingRows(model=model, rows=rows) for model, rows in waiting.items()],
        idle_turns=0 if calls else entry.idle_turns + 1,
    )


def edited(entry: StageAttempts, generation: int) -> StageAttempts:
    """An entry without an attempt under way, seen under a newer generation: its failures are forgotten."""
    if entry.step is not None or entry.generation == generation:
        return entry
    return entry.with_(generation=generation, failures=0, is_permanent=False, retry_after=None, idle_turns=0)


def spread(entry: StageAttempts, count: int, run: str) -> float:
    """In [0.5, 1): different for different stages, runs and times, equal whenever it is asked again.

    `run` is the MoAA's UID: equal resources have equal fingerprints, and would wait for one another for ever.
    """
    digest = hashlib.sha256(f"{run} {entry.stage} {entry.fingerprint} {count}".encode()).digest()
    return 0.5 + int.from_bytes(digest[:4], "big") / 2**33


def cut(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE // 3]} … {text[-(MAX_MESSAGE // 2) :]}"
