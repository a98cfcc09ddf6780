"""A judge decides one pair in both orders, asked as it will be asked later."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from moaa.anchors.judges import MeasuredJudge
from moaa.anchors.pairs import AnchorPair
from moaa.api.evaluation import AlpacaEval, ArenaHard, MtBench
from moaa.asking.asker import Asker
from moaa.asking.gather import gather_all
from moaa.benchmark.alpaca_eval import AlpacaEvalMeasure
from moaa.benchmark.arena_hard import ArenaHardMeasure
from moaa.benchmark.measure import Measure, NoVerdict, Scored
from moaa.benchmark.mt_bench import MtBenchMeasure, MtFacts
from moaa.conversation import Message
from moaa.judge.pairwise import Outcome, Points, outcome_of, points_of
from moaa.judge.prompts import Order
from moaa.judge.ranking import orders_score
from moaa.judge.trail import Judgement
from moaa.rows import PromptRow

_SWAPPED: dict[str, Order] = {"ab": "ba", "ba": "ab"}
_NO_FACTS = MtFacts(category="", references=None).model_dump_json()


@dataclass(frozen=True)
class Decided:
    score: float | None
    """Points of the better answer; None without a verdict."""
    forward: Outcome
    """1: the better answer won when it stood first. None: it did not, nor did the other, or answers stand alone."""
    backward: Outcome
    said: tuple[Judgement, ...]
    """The pair's a is the better answer."""


async def decide(judge: MeasuredJudge, pair: AnchorPair, asker: Asker) -> Decided:
    """`pair` as `judge` decides it: by its method's duel, or in the way of the benchmark that asks it.

    Raises:
        CallError: a failure that may pass.
        ModelAbsent: both raised after every call that can be made now was made.
    """
    here = asker.at(judge.place)
    match judge.asks:
        case None:
            return await _duel(judge, pair, here)
        case AlpacaEval() as benchmark:
            return await _weighed(AlpacaEvalMeasure(benchmark, judge.judge), pair, here)
        case ArenaHard() as benchmark:
            return await _played(ArenaHardMeasure(benchmark, judge.judge), pair, here)
        case MtBench() as benchmark:
            return await _graded(MtBenchMeasure(benchmark, judge.judge), pair, here)
        case _:
            assert_never(judge.asks)


async def _duel(judge: MeasuredJudge, pair: AnchorPair, asker: Asker) -> Decided:
    compared = await judge.method.duel(pair.row["question"], pair.right, pair.wrong, asker)
    assert compared is not None, f"{pair.id}: the two texts of a pair differ"
    found = compared.comparison
    return Decided(found["score"], found["forward"], found["backward"], compared.said)


async def _weighed(measure: AlpacaEvalMeasure, pair: AnchorPair, asker: Asker) -> Decided:
    """The better answer is scored against the other. Where the benchmark asks in one order, the other is scored against
    the better one, too: the same pair in the other order. Calls are named below `right` and `wrong`."""
    sides = [_scored(measure, pair, asker, is_right=True)]
    if not measure.benchmark.both_orders:
        sides.append(_scored(measure, pair, asker, is_right=False))
    right, *wrong = await gather_all(sides)
    told = (replace(one, order=_SWAPPED[one.order]) for other in wrong for one in other.said)
    return _of_orders((*right.said, *told))


async def _played(measure: ArenaHardMeasure, pair: AnchorPair, asker: Asker) -> Decided:
    """Both games; a label of either strength wins, and a tie is half a point."""
    said = await measure.play(pair.row["question"], pair.right, pair.wrong, asker)
    return _of_orders(said, ties=True)


async def _graded(measure: MtBenchMeasure, pair: AnchorPair, asker: Asker) -> Decided:
    """Each answer by itself: the higher grade wins, and equal ones are half a point. No reference is shown."""
    right, wrong = await gather_all(
        _scored(measure, pair, asker, is_right=side, facts=_NO_FACTS) for side in (True, False)
    )
    said = tuple(replace(one, order=side) for side, other in (("right", right), ("wrong", wrong)) for one in other.said)
    if right.value is None or wrong.value is None:
        return Decided(None, None, None, said)
    score = 0.5 if right.value == wrong.value else float(right.value > wrong.value)
    return Decided(score, None, None, said)


@dataclass(frozen=True)
class _Side:
    value: float | None
    """None without a verdict."""
    said: tuple[Judgement, ...]


async def _scored(
    measure: Measure, pair: AnchorPair, asker: Asker, *, is_right: bool, facts: str | None = None
) -> _Side:
    """What the benchmark makes of one answer of the pair, the other being what it is held against."""
    mine, other = (pair.right, pair.wrong) if is_right else (pair.wrong, pair.right)
    asked = [Message(role="user", content=pair.row["question"])]
    row = PromptRow(id=pair.id, messages=asked, answer=other, facts=facts)
    answered = [*asked, Message(role="assistant", content=mine)]
    try:
        found: Scored = await measure.score(row, answered, asker.at("right" if is_right else "wrong"))
    except NoVerdict as error:
        return _Side(None, error.said)
    return _Side(found.value, found.said)


def _of_orders(said: Sequence[Judgement], *, ties: bool = False) -> Decided:
    """From one verdict in each order. With `ties`, a label without a side is half a point."""
    outcomes: dict[str, Outcome] = {one.order: outcome_of(one.verdict, _order(one)) for one in said}
    points: dict[str, Points] = {one.order: _points(one, ties=ties) for one in said}
    score = orders_score(points.get("ab"), points.get("ba"))
    return Decided(score, outcomes.get("ab"), outcomes.get("ba"), tuple(said))


def _points(said: Judgement, *, ties: bool) -> Points:
    if said.verdict is None:
        return 0.5 if ties and said.label is not None else None
    return points_of(said, _order(said))


def _order(said: Judgement) -> Order:
    return "ab" if said.order == "ab" else "ba"
