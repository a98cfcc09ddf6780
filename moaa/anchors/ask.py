"""A judge decides one pair in both orders, asked as it will be asked later."""

from dataclasses import dataclass, replace

from moaa.anchors.judges import MeasuredJudge
from moaa.anchors.pairs import AnchorPair
from moaa.asking.asker import Asker
from moaa.asking.gather import gather_all
from moaa.benchmark.measure import NoVerdict
from moaa.conversation import Message
from moaa.judge.pairwise import Outcome, Points, outcome_of, points_of
from moaa.judge.prompts import Order
from moaa.judge.ranking import orders_score
from moaa.judge.trail import Judgement
from moaa.rows import PromptRow

_SWAPPED: dict[str, Order] = {"ab": "ba", "ba": "ab"}


@dataclass(frozen=True)
class Decided:
    score: float | None
    """Points of the better answer; None without a verdict."""
    forward: Outcome
    """1: the better answer won when it stood first."""
    backward: Outcome
    said: tuple[Judgement, ...]
    """The pair's a is the better answer."""


async def decide(judge: MeasuredJudge, pair: AnchorPair, asker: Asker) -> Decided:
    """`pair` as `judge` decides it: by its method's duel, or by the question of the benchmark that asks it.

    Raises:
        CallError: a failure that may pass.
        ModelAbsent: both raised after every call that can be made now was made.
    """
    here = asker.at(judge.place)
    if judge.asks is not None:
        return await _as_benchmark(judge, pair, here)
    compared = await judge.method.duel(pair.row["question"], pair.right, pair.wrong, here)
    assert compared is not None, f"{pair.id}: the two texts of a pair differ"
    found = compared.comparison
    return Decided(found["score"], found["forward"], found["backward"], compared.said)


async def _as_benchmark(judge: MeasuredJudge, pair: AnchorPair, asker: Asker) -> Decided:
    """The benchmark scores the better answer against the other; where it asks in one order only, the other against the
    better one, too, which is the same pair in the other order. Calls are named below `right` and `wrong`."""
    sides = [_scored(judge, pair, asker, is_right=True)]
    if judge.asks is not None and not judge.asks.both_orders:
        sides.append(_scored(judge, pair, asker, is_right=False))
    said = tuple(one for side in await gather_all(sides) for one in side)
    outcomes: dict[str, Outcome] = {one.order: outcome_of(one.verdict, _order(one)) for one in said}
    points: dict[str, Points] = {
        one.order: None if one.verdict is None else points_of(one, _order(one)) for one in said
    }
    score = orders_score(points.get("ab"), points.get("ba"))
    return Decided(score, outcomes.get("ab"), outcomes.get("ba"), said)


async def _scored(judge: MeasuredJudge, pair: AnchorPair, asker: Asker, *, is_right: bool) -> tuple[Judgement, ...]:
    """What was said when one answer of the pair was scored against the other, told of the better one."""
    mine, other = (pair.right, pair.wrong) if is_right else (pair.wrong, pair.right)
    asked = [Message(role="user", content=pair.row["question"])]
    row = PromptRow(id=pair.id, messages=asked, answer=other)
    answered = [*asked, Message(role="assistant", content=mine)]
    try:
        said = (await judge.measure.score(row, answered, asker.at("right" if is_right else "wrong"))).said
    except NoVerdict as error:
        said = error.said
    return said if is_right else tuple(replace(one, order=_SWAPPED[one.order]) for one in said)


def _order(said: Judgement) -> Order:
    return "ab" if said.order == "ab" else "ba"
