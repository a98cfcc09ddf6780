"""The shown progress of a stage, and when it changes. Pure.

What is shown stays as it is until there is something to see: a status is written about as often as the percentage
moves, however often pods are asked.
"""

import math

from moaa.api.status import StageProgress


def shown(before: StageProgress | None, now: StageProgress) -> StageProgress:
    """The progress to show after `before`: the same, until a person would see a difference.

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
    if progress.rows_total and progress.message:
        parts.append(progress.message)
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
