"""What a run has spent, for the status: by stage, of all, and what its limits leave. Pure.

The account is the budget's (`moaa.plan.budget`), so that what people read is what stops a stage. Money follows from the
prices that the resource states now.
"""

from collections.abc import Mapping
from decimal import Decimal

from moaa.api import MoAA
from moaa.api.status import MAX_COSTS, MAX_UNPRICED, CostLeft, MoAAStatus, RunCost, StageCost
from moaa.plan.budget.limits import Unit, limits_of, units_of_bill
from moaa.plan.budget.spent import EARLIER, Account, Bill, Spent, bill, total

NEWS = Decimal("1.1")
"""A figure that has grown this much is written by itself: a run whose progress nobody can tell still shows what it
costs, in some hundred writes however long it takes."""


def cost_of(resource: MoAA, account: Account, *, is_least: bool = False) -> RunCost | None:
    """None: nothing is spent. `is_least`: more was, and nobody knows how much."""
    whole = bill(total(account.values()), resource.spec)
    if not whole.gpu_hours and not whole.tokens and not is_least:
        return None
    return RunCost(
        gpu_hours=_figure(whole.gpu_hours),
        dollars=_dollars(whole),
        unpriced=[name[:64] for name in whole.unpriced[:MAX_UNPRICED]],
        is_least=is_least,
        tokens=whole.tokens,
        left=_left(resource, whole),
        stages=[_stage(name, bill(spent, resource.spec)) for name, spent in _by_stage(account).items()],
    )


def steady(now: MoAAStatus, before: MoAAStatus) -> MoAAStatus:
    """`now`, with the figures that are written already where nothing else is new and none of them has grown much."""
    if now.with_(cost=before.cost) != before or not _is_near(before.cost, now.cost):
        return now
    return before


def _is_near(before: RunCost | None, now: RunCost | None) -> bool:
    if before is None or now is None:
        return before is now
    if (before.unpriced, before.is_least) != (now.unpriced, now.is_least):
        return False
    ours, theirs = _numbers(before), _numbers(now)
    return ours.keys() == theirs.keys() and all(
        ours[unit] <= theirs[unit] < max(ours[unit], Decimal(1)) * NEWS for unit in ours
    )


def _numbers(cost: RunCost) -> Mapping[Unit, Decimal]:
    """In hundredths where they have any, so that all are whole."""
    dollars = {} if cost.dollars is None else {Unit.DOLLARS: 100 * Decimal(cost.dollars)}
    return {**dollars, Unit.GPU_HOURS: 100 * Decimal(cost.gpu_hours), Unit.TOKENS: Decimal(cost.tokens)}


def _left(resource: MoAA, whole: Bill) -> CostLeft | None:
    spent = units_of_bill(whole)
    left = {unit: limit - spent[unit] for unit, limit in limits_of(resource.spec.budget).items()}
    if not left:
        return None
    return CostLeft(
        dollars=_figure(left[Unit.DOLLARS]) if Unit.DOLLARS in left else None,
        gpu_hours=_figure(left[Unit.GPU_HOURS]) if Unit.GPU_HOURS in left else None,
        tokens=int(left[Unit.TOKENS]) if Unit.TOKENS in left else None,
    )


def _by_stage(account: Account) -> dict[str, Spent]:
    """Without those that spent nothing; what exceeds the bound of the status is added to the earlier ones."""
    found: dict[str, Spent] = {}
    for (stage, _), spent in account.items():
        if spent.gpu_seconds or spent.tokens:
            found[stage] = found.get(stage, Spent()) + spent
    while len(found) > MAX_COSTS:
        oldest = next(name for name in found if name != EARLIER)
        found[EARLIER] = found.get(EARLIER, Spent()) + found.pop(oldest)
    return found


def _stage(name: str, paid: Bill) -> StageCost:
    return StageCost(stage=name, gpu_hours=_figure(paid.gpu_hours), dollars=_dollars(paid))


def _dollars(paid: Bill) -> str | None:
    return None if paid.known_dollars is None else _figure(paid.known_dollars)


def _figure(amount: Decimal | float) -> str:
    """
    >>> _figure(Decimal("12.3456")), _figure(0.5), _figure(-0.001)
    ('12.35', '0.50', '0.00')
    """
    return f"{Decimal(str(amount)).quantize(Decimal('0.01')) + 0:f}"  # adding 0 takes the sign from a zero
