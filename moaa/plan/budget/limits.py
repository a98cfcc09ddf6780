"""Whether a stage may start or go on under `spec.budget`, and what to say when none may. Pure.

A stage is held by a limit only in the units that it takes: training goes on when the tokens are spent. Before it starts
its estimate, less what it has spent already, has to fit into what is left beside the stages at work. While it runs only
what is spent counts. What takes nothing worth counting is never held.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import assert_never

from moaa.api import MoAA
from moaa.api.resource import Amount
from moaa.plan.budget.spent import Account, Bill, Spent, bill, total
from moaa.plan.forecast.estimate import Estimate, of_stage
from moaa.plan.result import Identity
from moaa.plan.stage import Stage


class Unit(StrEnum):
    """What a limit counts, by the field's name."""

    DOLLARS = "dollars"
    GPU_HOURS = "gpuHours"
    TOKENS = "tokens"


Units = Mapping[Unit, Decimal | None]
"""None: not known."""


@dataclass(frozen=True)
class Funds:
    """A run's limits, and what is spent of them."""

    resource: MoAA
    account: Account
    counts: Mapping[str, int] = field(default_factory=dict)
    """Rows of stage-data's tables, as far as they are known."""

    def spent(self, *, iteration: int | None = None) -> Bill:
        """Of an iteration; None: of the run."""
        parts = [spent for (stage, _), spent in self.account.items() if _is_of(stage, iteration)]
        return bill(total(parts), self.resource.spec)

    def reached(self, stage: Stage) -> str | None:
        """The limit that holds a stage at work, as a sentence; None: it may go on."""
        takes = units_of_estimate(of_stage(stage, self.resource, self.counts))
        for name, unit, limit, used, _ in self._limits(stage):
            if takes[unit] != 0 and used >= limit:
                return f"{name} allows {said(unit, limit)}, and {said(unit, used)} are spent"
        return None

    def lacking(self, identity: Identity, *, at_work: Iterable[Identity]) -> str | None:
        """Why a stage may not start; None: it may. A stage whose estimate is not known starts, and is watched."""
        if (over := self.reached(identity.stage)) is not None:
            return over
        takes = self._still_takes(identity)
        others = [(other.stage.id, self._still_takes(other)) for other in at_work]
        for name, unit, limit, used, iteration in self._limits(identity.stage):
            beside = [units[unit] or Decimal(0) for stage, units in others if _is_of(stage, iteration)]
            promised = sum(beside, Decimal(0))
            need = takes[unit]
            if need and used + promised + need > limit:
                more = f", stages at work take about {said(unit, promised)} more" if promised else ""
                return (
                    f"{name} allows {said(unit, limit)}: {said(unit, used)} are spent{more}, and "
                    f"{identity.stage.id} is estimated to take {said(unit, need)}"
                )
        return None

    def _limits(self, stage: Stage) -> Iterator[tuple[str, Unit, Decimal, Decimal, int | None]]:
        """Every limit that concerns a stage: the field, the unit, how much, what is spent of it, and of which iteration
        (None: of the run)."""
        budget = self.resource.spec.budget
        for name, amount, iteration in (
            ("spec.budget", budget, None),
            ("spec.budget.perIteration", budget.per_iteration, stage.iteration),
        ):
            used = units_of_bill(self.spent(iteration=iteration))
            for unit, limit in limits_of(amount).items():
                yield f"{name}.{unit}", unit, limit, used[unit], iteration

    def _still_takes(self, identity: Identity) -> Units:
        """What it is estimated to take, less what it has spent."""
        whole = units_of_estimate(of_stage(identity.stage, self.resource, self.counts))
        mine = self.account.get((identity.stage.id, identity.fingerprint), Spent())
        done = units_of_bill(bill(mine, self.resource.spec))
        return {unit: None if of is None else max(of - done[unit], Decimal(0)) for unit, of in whole.items()}


def _is_of(stage: str, iteration: int | None) -> bool:
    return iteration is None or stage.startswith(f"i{iteration}-")


def limits_of(amount: Amount) -> dict[Unit, Decimal]:
    """Those that are given."""
    every = {Unit.DOLLARS: amount.dollars, Unit.GPU_HOURS: amount.gpu_hours, Unit.TOKENS: amount.tokens}
    return {unit: Decimal(limit) for unit, limit in every.items() if limit is not None}


def units_of_estimate(part: Estimate) -> Units:
    """Nothing is known where rows are not."""
    if part.calls is None:
        return dict.fromkeys(Unit)
    read, written = part.prompt_tokens or 0, part.completion_tokens or 0  # a training has none
    return {
        Unit.DOLLARS: part.usd,
        Unit.GPU_HOURS: None if part.gpu_hours is None else Decimal(str(part.gpu_hours)),
        Unit.TOKENS: Decimal(read + written),
    }


def units_of_bill(paid: Bill) -> Mapping[Unit, Decimal]:
    return {Unit.DOLLARS: paid.dollars, Unit.GPU_HOURS: Decimal(str(paid.gpu_hours)), Unit.TOKENS: Decimal(paid.tokens)}


def said(unit: Unit, amount: Decimal) -> str:
    """
    >>> said(Unit.TOKENS, Decimal(1234567)), said(Unit.DOLLARS, Decimal("3.456")), said(Unit.GPU_HOURS, Decimal("0.25"))
    ('1,234,567 tokens', '3.46 dollars', '0.25 GPU-hours')
    """
    match unit:
        case Unit.TOKENS:
            return f"{amount:,.0f} tokens"
        case Unit.DOLLARS:
            return f"{amount:,.2f} dollars"
        case Unit.GPU_HOURS:
            return f"{amount:,.2f} GPU-hours"
        case _:
            assert_never(unit)
