"""Comparisons Adaptive: ask until the best and the worst answer are clear, and mark what was skipped.

Verdicts are asked in steps. The first is a ring of all answers; after each, `moaa.judge.adaptive.belief` says which
best and worst a ranking of all pairs would most likely have, and what to ask next while that is open. In the end every
pair has been asked, and the ranking is that of RoundRobin, or the pair is the likeliest one.

Calls have the names that RoundRobin gives them, and the steps follow from the verdicts alone. So a resumed row finds
what it has paid for, and an edit from one to the other asks only what is missing. A failure costs its pair its score,
as anywhere; its other order is not asked.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from random import Random

from moaa.asking.asker import Asker
from moaa.asking.gather import gather_all
from moaa.asking.load import Load
from moaa.conversation import Conversation
from moaa.judge.adaptive.belief import Contest, Heard, PairOf, Verdict, believe, most_telling, opening
from moaa.judge.ask import ChosenCriteria
from moaa.judge.method import Compared, Ranked
from moaa.judge.pairwise import ORDERS, EveryPair, Pair
from moaa.judge.prompts import Order, question_text
from moaa.judge.ranking import EQUAL_TEXTS, PAIR, TIE, TOO_FEW_VERDICTS, Ranking, asked_points, needed, rank
from moaa.judge.trail import Judgement

USUAL = (
    (2, 1.0, 1.0),
    (3, 1.0, 0.85),
    (4, 0.9, 0.7),
    (5, 0.8, 0.63),
    (6, 0.73, 0.57),
    (8, 0.67, 0.52),
    (12, 0.55, 0.43),
    (16, 0.47, 0.36),
)
"""Up to so many answers, the part of the pairs of which an order is asked, and the part of all orders: what judges take
whose verdicts hold in both orders in 84 of 100 pairs (as in benchmarks/judging_202611.md). More are counted as 16."""


@dataclass
class _Pair:
    """One pair and what was said of it so far."""

    pair: Pair
    choice: ChosenCriteria | None = None
    said: dict[Order, list[Judgement]] = field(default_factory=dict)


@dataclass(frozen=True)
class Adaptive:
    """A method (`moaa.judge.method.Method`) that skips comparisons that would hardly change best and worst."""

    every: EveryPair

    @property
    def prompts(self) -> tuple[str, ...]:
        return self.every.prompts

    @property
    def models(self) -> tuple[str, ...]:
        return self.every.models

    @property
    def roles(self) -> tuple[tuple[str, str], ...]:
        return self.every.roles

    @property
    def without_effect(self) -> frozenset[str]:
        return self.every.without_effect

    def ranking_loads(self, prompts: int, samples: int, *, answer_tokens: int) -> Iterator[Load]:
        """What is usual; `least_loads` and RoundRobin's are the ends of the range."""
        pairs = samples * (samples - 1) // 2
        _, asked, orders = next((usual for usual in USUAL if samples <= usual[0]), USUAL[-1])
        choices = self.every.choices(prompts, round(prompts * pairs * asked))
        return self.every.loads(choices, round(prompts * 2 * pairs * orders), answer_tokens=answer_tokens)

    def least_loads(self, prompts: int, samples: int, *, answer_tokens: int) -> Iterator[Load]:
        """Of the first step alone: nothing is decided by less."""
        pairs = samples * (samples - 1) // 2
        choices = self.every.choices(prompts, prompts * min(pairs, samples))
        return self.every.loads(choices, prompts * min(2 * pairs, samples), answer_tokens=answer_tokens)

    def duel_loads(self, duels: int, *, answer_tokens: int) -> Iterator[Load]:
        return self.every.duel_loads(duels, answer_tokens=answer_tokens)

    async def duel(self, question: str, answer: str, baseline: str, asker: Asker) -> Compared | None:
        return await self.every.duel(question, answer, baseline, asker)

    async def rank(
        self, messages: Conversation, texts: Sequence[str], asker: Asker, *, confirms: bool = False
    ) -> Ranked:
        """As `Method.rank`.

        Raises:
            ValueError: fewer than two texts.
            CallError, ModelAbsent: as `Method.rank`, of one step.
        """
        if len(texts) < 2:
            raise ValueError(f"{len(texts)} samples: a ranking needs two")
        question = question_text(messages)
        heard = {(a, b): _Pair(Pair(question, a, b, texts[a], texts[b])) for a, b in needed(texts)}
        draws = Random(repr([question, *texts]))
        verdicts, end = opening(self._contest(heard, texts)), None
        # Pairs of the first step come first: what is said for the criteria of a prompt stands with one that is asked.
        pairs = dict.fromkeys([*((a, b) for a, b, _ in verdicts), *heard])
        given = await self.every.of_prompt([heard[pair].pair for pair in pairs], asker)
        for pair, choice in zip(pairs, given, strict=True):
            heard[pair].choice = choice
        while verdicts:
            orders: dict[PairOf, list[Order]] = {}
            for a, b, order in verdicts:
                orders.setdefault((a, b), []).append(order)
            await gather_all(self._ask(heard[a, b], of, asker.at(f"c{a}-{b}")) for (a, b), of in orders.items())
            verdicts, end = self._next(heard, texts, draws, confirms=confirms)
        compared = [self._compared(one) for one in heard.values()]
        comparisons = [c.comparison for c in compared]
        if all(not c.get("skipped") for c in comparisons):
            return Ranked(rank(texts, comparisons), compared)
        points = asked_points(texts, comparisons)
        if None in points:
            return Ranked(Ranking(points, TOO_FEW_VERDICTS), compared)
        if end is None:
            return Ranked(Ranking(points, TIE), compared)
        outcome = EQUAL_TEXTS if texts[end[0]] == texts[end[1]] else PAIR
        return Ranked(Ranking(points, outcome, *(end if outcome == PAIR else ())), compared)

    def _next(
        self, heard: dict[PairOf, _Pair], texts: Sequence[str], draws: Random, *, confirms: bool
    ) -> tuple[list[Verdict], PairOf | None]:
        """What to ask next; where that is nothing, the best and the worst, or None for a draw of all."""
        contest = self._contest(heard, texts)
        if contest.has_too_few:
            return [], None
        belief = believe(contest, draws)
        more = most_telling(contest, belief, max(1, len(texts) // 2 - 1))
        if not belief.is_sure:
            return more, belief.likeliest
        end = belief.likeliest
        if end is None:
            return [], None
        best, worst = end
        a, b = min(end), max(end)
        if confirms and (a, b) in heard and (orders := contest.seen[a, b].unasked()):
            return [(a, b, order) for order in orders], end
        points = asked_points(texts, [self._compared(one).comparison for one in heard.values()])
        top, least = points[best], points[worst]
        return (more if top is None or least is None or top <= least else []), end

    async def _ask(self, one: _Pair, orders: Sequence[Order], asker: Asker) -> None:
        """Both orders of a pair come here together, so that its criteria are chosen once."""
        choice = one.choice = one.choice or await self.every.choose(one.pair, asker)
        said = await gather_all(self.every.hear(one.pair, order, choice.criteria, asker) for order in orders)
        one.said |= zip(orders, said, strict=True)

    def _contest(self, heard: dict[PairOf, _Pair], texts: Sequence[str]) -> Contest:
        pairs = combinations(range(len(texts)), 2)
        equal = [pair for pair in pairs if pair not in heard]
        return Contest(len(texts), {pair: self._heard(one) for pair, one in heard.items()}, equal)

    def _heard(self, one: _Pair) -> Heard:
        halves = {order: self.every.half(said, order) for order, said in one.said.items()}
        if None in halves.values():
            return Heard(failed=True)
        score = self._compared(one).comparison["score"]
        failed = score is None and len(halves) == len(ORDERS)
        return Heard(halves.get("ab"), halves.get("ba"), score, failed)

    def _compared(self, one: _Pair) -> Compared:
        choice = one.choice if one.choice is not None and one.said else ChosenCriteria([], is_chosen=False, said=())
        return self.every.compared(one.pair, choice, one.said)
