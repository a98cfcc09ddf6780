"""`Method`: all that plan and jobs may know of how a mixture answers.

`moaa.mixture.methods.method_of` gives the method of a declared mixture. One file a method; `Method` is what it offers.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from moaa.asking.asker import Asker
from moaa.asking.load import Load
from moaa.conversation import Conversation
from moaa.judge.method import Ranked
from moaa.rows import AbsentProposal, ProposalRecord


@dataclass
class Notes:
    """What came up while one conversation was answered."""

    proposals: list[ProposalRecord] = field(default_factory=list)
    absent: list[AbsentProposal] = field(default_factory=list)
    """Proposals that failed for good, over all turns and layers."""
    shortened: int = 0
    """Proposals that were shortened for a reader, counted once for each reader."""
    ranked: dict[int, Ranked] = field(default_factory=dict)
    """By turn, where a judge chose among answers."""


@dataclass(frozen=True)
class Turn:
    """A user turn that wants an answer."""

    number: int
    """From 0."""
    history: Conversation
    """Ends with the user turn."""
    asker: Asker
    """Its path names the turn."""
    notes: Notes
    """To be added to."""
    then: frozenset[str] | None = None
    """Models that the row asks after this turn; None: it may ask any."""


@dataclass(frozen=True)
class Written:
    """The answer to one turn."""

    text: str
    model: str
    """Who wrote it."""


class Writer(Protocol):
    """Writes one answer to each turn of one row."""

    async def write(self, turn: Turn) -> Written:
        """The answer.

        Raises:
            CallError: the row fails.
            ModelAbsent: raised after every call that can be made now was made.
        """
        ...


class Method(Protocol):
    """A declared mixture, ready to be asked."""

    @property
    def prompts(self) -> tuple[str, ...]:
        """Names of the templates that it fills."""
        ...

    @property
    def models(self) -> tuple[str, ...]:
        """Models it asks, each once, in the order in which a row needs them."""
        ...

    @property
    def authors(self) -> tuple[str, ...]:
        """Those of its models whose answers are taken, each once."""
        ...

    @property
    def answer_tokens(self) -> int:
        """Most tokens of an answer that is taken."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """Of the answers that it gives to every prompt, each a row of its own. One answer has the empty name."""
        ...

    @property
    def without_effect(self) -> frozenset[str]:
        """Fields of `Mixture`, by their names in the resource, that it never reads; fingerprints leave them out."""
        ...

    def loads(self, prompts: int) -> Iterator[Load]:
        """Calls that answer `prompts` user turns, all answers of `names` together."""
        ...

    def writer(self, row: str, name: str) -> Writer:
        """Who writes the answer of that name to the row with that id."""
        ...


def row_id(row: str, name: str) -> str:
    """The id of the row that holds the answer of one of `Method.names` to the prompt `row`."""
    return f"{row}/{name}" if name else row
