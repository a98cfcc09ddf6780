"""Judging by pairs: every two answers are compared in both orders, whatever the method.

Criteria are chosen once for the unordered pair and used in both orders (our choice), or once for the prompt. A call
that fails permanently, or whose reply cannot be read, leaves its order without an outcome. That is recorded as None and
never counts as a score. A failure that may pass fails the row.

Calls are named `c<a>-<b>/criteria` (of a prompt's criteria `criteria`), then as the method names those of one order
below `c<a>-<b>/ab` and `/ba`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from moaa.api.mixture import CriteriaFor, Criterion, Judge
from moaa.asking.asker import Asker
from moaa.asking.gather import gather_all
from moaa.asking.load import PROMPT_TOKENS, Load, written
from moaa.conversation import Conversation
from moaa.judge.ask import ChosenCriteria, choose_criteria
from moaa.judge.method import Compared, Ranked
from moaa.judge.prompts import Order, Ordered, question_text
from moaa.judge.ranking import majority, needed, rank
from moaa.judge.reading import Verdict
from moaa.judge.trail import Judgement, Role
from moaa.rows import Comparison

CRITERIA_INSTRUCTION_TOKENS = 550
"""Our criteria prompt with eight definitions and its example."""
CRITERIA_ANSWER_TOKENS = 100

ORDERS: tuple[Order, Order] = ("ab", "ba")
Outcome = int | None
"""1: the pair's a is better; 0: its b; None: there is no verdict."""
Points = float | None
"""Of the pair's a in one order: 1 or 0 by a verdict in words, a share by one in log-probabilities."""


@dataclass(frozen=True)
class Pair:
    """Two answers to one question; `a` and `b` are sample numbers, a < b."""

    question: str
    a: int
    b: int
    text_a: str
    text_b: str

    def ordered(self, order: Order) -> Ordered:
        """How the pair is shown: in order `ba` the pair's b is called A."""
        first, second = (self.text_a, self.text_b) if order == "ab" else (self.text_b, self.text_a)
        return Ordered(self.question, first, second, order)


class OneOrder(Protocol):
    """How a method judges a pair in one order, and what that costs."""

    @property
    def prompts(self) -> tuple[str, ...]:
        """Templates that it fills, apart from those of the criteria."""
        ...

    @property
    def without_effect(self) -> frozenset[str]:
        """As `Method.without_effect`."""
        ...

    async def judgements(
        self, pair: Ordered, criteria: Sequence[Criterion], judge: Judge, asker: Asker
    ) -> list[Judgement]:
        """What every judge said. Only judgements of role verdict count: one, or of a panel one from each judge, in
        order.

        Raises:
            CallError: a failure that may pass.
            ModelAbsent: both raised after every call that can be made now was made.
        """
        ...

    def score(self, forward: Sequence[Points], backward: Sequence[Points], judge: Judge) -> float | None:
        """Points of the pair's a from those of both orders, in [0, 1]; None without a result."""
        ...

    def loads(self, judge: Judge, times: int, compared: int) -> Iterator[Load]:
        """Calls that give the verdicts of `times` orders; the question and both answers have `compared` tokens."""
        ...


