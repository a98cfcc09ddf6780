"""Judging by pairs: every two answers are compared in both orders, whoever gives the verdicts.

Criteria are chosen once for the unordered pair and used in both orders (our choice). A call that fails for good or
that cannot be read leaves its order without an outcome; that is recorded as None and never counts as a score. A failure
that may pass fails the row.

Calls are named `c<a>-<b>/criteria`, then as the method names those of one order below `c<a>-<b>/ab` and `/ba`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from moaa.api.mixture import Criterion, Judge
from moaa.asking.asker import Asker
from moaa.asking.gather import gather_calls
from moaa.asking.load import ANSWER_TOKENS, PROMPT_TOKENS, Load
from moaa.conversation import Conversation
from moaa.errors import CallError
from moaa.judge.ask import choose_criteria
from moaa.judge.method import Ranked
from moaa.judge.prompts import Ordered, question_text
from moaa.judge.ranking import majority, needed, pair_score, rank
from moaa.judge.verdict import Verdict
from moaa.rows import Comparison

BOTH_TOKENS = PROMPT_TOKENS + 2 * ANSWER_TOKENS
"""A question and two answers."""
CRITERIA_INSTRUCTION_TOKENS = 550
"""Our criteria prompt with eight definitions and its example."""
CRITERIA_ANSWER_TOKENS = 100

Order = Literal["ab", "ba"]
Outcome = int | None
"""1: the pair's a is better; 0: its b; None: no verdict could be had."""


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
        if order == "ab":
            return Ordered(self.question, self.text_a, self.text_b)
        return Ordered(self.question, self.text_b, self.text_a)


class OneOrder(Protocol):
    """What a method says of a pair in one order, and what that takes."""

    @property
    def prompts(self) -> tuple[str, ...]:
        """Templates it fills beside those of the criteria."""
        ...

    @property
    def without_effect(self) -> frozenset[str]:
        """As `Method.without_effect`."""
        ...

    async def verdicts(
        self, pair: Ordered, criteria: Sequence[Criterion], judge: Judge, asker: Asker
    ) -> list[Verdict | None]:
        """One verdict, or one of each judge of a panel; None is one that could not be had.

        Raises:
            CallError: the order has no verdict, or a failure that may pass.
            ModelAbsent: raised after every call that can be made now was made.
        """
        ...

    def loads(self, judge: Judge, times: int) -> Iterator[Load]:
        """Calls that give the verdicts of `times` orders."""
        ...


@dataclass(frozen=True)
class EveryPair:
    """A method (`moaa.judge.method.Method`) that compares every pair of answers, each in both orders."""

    judge: Judge
    order: OneOrder

    @property
    def prompts(self) -> tuple[str, ...]:
        return ("criterion", *(("criteria",) if self._chooses_criteria else ()), *self.order.prompts)

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

    def ranking_loads(self, prompts: int, samples: int) -> Iterator[Load]:
        return self.duel_loads(prompts * samples * (samples - 1) // 2)

    def duel_loads(self, duels: int) -> Iterator[Load]:
        if self._chooses_criteria and self.judge.aggregator is not None:
            yield Load(
                self.judge.aggregator.model, duels, BOTH_TOKENS + CRITERIA_INSTRUCTION_TOKENS, CRITERIA_ANSWER_TOKENS
            )
        yield from self.order.loads(self.judge, 2 * duels)

    async def rank(self, messages: Conversation, texts: Sequence[str], asker: Asker) -> Ranked:
        question = question_text(messages)
        results = await gather_calls(
            self.compare(Pair(question, a, b, texts[a], texts[b]), asker.at(f"c{a}-{b}")) for a, b in needed(texts)
        )
        comparisons = [result for result in results if not isinstance(result, CallError)]
        return Ranked(rank(texts, comparisons), comparisons)

    async def duel(self, messages: Conversation, answer: str, baseline: str, asker: Asker) -> float | None:
        if answer == baseline:
            return 0.5
        pair = Pair(question_text(messages), 0, 1, answer, baseline)
        return pair_score(await self.compare(pair, asker.at("c0-1")))

    async def compare(self, pair: Pair, asker: Asker) -> Comparison:
        """Judge `pair` in both orders.

        Raises:
            CallError: a failure that may pass.
            ModelAbsent: both raised after every call that can be made now was made.
        """
        chosen = choose_criteria(pair.ordered("ab"), self.judge, asker.at("criteria"))
        [criteria] = await gather_calls([chosen])
        if criteria is None or isinstance(criteria, CallError):  # the ledger holds the reason
            return _comparison(pair, [], [], [])
        orders: tuple[Order, Order] = ("ab", "ba")
        results = await gather_calls(
            self.order.verdicts(pair.ordered(order), criteria, self.judge, asker.at(order)) for order in orders
        )
        outcomes = [
            [] if isinstance(result, CallError) else [outcome_of(verdict, order) for verdict in result]
            for order, result in zip(orders, results, strict=True)
        ]
        return _comparison(pair, criteria, outcomes[0], outcomes[1])

    @property
    def _chooses_criteria(self) -> bool:
        return self.judge.criteria > 0 and self.judge.aggregator is not None


def outcome_of(verdict: Verdict | None, order: Order) -> Outcome:
    """A verdict on letters in terms of the pair's a: in order `ba` the letter A is the pair's b."""
    if verdict is None:
        return None
    return int((verdict == "A") == (order == "ab"))


def _comparison(pair: Pair, criteria: list[Criterion], forward: list[Outcome], backward: list[Outcome]) -> Comparison:
    votes = [list(vote) for vote in zip(forward, backward, strict=True)] if len(forward) > 1 else []
    return Comparison(
        a=pair.a,
        b=pair.b,
        criteria=[c.name for c in criteria],
        forward=majority(forward),
        backward=majority(backward),
        votes=votes,
    )
