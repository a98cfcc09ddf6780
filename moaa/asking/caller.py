"""What a mixture or a judge needs of the outside world: one coroutine that asks a model.

Everything in `moaa.mixture` and `moaa.judge` is written against `Caller`, so that a row's logic is the same with a
ledger, with a fake in a unit test, and with real servers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from moaa.api.mixture import JudgeModel, Sampling
from moaa.conversation import Conversation


@dataclass(frozen=True)
class Reply:
    """A finished answer. `text` is stripped of surrounding white space, free of thoughts, and never empty."""

    text: str
    finish_reason: Literal["stop", "length"]
    """Why the answer ended: `length` at a limit of tokens, `stop` because the model ended it."""
    prompt_tokens: int
    completion_tokens: int
    """Thoughts included."""
    is_counted: bool = True
    """False: the server did not say how many tokens it took; the numbers are 0."""
    thought: str = ""
    """What the model thought before it answered. The ledger keeps it; it never travels."""

    @property
    def is_cut(self) -> bool:
        return self.finish_reason == "length"


@dataclass(frozen=True)
class Choice:
    """Which of a few letters a model would write next: asked by their probabilities, one token, never by words."""

    messages: Conversation
    """The prompt."""
    said: str
    """What the model has replied to it so far; may be empty."""
    opening: str
    """How that reply goes on, up to the letter: `\\n\\nVerdict: [[`."""
    question: str
    """Asks for the letter as a further user turn, where a server cannot go on in mid-reply."""
    letters: tuple[str, ...]

    @property
    def is_begun(self) -> bool:
        """False: the letter is all that the prompt asks for, and is the reply's first token."""
        return bool(self.said or self.opening)


@dataclass(frozen=True)
class Letters:
    """The answer to a `Choice`."""

    probabilities: Mapping[str, float]
    """Of each letter as the next token, before any sampling; 0 for one that the server does not list. They add up to
    the letters' mass, which is less than 1 where the model would write something else."""
    prompt_tokens: int
    completion_tokens: int
    is_counted: bool = True
    """As `Reply.is_counted`."""

    @property
    def mass(self) -> float:
        """How probable it is that the model writes one of the letters at all."""
        return sum(self.probabilities.values())


@dataclass(frozen=True)
class Scalar:
    """What a reward model makes of a conversation."""

    score: float
    """Finite; higher is better. Its scale is the model's own."""
    prompt_tokens: int
    is_counted: bool = True
    """As `Reply.is_counted`."""


class Caller(Protocol):
    """Asks models on behalf of one row."""

    async def call(
        self, path: str, model: str, messages: Conversation, sampling: Sampling | JudgeModel, *, key: str = ""
    ) -> Reply:
        """The model's answer, from the ledger when this very call was made before.

        `path` names the call within its row and is unique in it, for example `turn1/layer0/p2/s0`; the sampling seed
        derives from run seed, row, path and `key`. `key` separates calls of one path that must not share an answer: the
        retry of an unreadable verdict has the key "retry1".

        Raises:
            CallError: it failed for good; `reason` says how.
            ModelAbsent: no server for `model` is up now; try the row again later.
        """
        ...

    async def choose(self, path: str, model: str, choice: Choice, *, key: str = "") -> Letters:
        """The letters' probabilities, from the ledger when this very call was made before; `path` and `key` as for
        `call`.

        Raises:
            CallError, ModelAbsent: as `call`.
        """
        ...

    async def score(self, path: str, model: str, answered: Conversation) -> Scalar:
        """A reward model's number for a conversation that ends with an answer, from the ledger when this very call was
        made before; `path` as for `call`.

        Raises:
            CallError, ModelAbsent: as `call`.
        """
        ...
