"""The load of a model for the forecast: how many calls of one shape, and how many tokens each is likely to take.

Counts are averages; nothing is cut or refused by them. A proposer's call has 560 tokens and an
aggregator's with four proposals about 2,100, as the original MoA code's runs over UltraFeedback.
"""

from dataclasses import dataclass

PROMPT_TOKENS = 200
ANSWER_TOKENS = 360
MARKER_TOKENS = 20
"""Marker lines around one proposal or evaluation."""


@dataclass(frozen=True)
class Load:
    """Calls of one shape to one model."""

    model: str
    calls: int
    prompt_tokens: int
    """Of one call."""
    completion_tokens: int
    """Of one call."""


def written(max_tokens: int, usual: int = ANSWER_TOKENS) -> int:
    """Tokens of one answer that may have `max_tokens`: the usual number, or the limit where that is lower."""
    return min(max_tokens, usual)
