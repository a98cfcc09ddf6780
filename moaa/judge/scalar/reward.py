"""Method RewardModel: a model with one number a conversation scores every answer by itself; the higher one wins.

Nothing is compared, so there are no comparisons, orders or criteria. In a duel the higher score has the point, whatever
the difference: scales of two reward models are not alike.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from moaa.api.mixture import Judge
from moaa.asking.asker import Asker
from moaa.asking.load import Load
from moaa.conversation import Conversation, Message
from moaa.judge.method import Compared, Ranked
from moaa.judge.scalar.ranking import rank_scores
from moaa.judge.scalar.scores import ROLE, score_loads, scored
from moaa.rows import Comparison


def method(judge: Judge) -> "RewardModel":
    assert judge.reward_model is not None, "the resource's validation asks for one"
    return RewardModel(judge.reward_model)


@dataclass(frozen=True)
class RewardModel:
    """A method (`moaa.judge.method.Method`) that scores answers one by one."""

    model: str

    prompts: tuple[str, ...] = ()
    without_effect = frozenset({"criteria", "criteriaFor", "criteriaChoices", "comparisons", "verdict", "minJudges"})

    @property
    def models(self) -> tuple[str, ...]:
        return (self.model,)

    @property
    def roles(self) -> tuple[tuple[str, str], ...]:
        return ((self.model, ROLE),)

    def ranking_loads(self, prompts: int, samples: int, *, answer_tokens: int) -> Iterator[Load]:
        return score_loads(self.model, prompts * samples, answer_tokens=answer_tokens)

    def duel_loads(self, duels: int, *, answer_tokens: int) -> Iterator[Load]:
        return score_loads(self.model, 2 * duels, answer_tokens=answer_tokens)

    async def rank(
        self,
        messages: Conversation,
        texts: Sequence[str],
        asker: Asker,
        *,
        confirms: bool = False,  # noqa: ARG002 - the resource's validation allows it only where pairs are compared
    ) -> Ranked:
        """As `Method.rank`.

        Raises:
            ValueError: fewer than two texts.
            CallError, ModelAbsent: as `Method.rank`.
        """
        if len(texts) < 2:
            raise ValueError(f"{len(texts)} samples: a ranking needs two")
        scores = await scored(messages, texts, self.model, asker)
        return Ranked(rank_scores(texts, scores.of), [], scores)

    async def duel(self, question: str, answer: str, baseline: str, asker: Asker) -> Compared | None:
        if answer == baseline:
            return None
        scores = await scored([Message(role="user", content=question)], [answer, baseline], self.model, asker)
        comparison = Comparison(
            a=0, b=1, criteria=[], chosen=False, score=_point(*scores.of), forward=None, backward=None, votes=[]
        )
        # Which of the two: `order` has that of answers that stand alone.
        said = tuple(replace(one, order="ab"[sample]) for sample, one in scores.said)
        return Compared(comparison, said)


def _point(mine: float | None, other: float | None) -> float | None:
    if mine is None or other is None:
        return None
    return 0.5 if mine == other else float(mine > other)
