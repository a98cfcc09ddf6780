"""Which pair of a ranking is trained on, by the rules of `training.dpo.pairs`. Pure.

The chosen answer is the ranking's best, whatever the rules. `rejected` says who stands against it; then each rule may
drop the pair, and the first that does is the prompt's outcome. At the defaults every ranking stays as it is. Points
stay in every case: a dropped prompt shows what its judges said.

Rules that read points need those of all comparisons, so the resource's validation allows none of them beside
`judge.comparisons: Adaptive`.
"""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import assert_never

from moaa.api.training import PairRules, Rejected
from moaa.judge.method import Ranked
from moaa.judge.ranking import (
    LENGTHS_DIFFER,
    NONE_TO_REJECT,
    ORDERS_DISAGREE,
    PAIR,
    SMALL_MARGIN,
    Ranking,
    lowest,
)
from moaa.rows import Comparison, SampleRow

_ROUNDING = 1e-9
"""Points are fractions kept as floats: 3/5 less 2/5 is a little under 0.2 and meets a least margin of 0.2."""


def keep(ranked: Ranked, row: SampleRow, rules: PairRules, *, seed: int) -> Ranked:
    """`ranked` with the pair that the rules keep, or with the outcome that says which rule dropped it.

    `row` has the samples that were ranked; with `seed`, the run's, its id draws who is rejected by Random. So every
    attempt and every resumed run keeps the same pair.
    """
    ranking, texts = ranked.ranking, row["samples"]
    if ranking.outcome != PAIR:
        return ranked
    comparisons = [c.comparison for c in ranked.compared]
    rejected = _rejected(ranking, texts, comparisons, rules, draw=f"{seed}/{row['id']}/rejected")
    outcome = NONE_TO_REJECT if rejected is None else _outcome(ranking, rejected, texts, comparisons, rules)
    if outcome == PAIR:
        return replace(ranked, ranking=replace(ranking, rejected=rejected))
    return replace(ranked, ranking=replace(ranking, outcome=outcome, chosen=None, rejected=None))


def _rejected(
    ranking: Ranking, texts: Sequence[str], comparisons: Sequence[Comparison], rules: PairRules, *, draw: str
) -> int | None:
    """Who stands against the chosen answer; None: nobody has both fewer points than it and as many as are asked for."""
    assert ranking.chosen is not None, "a pair has a chosen answer"
    assert ranking.rejected is not None, "a pair has a rejected answer"
    if rules.rejected is Rejected.WORST and rules.min_rejected_points is None:
        return ranking.rejected
    top, least = _points(ranking, ranking.chosen), float(rules.min_rejected_points or 0) - _ROUNDING
    among = [i for i, text in enumerate(texts) if least <= _points(ranking, i) < top and text != texts[ranking.chosen]]
    if not among:
        return None
    match rules.rejected:
        case Rejected.WORST:
            is_worst = ranking.rejected in among  # then draws are settled among all samples, as without rules
            return ranking.rejected if is_worst else lowest(among, ranking, texts, comparisons)
        case Rejected.RANDOM:
            return among[int.from_bytes(sha256(draw.encode()).digest()) % len(among)]
        case _:
            assert_never(rules.rejected)


def _outcome(
    ranking: Ranking, rejected: int, texts: Sequence[str], comparisons: Sequence[Comparison], rules: PairRules
) -> str:
    """PAIR, or the first rule that the pair breaks."""
    assert ranking.chosen is not None, "a pair has a chosen answer"
    chosen = ranking.chosen
    margin = _points(ranking, chosen) - _points(ranking, rejected)
    apart = abs(len(texts[chosen]) - len(texts[rejected]))
    if rules.consistent and not _holds_in_both_orders(chosen, rejected, comparisons):
        return ORDERS_DISAGREE
    if rules.min_margin is not None and margin < float(rules.min_margin) - _ROUNDING:
        return SMALL_MARGIN
    if rules.max_length_difference is not None and apart > rules.max_length_difference:
        return LENGTHS_DIFFER
    return PAIR


def _holds_in_both_orders(chosen: int, rejected: int, comparisons: Sequence[Comparison]) -> bool:
    """Their own comparison names the chosen answer in both orders.

    A panel has to say so as a whole, too: where other judges make the majority of each order, its score is a draw.
    """
    a, b = sorted((chosen, rejected))
    between = next(c for c in comparisons if (c["a"], c["b"]) == (a, b))  # texts that differ are always compared
    won, score = int(chosen == a), between["score"]
    if score is None or score == 0.5:
        return False
    return between["forward"] == between["backward"] == won == int(score > 0.5)


def _points(ranking: Ranking, sample: int) -> float:
    points = ranking.points[sample]
    assert points is not None, "in a ranking with a pair every sample has points"
    return points
