"""Method BestOfN: proposers answer, a judge ranks their answers, the best is taken (paper Table 3).

Turn by turn (ours; the paper scores whole conversations): the next turn follows the best answer to this one. A draw
goes to the answer that stands first, never by length. An answer that ended at maxTokens is no candidate, whatever the
proposer's `whenCut` says. One candidate that is left alone is taken without a verdict.

Calls of a turn are named `layer0/p<i>/s<j>`, and as the judge names its own below `best`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from moaa.api.mixture import Mixture
from moaa.asking.load import Load, written
from moaa.errors import CallError
from moaa.judge.method import Method as JudgeMethod
from moaa.judge.method import Ranked
from moaa.judge.ranking import TOO_FEW_VERDICTS
from moaa.mixture.method import Turn, Writer, Written
from moaa.mixture.proposals import Slot, first_loads, slots, usable


class Unranked(CallError):
    """The judge gave too few verdicts to say which answer is best."""

    def __init__(self, turn: int, ranked: Ranked) -> None:
        self.turn, self.ranked = turn, ranked
        scored = [said for _, said in ranked.scores.said] if ranked.scores is not None else []
        failures = [said for said in (*scored, *(s for one in ranked.compared for s in one.said)) if said.failure]
        first = f"; the first that failed: {failures[0].judge} ({failures[0].failure})" if failures else ""
        super().__init__(
            TOO_FEW_VERDICTS,
            f"turn {turn}: its verdicts do not say which of {len(ranked.ranking.points)} answers is best{first}",
        )


def method(mixture: Mixture, judge: JudgeMethod) -> "BestOfN":
    return BestOfN(mixture, judge, slots(mixture.layers[0]))


@dataclass(frozen=True)
class BestOfN:
    """A method (`moaa.mixture.method.Method`) whose judge chooses among proposers' answers."""

    mixture: Mixture
    judge: JudgeMethod
    slots: tuple[Slot, ...]

    names = ("",)
    without_effect = frozenset({"aggregator"})

    @property
    def prompts(self) -> tuple[str, ...]:
        return self.judge.prompts

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*self.authors, *self.judge.models]))

    @property
    def authors(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(slot.proposer.model for slot in self.slots))

    @property
    def answer_tokens(self) -> int:
        return max(slot.proposer.max_tokens for slot in self.slots)

    def loads(self, prompts: int) -> Iterator[Load]:
        yield from first_loads(self.mixture.layers[0], prompts)
        yield from self.judge.ranking_loads(prompts, len(self.slots), answer_tokens=written(self.answer_tokens))

    def writer(self, row: str, name: str) -> Writer:  # noqa: ARG002 - every row is answered alike
        return self

    async def write(self, turn: Turn) -> Written:
        """The best answer.

        Raises:
            CallError: fewer answers than `minProposals`, or a failure that may pass.
            Unranked: the judge's verdicts do not rank them.
            ModelAbsent: raised after every call that can be made now was made.
        """

        async def ask(slot: Slot) -> str:
            return (await slot.answer(turn)).text

        found = await usable(
            self.slots,
            ask,
            turn.asker.at("layer0"),
            least=self.mixture.min_proposals,
            notes=turn.notes,
            then=None if turn.then is None else turn.then.union(self.judge.models),
        )
        if len(found) == 1:
            return found[0]
        ranked = await self.judge.rank(turn.history, [one.text for one in found], turn.asker.at("best"))
        turn.notes.ranked[turn.number] = ranked
        ranking = ranked.ranking
        points = [one for one in ranking.points if one is not None]
        if len(points) < len(found):
            raise Unranked(turn.number, ranked)
        return found[points.index(max(points)) if ranking.chosen is None else ranking.chosen]
