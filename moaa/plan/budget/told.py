"""What `spec.budget` means for a run, in sentences: before it, and when a limit has ended it. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from itertools import groupby

from moaa.plan.budget.limits import Funds, Unit, Units, limits_of, said, units_of_bill, units_of_estimate
from moaa.plan.budget.spent import EARLIER, Account, Bill, bill, total
from moaa.plan.forecast.estimate import of_stage
from moaa.plan.forecast.estimate import total as sum_of
from moaa.plan.stage import Graph, Stage

MOST_NAMED = 3
HOW_TO_GO_ON = "Raise the limit and go on: what is done is kept, and no recorded call is sent twice"


def out_of_budget(funds: Funds, graph: Graph, done: Iterable[str], over: Mapping[str, str]) -> str:
    """Why a run has stopped, what it spent and where, what is left, and how to go on."""
    why = "; ".join(f"{stage}: {reason}" for stage, reason in over.items())
    finished = set(done)
    left = [stage for stage in graph.stages.values() if stage.id not in finished]
    return f"{why}. {spent_sentence(funds)} {left_sentence(funds, left)} {HOW_TO_GO_ON}."


def spent_sentence(funds: Funds) -> str:
    """What the run has spent, and the stages that took most of it."""
    all_of_it = bill(total(funds.account.values()), funds.resource.spec)
    lacking = f", without what has no price ({', '.join(all_of_it.unpriced)})" if all_of_it.unpriced else ""
    named = "; ".join(f"{stage} {listed(units_of_bill(paid))}" for stage, paid in _dearest(funds))
    return f"Spent: {listed(units_of_bill(all_of_it)) or 'nothing'}{lacking}{f' ({named})' if named else ''}."


def left_sentence(funds: Funds, left: list[Stage]) -> str:
    """What is left to do is estimated to take."""
    whole = units_of_estimate(sum_of([of_stage(stage, funds.resource, funds.counts) for stage in left]))
    stages = f"{len(left)} stage{'s' if len(left) != 1 else ''}"
    is_known = any(amount is not None for amount in whole.values())
    takes = listed(whole) or "nothing worth counting" if is_known else "not known before their rows are counted"
    return f"Left to do: {stages}, by estimate {takes}."


def listed(units: Units) -> str:
    """
    >>> listed({Unit.DOLLARS: None, Unit.GPU_HOURS: Decimal(0), Unit.TOKENS: Decimal(5)})
    '5 tokens'
    """
    return ", ".join(said(unit, amount) for unit in Unit if (amount := units[unit]))


def forecast_sentences(funds: Funds, graph: Graph, done: Iterable[str]) -> Iterator[str]:
    """For the plan: what is spent of each limit, and how far what is left lasts."""
    budget, finished = funds.resource.spec.budget, set(done)
    left = [stage for stage in graph.stages.values() if stage.id not in finished]
    needs = [(i, _sum(funds, stages)) for i, stages in groupby(left, key=lambda stage: stage.iteration)]
    for unit, limit in limits_of(budget).items():
        spent = units_of_bill(funds.spent())[unit]
        told = _lasts(unit, limit, spent, [(i, need[unit]) for i, need in needs])
        yield f"spec.budget.{unit} {said(unit, limit)}: {told}"
    for unit, limit in limits_of(budget.per_iteration).items():
        over = [
            f"{i} ({said(unit, need[unit] or Decimal(0))})"
            for i, need in needs
            if (need[unit] or 0) + units_of_bill(funds.spent(iteration=i))[unit] > limit
        ]
        unknown = any(need[unit] is None for _, need in needs)
        fits = "not known for all iterations yet" if unknown else "every iteration that is left fits by its estimate"
        said_of = f"too little for iteration {', '.join(over[:MOST_NAMED])}" if over else fits
        yield f"spec.budget.perIteration.{unit} {said(unit, limit)}: {said_of}"


def _lasts(unit: Unit, limit: Decimal, spent: Decimal, needs: list[tuple[int, Decimal | None]]) -> str:
    used = f"{said(unit, spent)} are spent, " if spent else ""
    rest, lasted = limit - spent, -1
    for iteration, need in needs:
        if need is None:
            return f"{used}what iteration {iteration} takes is not known yet"
        if need > rest:
            until = f"to the end of iteration {lasted}" if lasted >= 0 else "for no further iteration"
            whole = sum((other or Decimal(0) for _, other in needs), Decimal(0))
            return (
                f"{used}lasts {until} by the estimate; iteration {iteration} takes about {said(unit, need)}, and all "
                f"that is left about {said(unit, whole)}"
            )
        rest, lasted = rest - need, iteration
    return f"{used}lasts to the end by the estimate, with {said(unit, rest)} to spare"


def _sum(funds: Funds, stages: Iterable[Stage]) -> Units:
    return units_of_estimate(sum_of([of_stage(stage, funds.resource, funds.counts) for stage in stages]))


def _dearest(funds: Funds) -> list[tuple[str, Bill]]:
    """Stages by what they took of the first unit that is limited, the most first."""
    limited = [*limits_of(funds.resource.spec.budget), *limits_of(funds.resource.spec.budget.per_iteration)]
    by_stage: dict[str, Account] = {}
    for key, spent in funds.account.items():
        by_stage[key[0]] = {**by_stage.get(key[0], {}), key: spent}
    paid = {
        stage: bill(total(parts.values()), funds.resource.spec) for stage, parts in by_stage.items() if stage != EARLIER
    }
    unit = limited[0] if limited else Unit.DOLLARS
    order = sorted(paid, key=lambda stage: units_of_bill(paid[stage])[unit], reverse=True)
    return [(stage, paid[stage]) for stage in order if units_of_bill(paid[stage])[unit]][:MOST_NAMED]
