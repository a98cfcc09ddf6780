"""From comparisons to a ranking, and from a ranking to a preference pair. Pure (paper §4.1; the rules are ours).

Each comparison gives 1, ½ or 0 points, or a share by verdicts in log-probabilities; a sample's points are divided by
its valid comparisons. Two equal texts share the point without being judged. Best is the highest and worst the lowest; a
draw goes to the points the samples took from each other, then to the lower index, never to length.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

from moaa.rows import Comparison

PAIR = "pair"
TIE = "tie"
EQUAL_TEXTS = "equal-texts"
TOO_FEW_VERDICTS = "too-few-verdicts"
NONE_TO_REJECT = "none-to-reject"
ORDERS_DISAGREE = "orders-disagree"
SMALL_MARGIN = "small-margin"
LENGTHS_DIFFER = "lengths-differ"
UNSCORED = "unscored"
SEED_CONTRADICTED = "seed-contradicted"
BY_RULE = (NONE_TO_REJECT, ORDERS_DISAGREE, SMALL_MARGIN, LENGTHS_DIFFER)
"""Outcomes of a pair that a rule of `training.dpo.pairs` dropped, in the order in which the rules are asked."""

Points = Fraction | float
_NONE: Points = Fraction(0)
_HALF = Fraction(1, 2)
SCORE_DIGITS = 6
"""Decimals of a score: more than any judge is sure of. What rounding leaves of two orders that cancel is a tie."""


@dataclass(frozen=True)
class Ranking:
    points: tuple[float | None, ...]
    """Points ÷ valid comparisons of each sample, in [0, 1]; None where too few were valid."""
    outcome: str
    """`pair`, or why there is none: `tie`, `equal-texts`, `too-few-verdicts`, `unscored`, `seed-contradicted`, or
    one of BY_RULE."""
    chosen: int | None = None
    rejected: int | None = None


def majority(outcomes: Sequence[int | None]) -> int | None:
    """The side of more than half of all outcomes, missing ones included in the total; None where neither side has
    that."""
    ones, zeros = outcomes.count(1), outcomes.count(0)
    if 2 * max(ones, zeros) <= len(outcomes):
        return None
    return int(ones > zeros)


def panel_score(votes: Sequence[Sequence[float | None]], *, least: int) -> float | None:
    """Points of a from [forward, backward] of every judge: 1 win, 0 loss, ½ where neither side has a majority of the
    panel.

    A judge's vote counts for a side when both of its verdicts say so, however sure they are. None: fewer than `least`
    judges gave both verdicts.
    """
    if sum(None not in vote for vote in votes) < least:
        return None
    sides = [[None if points in (None, 0.5) else int(points > 0.5) for points in vote] for vote in votes]
    won = majority([forward if forward == backward else None for forward, backward in sides])
    return 0.5 if won is None else float(won)


def orders_score(forward: float | None, backward: float | None) -> float | None:
    """Points of a, the mean over both orders: 1 or 0 when whole verdicts agree, ½ when they disagree. None when an
    order has no outcome."""
    if forward is None or backward is None:
        return None
    return round((forward + backward) / 2, SCORE_DIGITS)


def needed(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The unordered pairs (a, b), a < b, that have to be judged: all but those with equal texts."""
    return ((a, b) for a, b in combinations(range(len(texts)), 2) if texts[a] != texts[b])


def skipped(comparison: Comparison) -> Sequence[str]:
    """Orders of it that were not asked, `ab` or `ba`."""
    return comparison.get("skipped") or ()


