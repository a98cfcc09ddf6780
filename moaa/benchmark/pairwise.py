"""The Pairwise benchmark: the win rate against a baseline's answers, judged in both orders."""

from collections.abc import Iterator
from dataclasses import dataclass

from moaa.api.evaluation import Pairwise
from moaa.api.mixture import Judge
from moaa.asking.asker import Asker
from moaa.asking.load import Load, written
from moaa.benchmark.measure import NoVerdict, Scored, reasons
from moaa.conversation import Conversation, Message
from moaa.judge.methods import method_of
from moaa.judge.prompts import exchange
from moaa.mixture.alone import answer_alone
from moaa.rows import PromptRow


@dataclass(frozen=True)
class PairwiseMeasure:
    benchmark: Pairwise
    judge: Judge
    yardstick: str | None
    """None: the rows' own answers."""
    metric: str = "win rate"
    needs_gold: bool = False

    @property
    def needs_given(self) -> bool:
        return self.yardstick is None

    @property
    def prompts(self) -> tuple[str, ...]:
        return method_of(self.judge).prompts

    def loads(self, answers: int) -> Iterator[Load]:
        return method_of(self.judge).duel_loads(answers, answer_tokens=written(self.benchmark.sampling.max_tokens))

    async def score(self, row: PromptRow, answered: Conversation, asker: Asker) -> Scored:
        """The baseline answers under the same path as the subject; its answers are in the ledger since iteration 0.

        Raises:
            CallError, NoVerdict, ModelAbsent: as `Measure.score`.
        """
        baseline = await self._baseline(row, asker)
        asked, mine = exchange(answered)
        _, other = exchange(baseline)
        length = len(baseline[-1]["content"])
        compared = await method_of(self.judge).duel(asked, mine, other, asker)
        if compared is None:
            return Scored(0.5, baseline_length=length)
        won = compared.comparison["score"]
        if won is None:
            against = self.yardstick or "the row's own answer"
            told = reasons(compared.said)
            raise NoVerdict(f"row {row['id']}: no verdict against {against}: {told}", said=compared.said)
        return Scored(won, compared.said, baseline_length=length)

    async def _baseline(self, row: PromptRow, asker: Asker) -> Conversation:
        if self.yardstick is not None:
            return await answer_alone(row["messages"], self.yardstick, self.benchmark.sampling, asker)
        assert row["answer"] is not None, f"row {row['id']}: stage-data refuses rows without an answer"
        return [*row["messages"], Message(role="assistant", content=row["answer"])]
