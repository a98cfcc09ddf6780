"""Which best and worst a ranking of all pairs would have, from the verdicts heard so far. Pure.

Answers have strengths by Bradley and Terry's model, with a normal prior. The verdicts that are missing are drawn from
it, DRAWS times, and each time the whole contest is ranked as `moaa.judge.ranking.rank` does. Draws come from a
generator that the caller seeds, so the same verdicts always lead to the same question.

The model knows nothing of a judge that follows the order of the answers. It is not asked to: what is predicted is what
this judge would say, its faults included, and both places of an answer are asked about equally often.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from moaa.judge.prompts import Order
from moaa.judge.ranking import settle

CONFIDENCE = 0.95
"""Part of the draws that have to end with the same pair before the rest is skipped (benchmarks/judging_202611.md)."""
DRAWS = 64
SPREAD = 4.0
"""Standard deviation of strengths, in logits: the better of two answers then mostly wins nine times in ten."""
SWEEPS = 8
"""Newton steps through all strengths; more change the third decimal."""

PairOf = tuple[int, int]
"""Two samples a < b."""
Verdict = tuple[int, int, Order]
"""One question to the judges: a < b and who stands first."""


@dataclass(frozen=True)
class Heard:
    """What is known of one pair, in points of its a. None: not asked."""

    forward: float | None = None
    """When a stood first: the pair's score if the other order says the same."""
    backward: float | None = None
    score: float | None = None
    """By both orders."""
    failed: bool = False
    """An order has no result, so the pair has none."""

    @property
    def is_open(self) -> bool:
        return not self.failed and self.score is None

    def unasked(self) -> list[Order]:
        """Orders that could still be asked to some effect."""
        if not self.is_open:
            return []
        orders: list[tuple[Order, float | None]] = [("ab", self.forward), ("ba", self.backward)]
        return [order for order, points in orders if points is None]

    @property
    def half(self) -> float | None:
        """Points in the one order that was asked."""
        return self.forward if self.forward is not None else self.backward


@dataclass(frozen=True)
class Contest:
    """All pairs of `size` samples: those to judge, and those with equal texts, which share the point."""

    size: int
    seen: Mapping[PairOf, Heard]
    equal: Sequence[PairOf]

    @property
    def valid(self) -> list[int]:
        """Comparisons of each sample that do not fail, as far as is known."""
        counts = [self.size - 1] * self.size
        for pair, heard in self.seen.items():
            for sample in pair:
                counts[sample] -= heard.failed
        return counts

    @property
    def has_too_few(self) -> bool:
        """Some sample has lost more comparisons than a ranking does without, so nothing more is worth asking."""
        return min(self.valid) < max(1, self.size - 2)


@dataclass(frozen=True)
class Belief:
    """How often the draws ended with what."""

    ends: Counter[PairOf | None]
    """By best and worst; None: a draw of all."""

    @property
    def likeliest(self) -> PairOf | None:
        return self.ends.most_common(1)[0][0]

    @property
    def is_sure(self) -> bool:
        return self.ends.most_common(1)[0][1] >= CONFIDENCE * self.ends.total()

    def odds(self, place: int, sample: int) -> float:
        """Part of the draws in which `sample` is best (place 0) or worst (1)."""
        return sum(n for end, n in self.ends.items() if end is not None and end[place] == sample) / self.ends.total()


def believe(contest: Contest, draws: Random) -> Belief:
    """Rank the contest DRAWS times, each with the missing verdicts drawn anew."""
    strengths = _strengths(contest)
    known = {pair: 0.5 for pair in contest.equal}
    known |= {pair: heard.score for pair, heard in contest.seen.items() if heard.score is not None}
    missing = [(a, b, heard.half) for (a, b), heard in contest.seen.items() if heard.is_open]
    valid = contest.valid
    ends: Counter[PairOf | None] = Counter()
    for _ in range(DRAWS):
        drawn = [draws.gauss(mean, deviation) for mean, deviation in strengths]
        scores = dict(known)
        for a, b, half in missing:
            chance = _logistic(drawn[a] - drawn[b])
            first = half if half is not None else float(draws.random() < chance)
            scores[a, b] = (first + (draws.random() < chance)) / 2
        ends[_end(contest.size, scores, valid)] += 1
    return Belief(ends)


