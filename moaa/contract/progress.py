"""The progress document: how far a job is, as JSON. Jobs write it to a file and show it on a port; both executors read
it with `read`. Nothing resumes from it, and nothing else depends on it.
"""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, TypedDict, cast, get_type_hints

PORT = 8090
"""Where a job's pod shows its progress; 8080 is Ray's own metrics port."""
PATH = "/progress"
MAX_COUNT = 2**53
"""JSON numbers from here on are not exact."""
MAX_NUMBER = 1e15


class Figures(TypedDict, total=False):
    """All that a job knows by now; an unknown figure is absent."""

    stage: str
    rows_done: int
    """Of the shards it works on, earlier attempts' rows included."""
    rows_total: int
    """Of the shards it works on."""
    rows_stage: int
    """Of all shards."""
    saved: int
    """Of `rows_done` or `step`, what another attempt would not do again."""
    failed: int
    """Rows."""
    waiting: dict[str, int]
    """Rows that wait, by the model that is not served now."""
    held: dict[str, int]
    """Requests that wait for what an endpoint allows a minute, by model."""
    finished_with: list[str]
    """Models that neither this attempt nor another at the same shards will ask: what rows asked them for is durable,
    and no row will ask for more."""
    calls: int
    """Sent by this process."""
    calls_reused: int
    """Answered from the ledger."""
    prompt_tokens: int
    completion_tokens: int
    """Both of this process, those of calls that an earlier attempt of the stage had made included."""
    prompt_spent: dict[str, int]
    completion_spent: dict[str, int]
    """Tokens by model that the shards it works on have cost so far, finished ones and earlier attempts included."""
    tokens_per_s: float
    eta_s: float
    """Time left at the speed so far."""
    step: int
    steps: int
    """Of training, or of scoring before it."""
    loss: float
    message: str
    """What it does while there is no number to show."""


def text_of(figures: Figures) -> str:
    return json.dumps(figures)


def read(text: str | bytes) -> Figures:
    """The figures of a document; empty when it is not one, for example because the job has not written it yet."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):  # a pod may say anything, brackets without end too
        return {}
    return figures_of(said) if isinstance(said, dict) else {}


def percent_saved(figures: Figures) -> int:
    """Whole percent of the work that another attempt would not do again; 0 while that is not known.

    >>> percent_saved({"saved": 20, "step": 30, "steps": 60})
    33
    """
    total = figures.get("steps") or figures.get("rows_stage") or figures.get("rows_total") or 0
    return percent(figures.get("saved", 0), total)


def percent(part: int, total: int) -> int:
    """Whole percent, at most 100; 0 of nothing."""
    return min(100 * part // total, 100) if total else 0


def figures_of(said: Mapping[str, Any]) -> Figures:
    """Those of `said` that are figures; others count as missing.

    >>> figures_of({"rows_done": 3, "rows_total": -1, "loss": float("nan"), "other": 1})
    {'rows_done': 3}
    """
    return cast(Figures, {name: value for name, value in said.items() if name in _CHECKS and _CHECKS[name](value)})


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_COUNT


def _is_number(value: object) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and abs(value) < MAX_NUMBER
    )


def _is_measure(value: object) -> bool:
    return isinstance(value, int | float) and _is_number(value) and value >= 0


def _is_counts(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(name, str) and _is_count(n) for name, n in value.items())


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


_BY_TYPE: Mapping[Any, Callable[[object], bool]] = {
    int: _is_count,
    float: _is_measure,
    str: lambda value: isinstance(value, str),
    dict[str, int]: _is_counts,
    list[str]: _is_names,
}
_CHECKS: Mapping[str, Callable[[object], bool]] = {
    **{name: _BY_TYPE[kind] for name, kind in get_type_hints(Figures).items()},
    "loss": _is_number,  # some losses fall below zero
}
