"""Methods that take proposers' answers as they are: Combined takes all of them, Random draws one for each prompt.

Either way a conversation is one proposer's from its first turn to its last. An answer that ended at maxTokens fails its
row, whatever the proposer's `whenCut` says.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from hashlib import sha256
from typing import ClassVar

from moaa.api.mixture import Layer, Mixture
from moaa.asking.load import Load
from moaa.mixture.method import Turn, Writer, Written
from moaa.mixture.proposals import Slot, first_loads, slots


@dataclass(frozen=True)
class _Alone:
    slot: Slot

    async def write(self, turn: Turn) -> Written:
        if turn.then is not None:
            turn.asker.only({*turn.then, self.slot.proposer.model})
        return await self.slot.answer(turn)


@dataclass(frozen=True)
class _OneLayer:
    """Proposers whose answers are the answer; nobody aggregates."""

    layer: Layer

    prompts: ClassVar[tuple[str, ...]] = ()
    without_effect: ClassVar[frozenset[str]] = frozenset({"aggregator", "minProposals"})

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(proposer.model for proposer in self.layer.proposers))

    @property
    def authors(self) -> tuple[str, ...]:
        return self.models

    @property
    def answer_tokens(self) -> int:
        return max(proposer.max_tokens for proposer in self.layer.proposers)


@dataclass(frozen=True)
class Combined(_OneLayer):
    """Method Combined (`moaa.mixture.method.Method`): every answer of the proposers, each a row (paper Table 3)."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(slot.name for slot in slots(self.layer))

    def loads(self, prompts: int) -> Iterator[Load]:
        return first_loads(self.layer, prompts)

    def writer(self, row: str, name: str) -> Writer:  # noqa: ARG002 - every row is answered alike
        return _Alone(next(slot for slot in slots(self.layer) if slot.name == name))


@dataclass(frozen=True)
class Random(_OneLayer):
    """Method Random (`moaa.mixture.method.Method`): one of the proposers' answers (paper Table 3).

    Every answer is as likely as every other, so a proposer with two samples is drawn twice as often. The run's seed and
    the row's id decide: the same row has the same author in every attempt, and only that author is asked.
    """

    seed: int

    names = ("",)

    def loads(self, prompts: int) -> Iterator[Load]:
        """One entry a proposer; parts of the prompts are rounded so that they add up."""
        answers = len(slots(self.layer))
        upto = 0
        for load, proposer in zip(first_loads(self.layer, prompts), self.layer.proposers, strict=True):
            before, upto = upto, upto + proposer.samples
            end, start = (round(Fraction(prompts * part, answers)) for part in (upto, before))
            yield replace(load, calls=end - start)

    def writer(self, row: str, name: str) -> Writer:  # noqa: ARG002 - there is one answer
        drawn = int.from_bytes(sha256(f"{self.seed}/{row}".encode()).digest())
        among = slots(self.layer)
        return _Alone(among[drawn % len(among)])


def combined(mixture: Mixture) -> Combined:
    return Combined(mixture.layers[0])


def random(mixture: Mixture, seed: int) -> Random:
    return Random(mixture.layers[0], seed)
