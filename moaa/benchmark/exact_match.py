"""The ExactMatch benchmark: an answer is right or wrong."""

from collections.abc import Iterator
from dataclasses import dataclass

from moaa.api.mixture import Judge
from moaa.asking.asker import Asker
from moaa.asking.load import Load
from moaa.benchmark.measure import Scored
from moaa.conversation import Conversation
from moaa.rows import PromptRow


@dataclass(frozen=True)
class ExactMatchMeasure:
    metric: str = "exact match"
    needs_gold: bool = True
    needs_given: bool = False
    prompts: tuple[str, ...] = ()
    judge: Judge | None = None
    yardstick: str | None = None

    def loads(self, answers: int) -> Iterator[Load]:  # noqa: ARG002 - no model is asked
        return iter(())

    async def score(self, row: PromptRow, answered: Conversation, asker: Asker) -> Scored:  # noqa: ARG002
        assert row["answer"] is not None, f"row {row['id']}: stage-data refuses rows without an answer"
        return Scored(equal(answered[-1]["content"], row["answer"]))


def equal(answer: str, gold: str) -> float:
    """1 when the answer equals the gold answer, both stripped of white space at the ends; else 0."""
    return float(answer.strip() == gold.strip())
