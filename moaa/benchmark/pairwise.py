"""The Pairwise benchmark: the win rate against a baseline's answers, judged in both orders."""

from collections.abc import Iterator
from dataclasses import dataclass

from moaa.api.evaluation import Pairwise
from moaa.api.mixture import Judge
from moaa.asking.asker import Asker
from moaa.asking.load import Load
from moaa.benchmark.measure import NO_VERDICT
from moaa.conversation import Conversation
from moaa.errors import CallError
from moaa.judge.methods import method_of
from moaa.mixture.alone import answer_alone
from moaa.rows import PromptRow


@dataclass(frozen=True)
class PairwiseMeasure:
    benchmark: Pairwise
    judge: Judge
    yardstick: str
    metric: str = "win rate"
    needs_gold: bool = False

    @property
    def prompts(self) -> tuple[str, ...]:
        return method_of(self.judge).prompts

    def loads(self, answers: int) -> Iterator[Load]:
        return method_of(self.judge).duel_loads(answers)

    async def score(self, row: PromptRow, answered: Conversation, asker: Asker) -> float:
        """The baseline answers under the same path as the subject; its answers are in the ledger since iteration 0.

        Raises:
            CallError, ModelAbsent: as `Measure.score`.
        """
        baseline = await answer_alone(row["messages"], self.yardstick, self.benchmark.sampling, asker)
        won = await method_of(self.judge).duel(row["messages"], answered[-1]["content"], baseline[-1]["content"], asker)
        if won is None:
            raise CallError(NO_VERDICT, f"row {row['id']}: no readable verdict against {self.yardstick}")
        return won
