"""`Method`: all that plan, jobs and report may know of a judge's method.

`moaa.judge.methods.method_of` gives the method of a declared judge. One file a method; `Method` is what it offers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from moaa.asking.asker import Asker
from moaa.asking.load import Load
from moaa.conversation import Conversation
from moaa.judge.ranking import Ranking
from moaa.judge.scalar.scores import Scores
from moaa.judge.trail import Judgement
from moaa.rows import Comparison


@dataclass(frozen=True)
class Compared:
    """One pair of answers, and all that its judges said."""

    comparison: Comparison
    said: tuple[Judgement, ...]


@dataclass(frozen=True)
class Ranked:
    """One prompt's samples ranked, and the pairs that the ranking rests on."""

    ranking: Ranking
    compared: list[Compared]
    """Every pair with different texts, skipped ones included; empty where none is ever compared."""
    scores: Scores | None = None
    """A reward model's, where one was asked."""


class Method(Protocol):
    """A declared judge, ready to ask."""

    @property
    def prompts(self) -> tuple[str, ...]:
        """Names of the templates that it fills."""
        ...

    @property
    def models(self) -> tuple[str, ...]:
        """Models it asks, each once, in the order in which a row needs them."""
        ...

    @property
    def roles(self) -> tuple[tuple[str, str], ...]:
        """What each model does, in the report's words: (`qwen2-72b`, `judge`)."""
        ...

    @property
    def without_effect(self) -> frozenset[str]:
        """Fields of `Judge`, by their names in the resource, that it never reads; fingerprints leave them out."""
        ...

    def ranking_loads(self, prompts: int, samples: int, *, answer_tokens: int) -> Iterator[Load]:
        """Calls that rank `samples` answers of `answer_tokens` to each of `prompts` prompts."""
        ...

    def duel_loads(self, duels: int, *, answer_tokens: int) -> Iterator[Load]:
        """Calls that decide `duels` duels between answers of `answer_tokens`."""
        ...

    async def rank(
        self, messages: Conversation, texts: Sequence[str], asker: Asker, *, confirms: bool = False
    ) -> Ranked:
        """Rank `texts`, at least two answers to the last user turn of `messages`. With `confirms` the best and the
        worst are compared with each other in both orders.

        Permanent failures are part of the result and never count as a score.

        Raises:
            ValueError: fewer than two texts.
            CallError: a failure that may pass.
            ModelAbsent: both raised after every call that can be made now was made.
        """
        ...

    async def duel(self, question: str, answer: str, baseline: str, asker: Asker) -> Compared | None:
        """`answer` against `baseline`, as samples 0 and 1. None: the texts are equal, which is a tie without a call.

        Raises:
            CallError: a failure that may pass.
            ModelAbsent: both raised after every call that can be made now was made.
        """
        ...