@dataclass(frozen=True)
class EveryPair:
    """A method (`moaa.judge.method.Method`) that compares every pair of answers, each in both orders."""

    judge: Judge
    order: OneOrder

    @property
    def prompts(self) -> tuple[str, ...]:
        chooses = "prompt_criteria" if self.judge.criteria_for is CriteriaFor.PROMPT else "criteria"
        return ("criterion", *((chooses,) if self._chooses_criteria else ()), *self.order.prompts)

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(self.judge.models)

    @property
    def roles(self) -> tuple[tuple[str, str], ...]:
        judges = [(judge.model, "judge") for judge in self.judge.judges]
        return (*judges, *([(self.judge.aggregator.model, "verdict")] if self.judge.aggregator else []))

    @property
    def without_effect(self) -> frozenset[str]:
        return self.order.without_effect

    def ranking_loads(self, prompts: int, samples: int, *, answer_tokens: int) -> Iterator[Load]:
        pairs = prompts * samples * (samples - 1) // 2
        return self.loads(self.choices(prompts, pairs), 2 * pairs, answer_tokens=answer_tokens)

    def duel_loads(self, duels: int, *, answer_tokens: int) -> Iterator[Load]:
        return self.loads(duels, 2 * duels, answer_tokens=answer_tokens)

    def choices(self, prompts: int, pairs: int) -> int:
        """How often criteria are chosen for so many prompts with so many pairs, where they are."""
        return prompts if self.judge.criteria_for is CriteriaFor.PROMPT else pairs

    def loads(self, choices: int, orders: int, *, answer_tokens: int) -> Iterator[Load]:
        """Calls that choose criteria `choices` times and judge pairs in `orders` orders, all together."""
        compared, aggregator = PROMPT_TOKENS + 2 * answer_tokens, self.judge.aggregator
        if self._chooses_criteria and aggregator is not None:
            said = written(aggregator.max_tokens, CRITERIA_ANSWER_TOKENS)
            seen = PROMPT_TOKENS if self.judge.criteria_for is CriteriaFor.PROMPT else compared
            yield Load(aggregator.model, choices, seen + CRITERIA_INSTRUCTION_TOKENS, said)
        yield from self.order.loads(self.judge, orders, compared)

    async def rank(
        self,
        messages: Conversation,
        texts: Sequence[str],
        asker: Asker,
        *,
        confirms: bool = False,  # noqa: ARG002 - every pair is asked in both orders
    ) -> Ranked:
        question = question_text(messages)
        pairs = [Pair(question, a, b, texts[a], texts[b]) for a, b in needed(texts)]
        given = await self.of_prompt(pairs, asker)
        compared = await gather_all(
            self.compare(pair, asker.at(f"c{pair.a}-{pair.b}"), choice)
            for pair, choice in zip(pairs, given, strict=True)
        )
        return Ranked(rank(texts, [c.comparison for c in compared]), compared)

    async def duel(self, question: str, answer: str, baseline: str, asker: Asker) -> Compared | None:
        if answer == baseline:
            return None
        return await self.compare(Pair(question, 0, 1, answer, baseline), asker.at("c0-1"))

    async def of_prompt(self, pairs: Sequence[Pair], asker: Asker) -> list[ChosenCriteria | None]:
        """What each of one prompt's `pairs` is to be judged by; None: its criteria are its own to choose. What was said
        for the choice stands with the first pair. Raises CallError, ModelAbsent as `compare`."""
        if not pairs or self.judge.criteria_for is CriteriaFor.PAIR:
            return [None] * len(pairs)
        choice = await choose_criteria(pairs[0].question, self.judge, asker.at("criteria"))
        return [choice, *[replace(choice, said=())] * (len(pairs) - 1)]

    async def compare(self, pair: Pair, asker: Asker, given: ChosenCriteria | None = None) -> Compared:
        """Judge `pair` in both orders, by the criteria `given` for its prompt or by its own.

        Raises:
            CallError: a failure that may pass.
            ModelAbsent: both raised after every call that can be made now was made.
        """
        choice = given or await self.choose(pair, asker)
        said = await gather_all(self.hear(pair, order, choice.criteria, asker) for order in ORDERS)
        return self.compared(pair, choice, dict(zip(ORDERS, said, strict=True)))

    async def choose(self, pair: Pair, asker: Asker) -> ChosenCriteria:
        """The criteria of `pair`, for both orders. Raises CallError, ModelAbsent as `compare`."""
        is_of_prompt = self.judge.criteria_for is CriteriaFor.PROMPT
        shown = pair.question if is_of_prompt else pair.ordered("ab")
        return await choose_criteria(shown, self.judge, asker.at("criteria"))

    async def hear(self, pair: Pair, order: Order, criteria: Sequence[Criterion], asker: Asker) -> list[Judgement]:
        """What judges say of `pair` in one order. Raises CallError, ModelAbsent as `compare`."""
        return await self.order.judgements(pair.ordered(order), criteria, self.judge, asker.at(order))

    def half(self, said: Sequence[Judgement], order: Order) -> Points:
        """Points of the pair's a if the other order said the same; None: whatever it says, the pair has no score."""
        points = [points_of(j, order) for j in verdicts(said)]
        return self.order.score(points, points, self.judge)

    def compared(self, pair: Pair, choice: ChosenCriteria, said: Mapping[Order, Sequence[Judgement]]) -> Compared:
        """The comparison by what was said in each order; with one of them alone it has no score."""
        by_order = {order: verdicts(said[order]) for order in ORDERS if order in said}
        outcomes = {order: [outcome_of(j.verdict, order) for j in one] for order, one in by_order.items()}
        comparison = Comparison(
            a=pair.a,
            b=pair.b,
            criteria=[c.name for c in choice.criteria],
            chosen=choice.is_chosen,
            score=None,
            forward=majority(outcomes.get("ab", [])),
            backward=majority(outcomes.get("ba", [])),
            votes=[],
        )
        if len(by_order) < len(ORDERS):
            comparison["skipped"] = [order for order in ORDERS if order not in said]
        else:
            points = [[points_of(j, order) for j in by_order[order]] for order in ORDERS]
            comparison["score"] = self.order.score(points[0], points[1], self.judge)
            is_panel = len(outcomes["ab"]) > 1
            comparison["votes"] = [list(v) for v in zip(*outcomes.values(), strict=True)] if is_panel else []
        return Compared(comparison, (*choice.said, *(j for order in ORDERS for j in said.get(order, ()))))

    @property
    def _chooses_criteria(self) -> bool:
        return self.judge.criteria > 0 and self.judge.aggregator is not None


def verdicts(said: Sequence[Judgement]) -> list[Judgement]:
    return [j for j in said if j.role is Role.VERDICT]


def outcome_of(verdict: Verdict | None, order: Order) -> Outcome:
    """Turn a verdict on letters into one on the pair: in order `ba` the letter A is the pair's b."""
    if verdict is None:
        return None
    return int((verdict == "A") == (order == "ab"))


def points_of(said: Judgement, order: Order) -> Points:
    """Points of the pair's a from one verdict: the share of its letter, or all or nothing."""
    if said.probability is None:
        return outcome_of(said.verdict, order)
    return said.probability if order == "ab" else 1 - said.probability
