"""The LmEval benchmark: answers scored by a task of lm-evaluation-harness.

Its documents are rows like any other's, so that models are asked through the ledger, row by row. The task's own code
reads the answers in a child of the job.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, JsonValue

from moaa.api.evaluation import LmEval
from moaa.api.mixture import Judge
from moaa.asking.asker import Asker
from moaa.asking.load import Load
from moaa.benchmark.checker import Checker
from moaa.benchmark.measure import Scored
from moaa.conversation import Conversation
from moaa.mixture.turns import Turns
from moaa.rows import PromptRow


class Facts(BaseModel):
    """What a row holds beside its question."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    version: str
    """The task's own."""
    harness: str
    """Version of lm-evaluation-harness that wrote the question."""
    until: list[str]
    """Texts at which an answer ends."""
    document: dict[str, JsonValue]
    """The row of the task's data set."""


def facts_of(row: PromptRow) -> Facts:
    facts = row.get("facts")
    assert facts is not None, f"row {row['id']}: stage-data writes facts with every document"
    return Facts.model_validate_json(facts)


def turns_to_answer(row: PromptRow) -> Turns:
    """The last: worked examples stand before the question as turns of their own."""
    return Turns(only_last=True, until=tuple(facts_of(row).until))


class Noted(BaseModel):
    """What is noted of an answer beside its score."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    version: str
    harness: list[str]
    """Versions that wrote the question and read the answer; one where they are the same."""
    score: str
    """Which of `metrics` the score is."""
    metrics: dict[str, float]


@dataclass(frozen=True)
class LmEvalMeasure:
    benchmark: LmEval
    checker: Checker | None
    """None where nothing is scored: in the plan and in the report."""
    needs_gold: bool = False
    needs_given: bool = False
    prompts: tuple[str, ...] = ()
    judge: Judge | None = None
    yardstick: str | None = None

    @property
    def metric(self) -> str:
        return self.benchmark.metric or "task score"

    def loads(self, answers: int) -> Iterator[Load]:  # noqa: ARG002 - no model is asked
        return iter(())

    async def score(self, row: PromptRow, answered: Conversation, asker: Asker) -> Scored:  # noqa: ARG002
        """Raises CallError, DataError: as `Checker.score`."""
        assert self.checker is not None, "the job that evaluates gives a checker"
        facts = facts_of(row)
        found = await self.checker.score(self.benchmark, facts.task, facts.document, answered[-1]["content"])
        noted = Noted(
            task=facts.task,
            version=facts.version,
            harness=list(dict.fromkeys([facts.harness, found.harness])),
            score=found.chosen,
            metrics=found.metrics,
        )
        return Scored(found.value, detail=noted.model_dump())
