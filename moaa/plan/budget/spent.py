"""What stages have spent, as units: seconds of GPUs and tokens by model. Pure.

Money follows from units and the prices that the resource states now, so that a price may be added or mended later.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from moaa.api import MoAA, MoAASpec
from moaa.api.models import Model
from moaa.plan.forecast.replicas import gpus_given
from moaa.plan.ids import made_by
from moaa.plan.result import StageResult
from moaa.plan.stage import Stage


class Tokens(NamedTuple):
    """Of one model."""

    prompt: int = 0
    completion: int = 0


def tokens_of(prompt: Mapping[str, int], completion: Mapping[str, int]) -> dict[str, Tokens]:
    """By model, from the two counts by model."""
    return {name: Tokens(prompt.get(name, 0), completion.get(name, 0)) for name in {**prompt, **completion}}


@dataclass(frozen=True)
class Spent:
    """Units. Tokens are those that servers counted; a call that is taken over from another fingerprint is none."""

    gpu_seconds: float = 0.0
    """GPUs held × seconds at work."""
    tokens: Mapping[str, Tokens] = field(default_factory=dict)
    """By model, as stages name it: `@i1-sft` is a trained student."""

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.gpu_seconds + other.gpu_seconds, _merged(self.tokens, other.tokens, _sum))

    def less(self, known: "Spent") -> "Spent":
        """The part of it that `known` lacks; nothing where `known` has more."""
        tokens = _merged(self.tokens, known.tokens, _rest)
        found = {name: rest for name, rest in tokens.items() if rest != Tokens()}
        return Spent(max(self.gpu_seconds - known.gpu_seconds, 0.0), found)

    def at_least(self, other: "Spent") -> "Spent":
        """The larger of two accounts of the same work, part by part: both count from its beginning, and neither may
        have seen all."""
        return Spent(max(self.gpu_seconds, other.gpu_seconds), _merged(self.tokens, other.tokens, _most))


def of_work(
    stage: Stage,
    made_with: MoAA,
    results: Mapping[str, StageResult],
    *,
    seconds: float,
    tokens: Mapping[str, Tokens],
    spared_gpu_seconds: float = 0.0,
) -> Spent:
    """What a stage took that was at work so long, but for servers that were let go before it ended. Of `results`
    stage-data's says how many rows there were."""
    return Spent(max(gpus_given(made_with, stage, results) * seconds - spared_gpu_seconds, 0.0), tokens)


Account = Mapping[tuple[str, str], Spent]
"""What a run has spent, by stage and fingerprint: an edit that changes a stage begins another entry. The stage
`EARLIER` stands for iterations that are closed and no longer kept apart."""
EARLIER = "earlier"


def total(parts: Iterable[Spent]) -> Spent:
    return sum(parts, Spent())


@dataclass(frozen=True)
class Bill:
    """Units as limits name them."""

    dollars: Decimal = Decimal(0)
    """Of everything that has a price."""
    gpu_hours: float = 0.0
    tokens: int = 0
    unpriced: tuple[str, ...] = ()
    """What is not in the dollars: fields that state no price, and models that are declared no more."""
    has_cost: bool = False
    """Something with a price was used."""

    @property
    def known_dollars(self) -> Decimal | None:
        """All that was spent; None: a part has no price, or nothing that costs was used."""
        return self.dollars if self.has_cost and not self.unpriced else None


def bill(spent: Spent, spec: MoAASpec) -> Bill:
    """At the prices that `spec` states."""
    dollars, unpriced, has_cost = Decimal(0), [], False
    if spent.gpu_seconds and spec.cost.gpu_hour_usd is None:
        unpriced.append("spec.cost.gpuHourUsd")
    elif spent.gpu_seconds and spec.cost.gpu_hour_usd is not None:
        has_cost = True
        dollars += Decimal(str(round(spent.gpu_seconds / 3600, 6))) * spec.cost.gpu_hour_usd
    by_name = {model.name: model for model in spec.models}
    for name, tokens in spent.tokens.items():
        model = by_name.get(spec.student if made_by(name) else name)
        cost = None if model is None else usd_of_calls(model, tokens)
        has_cost |= model is not None and model.endpoint is not None and cost is not None
        if cost is None:
            unpriced.append(name)
        else:
            dollars += cost
    tokens_of_all = sum(part.prompt + part.completion for part in spent.tokens.values())
    return Bill(dollars, spent.gpu_seconds / 3600, tokens_of_all, tuple(unpriced), has_cost)


def usd_of_calls(model: Model, tokens: Tokens) -> Decimal | None:
    """Zero for a model that we serve, since its GPUs are paid for; None: its endpoint states no price."""
    if model.endpoint is None:
        return Decimal(0)
    if (price := model.endpoint.price) is None:
        return None
    each = tokens.prompt * price.input_usd_per_million + tokens.completion * price.output_usd_per_million
    return each / 1_000_000


def _sum(a: Tokens, b: Tokens) -> Tokens:
    return Tokens(a.prompt + b.prompt, a.completion + b.completion)


def _most(a: Tokens, b: Tokens) -> Tokens:
    return Tokens(max(a.prompt, b.prompt), max(a.completion, b.completion))


def _rest(a: Tokens, b: Tokens) -> Tokens:
    return Tokens(max(a.prompt - b.prompt, 0), max(a.completion - b.completion, 0))


def _merged(
    a: Mapping[str, Tokens], b: Mapping[str, Tokens], how: Callable[[Tokens, Tokens], Tokens]
) -> dict[str, Tokens]:
    return {name: how(a.get(name, Tokens()), b.get(name, Tokens())) for name in (*a, *(n for n in b if n not in a))}
