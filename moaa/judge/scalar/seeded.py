"""Comparisons Seeded: a reward model orders the answers, and judges decide at both ends of that order.

Judged are the first two, the last two, and the winner of those against the loser of these, each in both orders: three
pairs of ten. A draw leaves the reward model's order. The pair is kept only if the judges prefer its chosen answer in
the last comparison; where they prefer the other one, they contradict the order and the prompt is dropped. What was not
judged is marked as skipped and has no score; an answer that no judge saw has no points.

Calls have the names that RoundRobin gives them, so an edit from one to the other asks only what is missing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from moaa.asking.asker import Asker
from moaa.asking.gather import gather_all
from moaa.asking.load import Load
from moaa.conversation import Conversation
from moaa.judge.ask import ChosenCriteria
from moaa.judge.method import Compared, Ranked
from moaa.judge.pairwise import EveryPair, Pair
from moaa.judge.prompts import question_text
from moaa.judge.ranking import (
    EQUAL_TEXTS,
    PAIR,
    SEED_CONTRADICTED,
    TIE,
    TOO_FEW_VERDICTS,
    UNSCORED,
    Ranking,
    asked_points,
    needed,
)
from moaa.judge.scalar.scores import ROLE, score_loads, scored

MOST_PAIRS = 3
PairOf = tuple[int, int]
"""Two samples a < b."""


@dataclass(frozen=True)
class Seeded:
    """A method (`moaa.judge.method.Method`) that judges the ends of a reward model's order."""

    every: EveryPair
    reward_model: str

    @property
    def prompts(self) -> tuple[str, ...]:
        return self.every.prompts

    @property
    def models(self) -> tuple[str, ...]:
        return self.every.models

    @property
    def roles(self) -> tuple[tuple[str, str], ...]:
        return ((self.reward_model, ROLE), *self.every.roles)

    @property
    def without_effect(self) -> frozenset[str]:
        return self.every.without_effect

    def ranking_loads(self, prompts: int, samples: int, *, answer_tokens: int) -> Iterator[Load]:
        """Of three answers the last comparison may be one of the first two; it is counted all the same."""
        yield from score_loads(self.reward_model, prompts * samples, answer_tokens=answer_tokens)
        pairs = prompts * min(MOST_PAIRS, samples * (samples - 1) // 2)
        yield from self.every.loads(self.every.choices(prompts, pairs), 2 * pairs, answer_tokens=answer_tokens)

    def duel_loads(self, duels: int, *, answer_tokens: int) -> Iterator[Load]:
        return self.every.duel_loads(duels, answer_tokens=answer_tokens)

    async def duel(self, question: str, answer: str, baseline: str, asker: Asker) -> Compared | None:
        return await self.every.duel(question, answer, baseline, asker)

    async def rank(
        self,
        messages: Conversation,
        texts: Sequence[str],
        asker: Asker,
        *,
        confirms: bool = False,  # noqa: ARG002 - chosen and rejected are always compared in both orders
    ) -> Ranked:
        """As `Method.rank`.

        Raises:
            ValueError: fewer than two texts.
            CallError, ModelAbsent: as `Method.rank`, of one step: the scores, both ends, the last comparison.
        """
        if len(texts) < 2:
            raise ValueError(f"{len(texts)} samples: a ranking needs two")
        scores = await scored(messages, texts, self.reward_model, asker)
        asker.only([name for name in self.models if name != self.reward_model])
        heard = _Heard(self.every, question_text(messages), texts, {})
        outcome, end = await _outcome(scores.of, heard, asker)
        points = asked_points(texts, [one.comparison for one in heard.all])
        return Ranked(Ranking(points, outcome, *(end if outcome == PAIR else ())), heard.all, scores)


@dataclass(frozen=True)
class _Heard:
    """What judges said of one prompt so far."""

    every: EveryPair
    question: str
    texts: Sequence[str]
    compared: dict[PairOf, Compared]

    async def ask(self, pairs: Sequence[PairOf], given: Sequence[ChosenCriteria | None], asker: Asker) -> None:
        said = await gather_all(
            self.every.compare(self.pair(a, b), asker.at(f"c{a}-{b}"), choice)
            for (a, b), choice in zip(pairs, given, strict=True)
        )
        self.compared.update(zip(pairs, said, strict=True))

    def pair(self, a: int, b: int) -> Pair:
        return Pair(self.question, a, b, self.texts[a], self.texts[b])

    def points(self, one: int, other: int) -> float | None:
        """Of `one` against `other`, which were compared; None without a result."""
        score = self.compared[_pair(one, other)].comparison["score"]
        return score if score is None or one < other else 1 - score

    @property
    def all(self) -> list[Compared]:
        """Of every pair, those that were skipped included."""
        nothing = ChosenCriteria([], is_chosen=False, said=())
        return [
            self.compared.get((a, b)) or self.every.compared(self.pair(a, b), nothing, {})
            for a, b in needed(self.texts)
        ]


async def _outcome(scores: Sequence[float | None], heard: _Heard, asker: Asker) -> tuple[str, PairOf | tuple[()]]:
    """What becomes of the prompt, and of a pair who is chosen and who rejected; asks what that takes."""
    firsts = {text: i for i, text in reversed(list(enumerate(heard.texts)))}
    if len(firsts) == 1:
        return EQUAL_TEXTS, ()
    known = {i: score for i in firsts.values() if (score := scores[i]) is not None}
    if len(known) < len(firsts):
        return UNSCORED, ()
    order = sorted(known, key=lambda i: (-known[i], i))
    ends = list(dict.fromkeys([_pair(order[0], order[1]), _pair(order[-2], order[-1])]))
    given = await heard.every.of_prompt([heard.pair(*pair) for pair in ends], asker)
    await heard.ask(ends, given, asker)
    of_first, of_last = heard.points(order[0], order[1]), heard.points(order[-2], order[-1])
    if of_first is None or of_last is None:
        return TOO_FEW_VERDICTS, ()
    best = order[0] if of_first >= 0.5 else order[1]
    worst = order[-1] if of_last >= 0.5 else order[-2]
    if best == worst:  # of three answers the middle one beat the first and lost to the last
        return SEED_CONTRADICTED, ()
    if _pair(best, worst) not in heard.compared:
        choice = given[0] and replace(given[0], said=())
        await heard.ask([_pair(best, worst)], [choice], asker)
    return _decided(heard.points(best, worst)), (best, worst)


def _decided(points: float | None) -> str:
    """By the points of the best answer against the worst."""
    if points is None:
        return TOO_FEW_VERDICTS
    if points == 0.5:
        return TIE
    return PAIR if points > 0.5 else SEED_CONTRADICTED


def _pair(one: int, other: int) -> PairOf:
    return (one, other) if one < other else (other, one)
