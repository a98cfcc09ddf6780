"""What the limits of endpoints cost in hours. Arithmetic on the forecast's calls; its GPU-hours know nothing of it."""

from collections.abc import Iterable, Iterator, Mapping

from moaa.api import MoAA
from moaa.api.models import Endpoint
from moaa.asking.load import Load
from moaa.plan.forecast.replicas import loads
from moaa.plan.stage import Stage

TOKENS_PER_S = 50
"""Of one answer of somebody else's model. An assumption, not a measurement: it differs by vendor and hour."""


def limit_sentences(stages: Iterable[Stage], resource: MoAA, counts: Mapping[str, int]) -> Iterator[str]:
    """One for each endpoint whose stated limits, or whose maxConcurrency, hold these stages back by an hour or more."""
    asked: dict[str, list[Load]] = {}
    for stage in stages:
        for load in loads(stage, resource, counts):
            asked.setdefault(load.model, []).append(load)
    for model in resource.spec.models:
        if model.endpoint is not None and model.name in asked:
            yield from _of(model.name, model.endpoint, asked[model.name])


def _of(name: str, endpoint: Endpoint, asked: Iterable[Load]) -> Iterator[str]:
    each = list(asked)
    calls = sum(load.calls for load in each)
    tokens = sum(load.calls * (load.prompt_tokens + load.completion_tokens) for load in each)
    written = sum(load.calls * load.completion_tokens for load in each)
    free = written / TOKENS_PER_S / endpoint.max_concurrency / 3600
    limits = {
        "requestsPerMinute": (endpoint.requests_per_minute, calls),
        "tokensPerMinute": (endpoint.tokens_per_minute, tokens),
    }
    hours = {field: amount / limit / 60 for field, (limit, amount) in limits.items() if limit is not None}
    basis = f"{calls:,} calls, {TOKENS_PER_S} tokens a second an answer"
    if hours:
        field = max(hours, key=lambda one: hours[one])
        if max(hours[field], free) >= 1:
            yield (
                f"endpoint {name}: {max(hours[field], free):.1f} hours at {field} {limits[field][0]:,}, "
                f"{free:.1f} without ({basis}, maxConcurrency {endpoint.max_concurrency})"
            )
    elif free >= 1:
        yield (
            f"endpoint {name}: {free:.1f} hours at maxConcurrency {endpoint.max_concurrency} ({basis}); twice as much "
            "takes half"
        )
