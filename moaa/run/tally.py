"""Counts of what the judges did: outcomes, how much verdicts depend on the order of the answers, and agreement.

Counts of two parts of a table add up (`Tally.__add__`), so that a table is read shard by shard. The two sample rows
with extreme margins are kept as well, the first in row order where several are equal.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, zip_longest

from moaa.judge.ranking import EQUAL_TEXTS, PAIR, skipped
from moaa.judge.scalar.ranking import seconded
from moaa.rows import PairRow, RankingRow


@dataclass(frozen=True)
class Orders:
    """Comparisons of two answers, each judged in both orders, by what the two verdicts say together."""

    agreed: int = 0
    """The same answer won in both orders."""
    first: int = 0
    """Whichever answer stood first won: the order decided."""
    second: int = 0
    """Whichever answer stood second won."""
    missing: int = 0
    """At least one of the two verdicts is missing."""

    def __add__(self, other: "Orders") -> "Orders":
        return Orders(
            self.agreed + other.agreed,
            self.first + other.first,
            self.second + other.second,
            self.missing + other.missing,
        )

    @property
    def valid(self) -> int:
        return self.agreed + self.first + self.second

    @property
    def consistency(self) -> float | None:
        """Part of the valid comparisons whose outcome the order did not change; None without any."""
        return self.agreed / self.valid if self.valid else None

    @property
    def first_share(self) -> float | None:
        """Part of the verdicts of the valid comparisons that name the answer shown first: ½ is no lean to a place; None
        without any."""
        return (self.agreed + 2 * self.first) / (2 * self.valid) if self.valid else None


_AGREED, _FIRST, _SECOND, _MISSING = Orders(agreed=1), Orders(first=1), Orders(second=1), Orders(missing=1)
"""Made once: a large table has millions of comparisons."""


def orders(forward: int | None, backward: int | None) -> Orders:
    """One comparison, outcomes as in `Comparison`: 1 says that `a` won, in whichever place it stood.

    (1, 1) and (0, 0) agree; (1, 0) means that the first place won both times, (0, 1) the second.
    """
    if forward is None or backward is None:
        return _MISSING
    if forward == backward:
        return _AGREED
    return _FIRST if forward == 1 else _SECOND


_BRACKETS = {1: ("(1)", "(0)"), 0: ("(0)", "(1)")}


@dataclass(frozen=True)
class Tally:
    """Counts over rankings and pairs of one judge stage."""

    prompts: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    """Prompts by `RankingRow.outcome`."""
    verdicts: Orders = Orders()
    """Of the method as a whole."""
    failed_verdicts: int = 0
    """Single verdicts that are missing; a comparison has two."""
    single_verdicts: int = 0
    """Of comparisons whose other order was skipped; they are in none of the counts by order."""
    skipped_verdicts: int = 0
    """Orders that were not asked (`judge.comparisons`: Adaptive, Seeded)."""
    seconded: int = 0
    """Comparisons in which judges and a reward model that was asked, too, prefer the same answer."""
    opposed: int = 0
    """Those in which they prefer different ones."""
    judges: tuple[Orders, ...] = ()
    """Of every judge by itself, in the order of the resource; Panel only."""
    sided: tuple[int, ...] = ()
    """How often a judge and the whole panel were both certain and said the same."""
    compared: tuple[int, ...] = ()
    """How often a judge and the whole panel were both certain."""
    met: int = 0
    """How often two judges of a panel were both certain about a comparison."""
    alike: int = 0
    """How often they then said the same."""
    criteria: Counter[str] = field(default_factory=Counter)
    """How many comparisons the judge chose a criterion for."""
    pairs: int = 0
    margin: float = 0.0
    """Sum over pairs of chosen minus rejected points."""
    chosen_chars: int = 0
    rejected_chars: int = 0
    longer_chosen: int = 0
    """Pairs whose chosen answer is the longer one."""
    clearest: RankingRow | None = None
    closest: RankingRow | None = None
    dropped: RankingRow | None = None
    """The first prompt that gave no pair for another reason than equal texts."""

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            prompts=self.prompts + other.prompts,
            outcomes=self.outcomes + other.outcomes,
            verdicts=self.verdicts + other.verdicts,
            failed_verdicts=self.failed_verdicts + other.failed_verdicts,
            single_verdicts=self.single_verdicts + other.single_verdicts,
            skipped_verdicts=self.skipped_verdicts + other.skipped_verdicts,
            seconded=self.seconded + other.seconded,
            opposed=self.opposed + other.opposed,
            judges=_add_orders(self.judges, other.judges),
            sided=_add_counts(self.sided, other.sided),
            compared=_add_counts(self.compared, other.compared),
            met=self.met + other.met,
            alike=self.alike + other.alike,
            criteria=self.criteria + other.criteria,
            pairs=self.pairs + other.pairs,
            margin=self.margin + other.margin,
            chosen_chars=self.chosen_chars + other.chosen_chars,
            rejected_chars=self.rejected_chars + other.rejected_chars,
            longer_chosen=self.longer_chosen + other.longer_chosen,
            clearest=_extreme(self.clearest, other.clearest, sign=1),
            closest=_extreme(self.closest, other.closest, sign=-1),
            dropped=self.dropped or other.dropped,
        )


def tally_rankings(rows: Iterable[RankingRow]) -> Tally:
    """Count one part of a `rankings` table."""
    total = Tally()
    for row in rows:
        total += _tally_row(row)
    return total


def tally_pairs(rows: Iterable[PairRow]) -> Tally:
    """Count one part of a `pairs` table."""
    total = Tally()
    for row in rows:
        chosen, rejected = len(row["chosen"]), len(row["rejected"])
        total += Tally(
            pairs=1,
            margin=row["chosen_points"] - row["rejected_points"],
            chosen_chars=chosen,
            rejected_chars=rejected,
            longer_chosen=int(chosen > rejected),
        )
    return total


def margin(row: RankingRow) -> float:
    """Highest minus lowest points; 0 when fewer than two samples have points."""
    points = [p for p in row["points"] if p is not None]
    return max(points) - min(points) if len(points) > 1 else 0.0


def matrix(row: RankingRow) -> Mapping[tuple[int, int], float]:
    """Points of sample i against j: 1 won, ½ the order decided, 0 lost; comparisons that failed or whose orders were
    not both asked are absent."""
    table: dict[tuple[int, int], float] = {}
    for c in row["comparisons"]:
        if (share := c["score"]) is None:
            continue
        table[c["a"], c["b"]], table[c["b"], c["a"]] = share, 1 - share
    return table


def skipped_cells(row: RankingRow) -> Mapping[tuple[int, int], str]:
    """As `matrix`, of comparisons that were skipped: `–`, or in brackets who won the one order that was asked."""
    table: dict[tuple[int, int], str] = {}
    for c in row["comparisons"]:
        if not skipped(c):
            continue
        outcome = c["forward"] if c["forward"] is not None else c["backward"]
        told = ("–", "–") if len(skipped(c)) == 2 else ("", "") if outcome is None else _BRACKETS[outcome]
        table[c["a"], c["b"]], table[c["b"], c["a"]] = told
    return table


def _tally_row(row: RankingRow) -> Tally:
    verdicts, failed = Orders(), 0
    criteria: Counter[str] = Counter()
    judges: tuple[Orders, ...] = ()
    sided: tuple[int, ...] = ()
    compared: tuple[int, ...] = ()
    met, alike = 0, 0
    asked_once = [c for c in row["comparisons"] if len(skipped(c)) == 1]
    for c in asked_once:
        failed += c["forward"] is None and c["backward"] is None
        criteria.update(c["criteria"] if c["chosen"] else [])
    for c in row["comparisons"]:
        if skipped(c):
            continue
        whole = orders(c["forward"], c["backward"])
        verdicts += whole
        failed += (c["forward"] is None) + (c["backward"] is None)
        criteria.update(c["criteria"] if c["chosen"] else [])
        alone = [orders(forward, backward) for forward, backward in c["votes"]]
        both = [whole.agreed * one.agreed for one in alone]
        same = [yes * (vote[0] == c["forward"]) for yes, vote in zip(both, c["votes"], strict=True)]
        judges = _add_orders(judges, alone)
        compared = _add_counts(compared, both)
        sided = _add_counts(sided, same)
        held = [forward for forward, backward in c["votes"] if forward is not None and forward == backward]
        met += len(held) * (len(held) - 1) // 2
        alike += sum(one == other for one, other in combinations(held, 2))
    is_pair = row["outcome"] == PAIR
    agreed, opposed = seconded(row)
    return Tally(
        prompts=1,
        outcomes=Counter({row["outcome"]: 1}),
        verdicts=verdicts,
        failed_verdicts=failed,
        single_verdicts=len(asked_once),
        skipped_verdicts=sum(len(skipped(c)) for c in row["comparisons"]),
        seconded=agreed,
        opposed=opposed,
        judges=judges,
        sided=sided,
        compared=compared,
        met=met,
        alike=alike,
        criteria=criteria,
        clearest=row if is_pair else None,
        closest=row if is_pair else None,
        dropped=row if row["outcome"] not in (PAIR, EQUAL_TEXTS) else None,
    )


def _add_orders(left: Sequence[Orders], right: Sequence[Orders]) -> tuple[Orders, ...]:
    return tuple(a + b for a, b in zip_longest(left, right, fillvalue=Orders()))


def _add_counts(left: Sequence[int], right: Sequence[int]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip_longest(left, right, fillvalue=0))


def _extreme(left: RankingRow | None, right: RankingRow | None, *, sign: int) -> RankingRow | None:
    if left is None or right is None:
        return left or right
    return right if sign * margin(right) > sign * margin(left) else left