def most_telling(contest: Contest, belief: Belief, count: int) -> list[Verdict]:
    """At most `count` unasked verdicts, those first whose samples are likely to change places with others.

    A sample counts by the variance of its being best and of its being worst, two rivals for one place by both odds.
    Between the two orders of a pair goes the one in which the sample stands first that has done so less often.
    """
    best, worst = ([belief.odds(place, i) for i in range(contest.size)] for place in (0, 1))
    doubt = [p * (1 - p) + q * (1 - q) for p, q in zip(best, worst, strict=True)]
    first = _first_places(contest)

    def rank(verdict: Verdict) -> tuple[float, int, int, int]:
        a, b, order = verdict
        rivals = best[a] * best[b] + worst[a] * worst[b]
        lean = first[a] - first[b]
        return -(doubt[a] + doubt[b] + 2 * rivals), lean if order == "ab" else -lean, a, b

    open_verdicts = [(a, b, order) for (a, b), heard in contest.seen.items() for order in heard.unasked()]
    chosen: dict[PairOf, Verdict] = {}
    for verdict in sorted(open_verdicts, key=rank):  # of one pair only one order at a time
        chosen.setdefault((verdict[0], verdict[1]), verdict)
    return list(chosen.values())[:count]


def opening(contest: Contest) -> list[Verdict]:
    """The first verdicts: a ring, in which each sample stands first once and second once."""
    ring = [(i, (i + 1) % contest.size) for i in range(contest.size)]
    verdicts: list[Verdict] = [(i, j, "ab") if i < j else (j, i, "ba") for i, j in ring]
    return [verdict for verdict in verdicts if (verdict[0], verdict[1]) in contest.seen]


def _first_places(contest: Contest) -> list[int]:
    counts = [0] * contest.size
    for (a, b), heard in contest.seen.items():
        counts[a] += heard.forward is not None
        counts[b] += heard.backward is not None
    return counts


def _strengths(contest: Contest) -> list[tuple[float, float]]:
    """Mean and standard deviation of every sample's strength, by Laplace's approximation, each for itself."""
    games: list[list[tuple[int, float]]] = [[] for _ in range(contest.size)]
    for (a, b), heard in contest.seen.items():
        for points in (heard.forward, heard.backward):
            if points is not None:
                games[a].append((b, points))
                games[b].append((a, 1 - points))
    means = [0.0] * contest.size
    for _ in range(SWEEPS):
        for i, mine in enumerate(games):
            slope, curve = _derivatives(i, mine, means)
            means[i] += slope / curve
    return [(means[i], _derivatives(i, mine, means)[1] ** -0.5) for i, mine in enumerate(games)]


def _derivatives(i: int, games: Sequence[tuple[int, float]], means: Sequence[float]) -> tuple[float, float]:
    """First and negative second derivative of the log posterior by the strength of `i`."""
    slope, curve = -means[i] / SPREAD**2, 1 / SPREAD**2
    for other, points in games:
        chance = _logistic(means[i] - means[other])
        slope += points - chance
        curve += chance * (1 - chance)
    return slope, curve


def _end(size: int, scores: Mapping[PairOf, float], valid: Sequence[int]) -> PairOf | None:
    totals = [0.0] * size
    for (a, b), score in scores.items():
        totals[a] += score
        totals[b] += 1 - score
    shares = [round(total / of, 9) if of else 0.0 for total, of in zip(totals, valid, strict=True)]
    best, worst = max(shares), min(shares)
    if best == worst:
        return None
    return _one(best, shares, scores, highest=True), _one(worst, shares, scores, highest=False)


def _one(level: float, shares: Sequence[float], scores: Mapping[PairOf, float], *, highest: bool) -> int:
    tied = [i for i, share in enumerate(shares) if share == level]
    return tied[0] if len(tied) == 1 else settle(tied, dict(_both_ways(scores)), highest=highest)


def _both_ways(scores: Mapping[PairOf, float]) -> Iterator[tuple[PairOf, float]]:
    for (a, b), score in scores.items():
        yield (a, b), score
        yield (b, a), 1 - score


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, x))))
