"""What judges said: counts by judge, and a few comparisons drawn with the run's seed, from `judgements`. Pure.

The table is added part by part. Kept are counts and at most KEPT comparisons of every benchmark, however large it is.
Drawn are those with the smallest digests of seed and place, so that the same table gives the same comparisons, whatever
parts it has.
"""

from bisect import insort
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import groupby
from typing import NamedTuple, cast

from moaa.judge.pairwise import Outcome, outcome_of
from moaa.judge.prompts import Order
from moaa.judge.ranking import majority
from moaa.judge.reading import Verdict
from moaa.judge.trail import Role
from moaa.rows import JudgementRow
from moaa.run.tally import Orders, orders

KEPT = 4


class Place(NamedTuple):
    """Which comparison: of a judge stage two samples of a row, of an evaluation an answer and what it is held against.

    `benchmark` and `model` are empty in a judge stage.
    """

    benchmark: str
    model: str
    id: str
    sample: int
    a: int
    b: int


@dataclass
class Heard:
    """One judge in one role."""

    asked: int = 0
    """Times it should have said something."""
    failures: Counter[str] = field(default_factory=Counter)
    """By reason."""
    orders: Orders = field(default_factory=Orders)
    """Of its verdicts; empty in other roles."""
    weighed: int = 0
    """Verdicts by log-probabilities, each order for itself."""
    bias: float = 0.0
    """Sum over these of P(the answer that stands first) − ½."""
    mass: float = 0.0
    """Sum over these of P(A) + P(B)."""


@dataclass(frozen=True)
class Drawn:
    """One comparison with all that was said of it."""

    rank: bytes
    """Its place in the draw: those with the smallest are kept."""
    place: Place
    said: tuple[JudgementRow, ...]


@dataclass(frozen=True)
class Compared:
    """A drawn comparison with what was compared. None: it is not in the stage's tables."""

    drawn: Drawn
    prompt: str | None = None
    answers: tuple[str | None, str | None] = (None, None)
    """Of a and b."""
    score: float | None = None
    """Points of a; None without a result."""
    criteria: tuple[str, ...] = ()
    is_chosen: bool = False
    """Whether a judge chose the criteria; else they are all there are."""


@dataclass
class Trail:
    """Of one judge or evaluate stage."""

    seed: str
    judges: dict[tuple[str, str, str], Heard] = field(default_factory=dict)
    """By benchmark, role and judge, as first met."""
    methods: dict[tuple[str, str], Orders] = field(default_factory=dict)
    """By benchmark and model: what the judges said together, which is what is scored."""
    comparisons: Counter[str] = field(default_factory=Counter)
    """By benchmark."""
    drawn: dict[str, list[Drawn]] = field(default_factory=dict)
    """By benchmark, at most KEPT."""

    def add(self, rows: Iterable[JudgementRow]) -> None:
        """Count one part of the table; the rows of a comparison stand together."""
        for place, said in groupby(rows, _place):
            self._add(place, tuple(said))

    def _add(self, place: Place, said: tuple[JudgementRow, ...]) -> None:
        is_pair = place.a != place.b  # else one answer, scored by itself
        if is_pair:
            self.comparisons[place.benchmark] += 1
        for row in said:
            heard = self.judges.setdefault((place.benchmark, row["role"], row["judge"]), Heard())
            heard.asked += 1
            if row["failure"]:
                heard.failures[row["failure"]] += 1
            if row["probability"] is not None and row["mass"] is not None:
                heard.weighed += 1
                heard.bias += row["probability"] - 0.5
                heard.mass += row["mass"]
        forward, backward = _verdicts(said, "ab"), _verdicts(said, "ba")
        # A benchmark may ask in one order only. A draw names no side, so it says nothing of the order.
        if forward and backward and not any(map(_is_draw, said)):
            for (judge, ab), (_, ba) in zip(forward, backward, strict=True):
                self.judges[place.benchmark, Role.VERDICT, judge].orders += orders(ab, ba)
            together = orders(majority([found for _, found in forward]), majority([found for _, found in backward]))
            key = place.benchmark, place.model
            self.methods[key] = self.methods.get(key, Orders()) + together
        if is_pair:
            self._draw(place, said)

    def _draw(self, place: Place, said: tuple[JudgementRow, ...]) -> None:
        rank = sha256(repr((self.seed, *place)).encode()).digest()
        kept = self.drawn.setdefault(place.benchmark, [])
        if len(kept) == KEPT and rank > kept[-1].rank:
            return  # as nearly every comparison of a large table
        insort(kept, Drawn(rank, place, said), key=lambda one: one.rank)
        del kept[KEPT:]


def _place(row: JudgementRow) -> Place:
    return Place(row["benchmark"], row["model"], row["id"], row["sample"], row["a"], row["b"])


def _is_draw(row: JudgementRow) -> bool:
    return row["role"] == Role.VERDICT and row["verdict"] is None and not row["failure"]


def _verdicts(said: Sequence[JudgementRow], order: Order) -> list[tuple[str, Outcome]]:
    """Every judge's outcome in terms of the pair's a, in the order of the panel."""
    return [
        (row["judge"], outcome_of(cast("Verdict | None", row["verdict"]), order))
        for row in said
        if row["role"] == Role.VERDICT and row["order"] == order
    ]
