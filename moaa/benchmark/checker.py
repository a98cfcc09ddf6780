"""What measures need of a program outside: an evaluation's answers checked by lm-evaluation-harness.

The job that evaluates has one (`moaa_jobs.harness.child`); plan and report build measures without.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from pydantic import BaseModel, ConfigDict, JsonValue

from moaa.api.evaluation import LmEval

NOT_SCORED = "not-scored"
"""Reason of a row on whose answer the benchmark's own code failed; never a score."""


class TaskScore(BaseModel):
    """What a task says of one answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    """The score, in [0, 1]."""
    chosen: str
    """Which of `metrics` it is."""
    harness: str
    """Version of lm-evaluation-harness that read the answer."""
    metrics: dict[str, float]
    """All that are numbers and whose mean is the task's figure, by `<metric>,<filter>`; the score's among them."""


class Followed(BaseModel):
    """Which of a question's rules an answer follows, in their order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strict: list[bool]
    loose: list[bool]
    """The same after lines at either end or asterisks were taken away: an upper bound."""


class Checker(Protocol):
    async def score(self, benchmark: LmEval, task: str, document: Mapping[str, JsonValue], answer: str) -> TaskScore:
        """What `task` says of an answer to one of its documents.

        Raises:
            CallError: NOT_SCORED; the task's code failed on it.
            DataError: the task cannot be used: what it says is no score.
        """
        ...

    async def follow(
        self, prompt: str, rules: Sequence[str], arguments: Sequence[Mapping[str, JsonValue]], answer: str
    ) -> Followed:
        """Which of IFEval's `rules`, each with its arguments, an answer follows.

        Raises:
            CallError: NOT_SCORED; a rule's code failed on it.
        """
        ...
