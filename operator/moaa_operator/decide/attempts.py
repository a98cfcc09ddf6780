"""The life of a stage's attempts, as values: begun, moved on, failed, deferred, released, stopped. Pure.

An attempt's number is used once. Failures count from the last edit of the resource: an edit may have mended something,
so a new generation gets all attempts again. These are no failures: servers and Ray clusters that found no machine,
turns that deferred rows, attempts that were stopped on purpose, and those that another run of equal inputs has taken
over.
"""

import hashlib
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from moaa.api.attempts import StageAttempts, Step, WaitingRows
from moaa.api.status import StageProgress
from moaa.backoff import backoff_s
from moaa.contract.progress import percent
from moaa.plan.ready import failed_again
from moaa_operator.kube.kueue import PREEMPTED
from moaa_operator.settings import Settings
from moaa_operator.tell.conditions import ANOTHER_RUN, NO_MACHINE

MAX_PAUSES = 8
LOOK_AGAIN_S = 180
"""Between two looks for the result of another run, at most; a look is a light Job."""
MAX_MESSAGE = 1000


def new(stage: str, fingerprint: str, generation: int) -> StageAttempts:
    return StageAttempts(stage=stage, fingerprint=fingerprint, generation=generation)


def begin(entry: StageAttempts, step: Step, *, now: datetime, turn: str | None = None) -> StageAttempts:
    """The next attempt."""
    return entry.with_(attempt=entry.attempt + 1, step=step, since=now, retry_after=None, turn=turn, finished_with=[])


def move(entry: StageAttempts, step: Step, *, now: datetime) -> StageAttempts:
    """On to a later step of the attempt; the servers it waited for found machines."""
    return entry.with_(step=step, since=now, releases=0)


def idle(entry: StageAttempts, *, reason: str = "", message: str = "") -> StageAttempts:
    """It was stopped without a failure: nothing of it runs any more."""
    return entry.with_(step=None, since=None, reason=reason or entry.reason, message=cut(message) or entry.message)


def heard(entry: StageAttempts, progress: StageProgress) -> StageAttempts:
    """How far it is, as its pods say. Within a percent of the work the entry stays the same."""
    reached = percent(progress.saved, progress.steps or progress.rows_total or 0)
    return entry.with_(reached=reached) if reached > entry.reached else entry


def finished_with(entry: StageAttempts, models: Collection[str], *, gpu_seconds: float, now: datetime) -> StageAttempts:
    """It will not ask `models` again. Its servers of these go, so the clock of its GPU time, `gpu_seconds` by now,
    begins anew."""
    return entry.with_(finished_with=[*entry.finished_with, *models], gpu_seconds=round(gpu_seconds), at_work_since=now)


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

    It counts for the generation it began under: an edit made while it ran may have mended it.
    """
    failures = failed_again(entry.failures, before=entry.failed_at, reached=entry.reached)
    delay_s = backoff_s(failures, first_s=settings.retry_s, max_s=settings.retry_max_s)
    return entry.with_(
        step=None,
        since=None,
        failures=failures,
        failed_at=entry.reached,
        is_permanent=is_permanent,
        reason=reason,
        message=cut(message),
        retry_after=now + timedelta(seconds=delay_s * spread(entry, failures, run)),
    )


def released(entry: StageAttempts, *, message: str, now: datetime, run: str, minutes: float) -> StageAttempts:
    """Its servers, or its Ray cluster, found no machines in time.

    They come back after up to half of `minutes`, each run at another moment: two runs would otherwise take turns at
    holding half of what each needs. The pause doubles with each release in a row up to MAX_PAUSES halves: what a part
    of the servers holds meanwhile is paid for and does nothing.
    """
    halves = min(2**entry.releases, MAX_PAUSES)
    wait_s = 60 * minutes / 2 * halves * spread(entry, entry.releases + 1, run)
    return entry.with_(
        step=None,
        since=None,
        releases=entry.releases + 1,
        reason=NO_MACHINE,
        message=cut(message),
        retry_after=now + timedelta(seconds=wait_s),
    )


def preempted(entry: StageAttempts, *, message: str, now: datetime, run: str, settings: Settings) -> StageAttempts:
    """Its queue took its quota away. It joins the queue again in a moment: the queue says when it has its turn."""
    wait_s = settings.retry_s * spread(entry, entry.attempt, run)
    return entry.with_(
        step=None,
        since=None,
        reason=PREEMPTED,
        message=cut(message),
        retry_after=now + timedelta(seconds=wait_s),
    )


def overtaken(entry: StageAttempts, *, message: str, now: datetime, run: str) -> StageAttempts:
    """Another run works on the stage. Before anything of it starts here, the store is asked again.

    Two runs that overtake each other look at different moments, so one of them finds the other at work and waits.
    """
    wait_s = LOOK_AGAIN_S * spread(entry, entry.attempt, run)
    return entry.with_(
        step=None,
        since=None,
        is_checked=False,
        reason=ANOTHER_RUN,
        message=cut(message),
        retry_after=now + timedelta(seconds=wait_s),
    )


def is_overtaken(entry: StageAttempts) -> bool:
    """Whether it waits for another run's result."""
    return entry.step is None and entry.reason == ANOTHER_RUN


def is_released(entry: StageAttempts, *, now: datetime) -> bool:
    """Whether it gave its machines back and still waits to ask for them again."""
    gave_back = entry.step is None and entry.reason in (NO_MACHINE, PREEMPTED)
    return gave_back and entry.retry_after is not None and entry.retry_after > now


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
    """A number in [0.5, 1): it differs by stage, run and count, and is equal for equal arguments.

    `run` is the MoAA's UID. Without it, two equal resources would have equal delays and meet at every try.
    """
    digest = hashlib.sha256(f"{run} {entry.stage} {entry.fingerprint} {count}".encode()).digest()
    return 0.5 + int.from_bytes(digest[:4], "big") / 2**33


def cut(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE // 3]} … {text[-(MAX_MESSAGE // 2) :]}"
