"""`Measure`: all that plan, jobs and report may know of a benchmark.

`moaa.benchmark.measures.measure_of` gives the measure of a declared benchmark. One file a benchmark.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from moaa.api.mixture import Judge, JudgeModel
from moaa.asking.asker import Asker
from moaa.asking.load import Load
from moaa.conversation import Conversation
from moaa.errors import CallError
from moaa.judge.trail import Judgement
from moaa.rows import PromptRow

NO_VERDICT = "no-verdict"
"""Reason of a row whose judge gave no readable verdict; never a score."""
SHOWN_CHARACTERS = 160
"""How much of a judge's reply an error shows."""


@dataclass(frozen=True)
class Scored:
    value: float
    """In [0, 1]."""
    said: tuple[Judgement, ...] = ()
    """What judges said; empty where none was asked."""
    baseline_length: int | None = None
    """Characters of the last answer of what it was compared with; None where answers stand alone."""
    detail: Mapping[str, object] | None = None
    """What else the benchmark's figures rest on (`moaa.scoring.figures`), as JSON. The measure's module says what."""


class NoVerdict(CallError):
    """An answer has no score since its judge gave no readable verdict; `said` is what judges said."""

    def __init__(self, message: str, *, said: tuple[Judgement, ...]) -> None:
        self.said = said
        super().__init__(NO_VERDICT, message)


def reasons(said: Sequence[Judgement]) -> str:
    """Why there is no verdict, with the end of the first reply that could not be read."""
    failed = [one for one in said if one.failure]
    counts = Counter(f"{one.judge} ({one.role}) {one.failure}" for one in failed)
    told = ", ".join(f"{what}: {count}" for what, count in sorted(counts.items()))
    words = next((one.text for one in failed if one.text), "")
    return f"{told}; it said {_ending(words)}" if words else told


def _ending(text: str) -> str:
    """The last SHOWN_CHARACTERS of a text on one line: a verdict stands at its end."""
    line = " ".join(text.split())
    return repr(line if len(line) <= SHOWN_CHARACTERS else f"…{line[-SHOWN_CHARACTERS:]}")


def decider(judge: Judge) -> JudgeModel:
    """The one model of a judge that is made of a benchmark's `judgeModel`."""
    assert judge.aggregator is not None, "made of judgeModel"
    return judge.aggregator


class Measure(Protocol):
    """A declared benchmark, ready to score answers."""

    @property
    def metric(self) -> str:
        """In the report's words: `win rate`."""
        ...

    @property
    def needs_gold(self) -> bool:
        """Whether every row must hold the right `answer`; stage-data refuses rows without one."""
        ...

    @property
    def needs_given(self) -> bool:
        """Whether answers are compared with the row's own `answer`; stage-data refuses rows without one."""
        ...

    @property
    def prompts(self) -> tuple[str, ...]:
        """Names of the templates it fills."""
        ...

    @property
    def judge(self) -> Judge | None:
        """The judge, with `$student` replaced; None where there is none."""
        ...

    @property
    def yardstick(self) -> str | None:
        """The model whose answers it compares with; None where answers stand alone."""
        ...

    def loads(self, answers: int) -> Iterator[Load]:
        """Calls that score `answers` answers, beside the calls that write them."""
        ...

    async def score(self, row: PromptRow, answered: Conversation, asker: Asker) -> Scored:
        """The score of `answered`: `row`'s conversation as the subject has answered it, turn by turn.

        Raises:
            CallError: it has no score; `reason` says why. NoVerdict where judges were asked.
            ModelAbsent: raised after every call that can be made now was made.
        """
        ...
