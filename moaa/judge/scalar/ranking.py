"""From a reward model's numbers to a ranking, and how far judges agree with them. Pure.

Points of an answer are the mean probability that it is preferred to another, by Bradley and Terry's model, in which
most reward models are trained: σ of the difference of two scores. For a model trained otherwise they are a rising
function of its scores, no probability. The order of the ranking is that of the scores.
"""

import math
from collections.abc import Sequence

from moaa.judge.ranking import EQUAL_TEXTS, PAIR, SCORE_DIGITS, TIE, UNSCORED, Ranking
from moaa.rows import RankingRow


def rank_scores(texts: Sequence[str], scores: Sequence[float | None]) -> Ranking:
    """Rank the samples `texts` by `scores`, equal for equal texts. A draw goes to the lower index.

    A prompt with a sample that has no score is dropped: it might be the best or the worst.

    Raises:
        ValueError: fewer than two samples, or not as many scores.
    """
    if len(texts) < 2 or len(texts) != len(scores):
        raise ValueError(f"{len(texts)} samples and {len(scores)} scores: a ranking needs two samples, each with one")
    points = tuple(_points(i, scores) for i in range(len(scores)))
    known = [score for score in scores if score is not None]
    if len(set(texts)) == 1:
        return Ranking(points, EQUAL_TEXTS)
    if len(known) < len(scores):
        return Ranking(points, UNSCORED)
    best, worst = max(known), min(known)
    if best == worst:
        return Ranking(points, TIE)
    return Ranking(points, PAIR, known.index(best), known.index(worst))


def preferred(score: float, other: float) -> float:
    """Probability that an answer with `score` is preferred to one with `other`."""
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, score - other))))


def seconded(row: RankingRow) -> tuple[int, int]:
    """How many comparisons that judges decided have the reward model's order, and how many the opposite one; those in
    which either sees a draw are neither."""
    scores = row.get("scores") or []
    agreed = opposed = 0
    for one in row["comparisons"] if scores else []:
        a, b, points = scores[one["a"]], scores[one["b"]], one["score"]
        if a is None or b is None or points is None or points == 0.5 or a == b:
            continue
        agreed += (a > b) == (points > 0.5)
        opposed += (a > b) != (points > 0.5)
    return agreed, opposed


def correlation(agreed: int, opposed: int) -> float | None:
    """Kendall's correlation on pairs that both order (Goodman and Kruskal's γ): 1 for one order, 0 for chance, -1 for
    the opposite. None without such a pair."""
    return (agreed - opposed) / (agreed + opposed) if agreed + opposed else None


def _points(i: int, scores: Sequence[float | None]) -> float | None:
    mine = scores[i]
    if mine is None:
        return None
    others = [preferred(mine, other) for j, other in enumerate(scores) if j != i and other is not None]
    return round(sum(others) / len(others), SCORE_DIGITS) if others else None
