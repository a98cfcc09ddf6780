"""What the headers of an answer say of an endpoint's limits. Pure.

Two dialects: `x-ratelimit-remaining-requests` with a duration until the reset (OpenAI and most that follow it), and
`anthropic-ratelimit-requests-remaining` with its moment. Others, such as a lone `x-ratelimit-remaining`, do not say
what they count, and are passed over.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

_NAMES = (
    ("x-ratelimit-limit-{}", "x-ratelimit-remaining-{}", "x-ratelimit-reset-{}"),
    ("anthropic-ratelimit-{}-limit", "anthropic-ratelimit-{}-remaining", "anthropic-ratelimit-{}-reset"),
)
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|d|h|m|s)")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,6})?")
LONGEST_S = 86_400.0
EPOCH_S = 1e9
"""A bare number from here on is a moment, not a duration."""


@dataclass(frozen=True)
class Said:
    """Of one limit, at the moment of the answer."""

    remaining: float
    reset_s: float
    """Until the limit is whole again."""
    limit: float | None = None


@dataclass(frozen=True)
class Limits:
    requests: Said | None = None
    tokens: Said | None = None


def read_limits(headers: Mapping[str, str], *, now: datetime | None = None) -> Limits | None:
    """`headers` are asked by lower-case names. None: they say nothing of limits."""
    requests, tokens = (_read(headers, counted, now) for counted in ("requests", "tokens"))
    return Limits(requests, tokens) if requests or tokens else None


def _read(headers: Mapping[str, str], counted: str, now: datetime | None) -> Said | None:
    for names in _NAMES:
        limit, remaining, reset = (headers.get(name.format(counted)) for name in names)
        if remaining is None or reset is None or not _NUMBER.fullmatch(remaining.strip()):
            continue
        seconds = seconds_of(reset.strip(), now=now)
        if seconds is None:
            continue
        whole = float(limit) if limit is not None and _NUMBER.fullmatch(limit.strip()) else None
        return Said(float(remaining), min(max(seconds, 0.0), LONGEST_S), whole)
    return None


def seconds_of(text: str, *, now: datetime | None = None) -> float | None:
    """A duration or a moment as seconds from now; None: it is neither.

    >>> seconds_of("6m0s"), seconds_of("20ms"), seconds_of("1.5"), seconds_of("soon")
    (360.0, 0.02, 1.5, None)
    """
    if _NUMBER.fullmatch(text):
        number = float(text)
        return number if number < EPOCH_S else number - (now or datetime.now(UTC)).timestamp()
    if _DURATION.fullmatch(text):
        return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (moment - (now or datetime.now(UTC))).total_seconds()
