"""How far a stage is, from the figures of its pods. Pure.

A stage of shards has a pod for each that runs; rows of finished shards are known from their number. What is shown stays
as it is until there is something to see: a status is written about as often as the percentage moves, however often pods
are asked.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moaa.api.status import StageProgress
from moaa.contract.progress import figures_of

MAX_MESSAGE = 120


@dataclass(frozen=True)
class PodFigures:
    """What one pod said on /progress."""

    done: int = 0
    total: int = 0
    """Rows of its shards, or steps of training."""
    stage_total: int = 0
    """Rows of all shards; 0: it did not say, or does the whole stage."""
    is_steps: bool = False
    failed: int = 0
    tokens_per_s: float = 0.0
    eta_s: float | None = None
    loss: float | None = None
    message: str = ""


def parse(said: Mapping[str, Any]) -> PodFigures:
    """Whatever a pod said; what is no figure counts as not said."""
    figures = figures_of(said)
    is_steps = figures.get("steps", 0) > 0
    if is_steps:
        done, total = figures.get("step", 0), figures.get("steps", 0)
    else:
        done, total = figures.get("rows_done", 0), figures.get("rows_total", 0)
    return PodFigures(
        done=min(done, total),
        total=total,
        stage_total=figures.get("rows_stage", 0),
        is_steps=is_steps,
        failed=figures.get("failed", 0),
        tokens_per_s=figures.get("tokens_per_s", 0.0),
        eta_s=figures.get("eta_s"),
        loss=figures.get("loss"),
        message=figures.get("message", "")[:MAX_MESSAGE],
    )


def combine(pods: Sequence[PodFigures], *, shards: int = 0, finished: int = 0) -> StageProgress | None:
    """Of a stage with `shards` pods (0: one pod does it all), `finished` of which are done; None: nobody said a thing.

    Counted from what is left, since the last shard may be shorter than the others: those that nobody has begun count
    as long ones.
    """
    said = [pod for pod in pods if pod.total or pod.message]
    if not said:
        return None
    total, done = sum(pod.total for pod in said), sum(pod.done for pod in said)
    if shards:
        longest = max(pod.total for pod in said)
        left = total - done + max(shards - finished - len(said), 0) * longest
        total = max(pod.stage_total for pod in said) or shards * longest
        done = max(total - left, 0)
    losses = [pod.loss for pod in said if pod.loss is not None]
    return StageProgress(
        rows=None if said[0].is_steps else done,
        rows_total=None if said[0].is_steps else total,
        failed_rows=sum(pod.failed for pod in said),
        step=done if said[0].is_steps else None,
        steps=total if said[0].is_steps else None,
        tokens_per_second=rounded(sum(pod.tokens_per_s for pod in said)),
        seconds_left=_left(said, total - done),
        loss=f"{losses[0]:.3f}" if losses else None,
        message=next((pod.message for pod in said if pod.message), ""),
    )


def _left(pods: Iterable[PodFigures], remaining: int) -> int | None:
    """Whole minutes in seconds, at the speed of the pods that have one."""
    speeds = [(pod.total - pod.done) / pod.eta_s for pod in pods if pod.eta_s and pod.total > pod.done]
    speed = sum(speeds)
    return 60 * math.ceil(remaining / speed / 60) if speed else None


def rounded(number: float) -> int:
    """To two significant digits.

    >>> rounded(8.4), rounded(1234.5), rounded(0)
    (8, 1200, 0)
    """
    return int(float(f"{number:.2g}"))


def shown(before: StageProgress | None, now: StageProgress) -> StageProgress:
    """What to show of a stage of which `before` is shown: the same, until a person would see a difference.

    That is another percentage or other words, more failures, or a time left that is a tenth away from the one shown;
    speed and loss are brought along. So a stage is written about a hundred times at most while it goes on at one speed,
    whether it takes an hour or a week.
    """
    is_equal = before is not None and (share(before), before.failed_rows) == (share(now), now.failed_rows)
    return before if before is not None and is_equal and _is_near(before.seconds_left, now.seconds_left) else now


def _is_near(before: int | None, now: int | None) -> bool:
    if not before or not now:
        return before == now
    return abs(now - before) < max(before / 10, 60)


def share(progress: StageProgress) -> str:
    """The part that is done, or words as long as there are no numbers.

    >>> share(StageProgress(rows=41, rows_total=100, seconds_left=7800))
    '41 %'
    """
    done, total = (progress.step, progress.steps) if progress.steps else (progress.rows, progress.rows_total)
    return f"{100 * (done or 0) // total} %" if total else progress.message[:64]


def column(progress: StageProgress) -> str:
    """For the column PROGRESS.

    >>> column(StageProgress(rows=41, rows_total=100, seconds_left=7800))
    '41 % (2 h 10 m)'
    """
    has_numbers = bool(progress.steps or progress.rows_total)
    left = f" ({duration(progress.seconds_left)})" if has_numbers and progress.seconds_left else ""
    return share(progress) + left


def sentence(progress: StageProgress) -> str:
    """For a condition's message.

    >>> sentence(StageProgress(rows=41, rows_total=100, failed_rows=1, tokens_per_second=620, seconds_left=7800))
    '41 of 100 rows, 1 failed, 620 tokens/s, 2 h 10 m left'
    """
    parts = []
    if progress.rows_total:
        parts.append(f"{progress.rows} of {progress.rows_total} rows")
    if progress.steps:
        parts.append(f"step {progress.step} of {progress.steps}")
    if progress.failed_rows:
        parts.append(f"{progress.failed_rows} failed")
    if progress.loss:
        parts.append(f"loss {progress.loss}")
    if progress.tokens_per_second:
        parts.append(f"{progress.tokens_per_second} tokens/s")
    if progress.seconds_left:
        parts.append(f"{duration(progress.seconds_left)} left")
    return ", ".join(parts) or progress.message or "at work"


def duration(seconds: int) -> str:
    """
    >>> duration(60), duration(7800), duration(200_000)
    ('1 m', '2 h 10 m', '2 d 7 h')
    """
    minutes = math.ceil(seconds / 60)
    if minutes < 60:
        return f"{minutes} m"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} m"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"