def rank(texts: Sequence[str], comparisons: Sequence[Comparison]) -> Ranking:
    """Rank the samples `texts` by `comparisons` between them.

    One comparison of a sample may fail. When a sample has fewer valid ones than n - 2, or none, the prompt is dropped:
    its points could not be compared with those of the others.

    Raises:
        ValueError: fewer than two samples, or a comparison of samples that are not there.
    """
    n = len(texts)
    if n < 2:
        raise ValueError(f"{n} samples: a ranking needs two")
    scores = _scores(texts, comparisons)
    totals: list[Fraction | None] = []
    for i in range(n):
        valid = [scores[i, j] for j in range(n) if (i, j) in scores]
        totals.append(sum(valid, Fraction(0)) / len(valid) if len(valid) >= max(1, n - 2) else None)
    points = tuple(None if t is None else float(t) for t in totals)
    known = [t for t in totals if t is not None]
    if len(set(texts)) == 1:
        return Ranking(points, EQUAL_TEXTS)
    if len(known) < n:
        return Ranking(points, TOO_FEW_VERDICTS)
    best, worst = max(known), min(known)
    if best == worst:
        return Ranking(points, TIE)
    chosen = settle([i for i in range(n) if known[i] == best], scores, highest=True)
    rejected = settle([i for i in range(n) if known[i] == worst], scores, highest=False)
    if texts[chosen] == texts[rejected]:
        return Ranking(points, EQUAL_TEXTS)
    return Ranking(points, PAIR, chosen, rejected)


def asked_points(texts: Sequence[str], comparisons: Sequence[Comparison]) -> tuple[float | None, ...]:
    """Points where comparisons may have been skipped: of a sample the mean over the orders that it was asked in.

    As for `rank` a comparison counts by its score where both orders were asked; a single order counts half as much.
    None for a sample of which nothing valid was asked, or which lost more comparisons to failures than `rank` allows.
    """
    n = len(texts)
    won, weights, failed = [0.0] * n, [0] * n, [0] * n
    for (a, _), score in _scores(texts, comparisons).items():
        won[a] += 2 * float(score)
        weights[a] += 2
    for comparison in comparisons:
        a, b = comparison["a"], comparison["b"]
        outcome = comparison["forward"] if comparison["forward"] is not None else comparison["backward"]
        if comparison["score"] is not None or len(skipped(comparison)) == 2:
            continue
        for sample, points in ((a, outcome), (b, None if outcome is None else 1 - outcome)):
            has_half = points is not None and skipped(comparison)
            won[sample] += float(points or 0) if has_half else 0.0
            weights[sample] += bool(has_half)
            failed[sample] += not has_half
    most = n - 1 - max(1, n - 2)
    return tuple(w / of if of and lost <= most else None for w, of, lost in zip(won, weights, failed, strict=True))


def lowest(among: Sequence[int], ranking: Ranking, texts: Sequence[str], comparisons: Sequence[Comparison]) -> int:
    """The sample with the fewest points of those in `among`; draws go as in `rank`.

    Raises:
        ValueError: no sample of `among` has points, or a comparison is of samples that are not there.
    """
    points = {i: share for i in among if (share := ranking.points[i]) is not None}
    fewest = min(points.values())
    tied = [i for i, share in points.items() if share == fewest]
    return settle(tied, _scores(texts, comparisons), highest=False)


def _scores(texts: Sequence[str], comparisons: Sequence[Comparison]) -> dict[tuple[int, int], Fraction]:
    """Points of i against j by (i, j); pairs without a valid comparison are not in it."""
    scores: dict[tuple[int, int], Fraction] = {}
    for a, b in combinations(range(len(texts)), 2):
        if texts[a] == texts[b]:
            scores[a, b] = scores[b, a] = _HALF
    for comparison in comparisons:
        a, b = comparison["a"], comparison["b"]
        if not 0 <= a < b < len(texts):
            raise ValueError(f"comparison of samples {a} and {b}: the row has samples 0 to {len(texts) - 1}, and a < b")
        score = comparison["score"]
        if score is not None:
            scores[a, b] = Fraction(str(score))
            scores[b, a] = 1 - scores[a, b]
    return scores


def settle(tied: Sequence[int], scores: Mapping[tuple[int, int], Points], *, highest: bool) -> int:
    """Pick one of the samples with equal points: by their points against each other, then the lower index."""

    def among(i: int) -> Points:
        return sum((scores.get((i, j), _HALF) for j in tied if j != i), _NONE)

    sign = -1 if highest else 1
    return min(tied, key=lambda i: (sign * among(i), i))
