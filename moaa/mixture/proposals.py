"""Proposers, each asked for its samples: side by side as a layer, or one answer by itself.

Calls of a turn are named `layer<l>/p<i>/s<j>` whatever the method, so that methods over the same proposers find each
other's answers in the ledger. Two identical proposers have different names and never share an answer.
"""

from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from moaa.api.mixture import Layer, Proposer
from moaa.asking.asker import Asker
from moaa.asking.cut import shown, unless_cut, whole
from moaa.asking.gather import gather_calls
from moaa.asking.load import PROMPT_TOKENS, Load, written
from moaa.asking.reasons import TRANSIENT
from moaa.conversation import Conversation
from moaa.errors import CallError
from moaa.mixture.method import Notes, Turn, Written
from moaa.mixture.prompts import aggregate_messages
from moaa.rows import AbsentProposal, ProposalRecord

TOO_FEW_PROPOSALS = "too-few-proposals"
"""Reason of a row whose layer has fewer usable proposals than `minProposals`."""


@dataclass(frozen=True)
class Slot:
    """One answer of a layer."""

    name: str
    """Its path in the layer: `p0/s1`."""
    proposer: Proposer

    def at(self, asker: Asker) -> Asker:
        """`asker` is at the layer."""
        proposer, sample = self.name.split("/")
        return asker.at(proposer).at(sample)

    async def answer(self, turn: Turn) -> Written:
        """The proposer's answer to a turn, as a whole one that can be taught.

        Raises:
            CallError: the call failed, or the answer is cut, whatever `whenCut` says.
            ModelAbsent: as `Caller.call`.
        """
        proposer = self.proposer
        reply = await self.at(turn.asker.at("layer0")).ask(proposer.model, turn.history, proposer)
        return Written(whole(reply, proposer.max_tokens, model=proposer.model).text, proposer.model)


def slots(layer: Layer) -> tuple[Slot, ...]:
    """In the order of proposers and samples."""
    return tuple(
        Slot(f"p{i}/s{j}", proposer) for i, proposer in enumerate(layer.proposers) for j in range(proposer.samples)
    )


def first_loads(layer: Layer, prompts: int) -> Iterator[Load]:
    """Calls of a first layer that answers `prompts` user turns: one entry a proposer, in order."""
    for proposer in layer.proposers:
        yield Load(proposer.model, prompts * proposer.samples, PROMPT_TOKENS, written(proposer.max_tokens))


async def layer_proposals(
    layer: Layer,
    history: Conversation,
    previous: Sequence[str],
    asker: Asker,
    *,
    least: int,
    notes: Notes,
    then: frozenset[str] | None,
) -> list[str]:
    """The usable proposals of one layer, in order; `previous` are the layer before's, `then` as for `usable`.

    Raises:
        CallError: fewer than `least` are usable, or a failure may pass.
        ModelAbsent: raised after every call that can be made now was made.
    """

    async def propose(slot: Slot) -> str:
        here, proposer = slot.at(asker), slot.proposer
        if not previous:
            return shown(unless_cut(await here.ask(proposer.model, history, proposer), proposer, model=proposer.model))
        read = await here.ask_fitted(
            proposer.model, previous, lambda texts: aggregate_messages(history, texts, asker.prompts), proposer
        )
        text = shown(unless_cut(read.reply, proposer, model=proposer.model))
        notes.shortened += read.shortened
        return text

    found = await usable(slots(layer), propose, asker, least=least, notes=notes, then=then)
    return [one.text for one in found]


async def usable(
    asked: Sequence[Slot],
    ask: Callable[[Slot], Coroutine[Any, Any, str]],
    asker: Asker,
    *,
    least: int,
    notes: Notes,
    then: frozenset[str] | None,
) -> list[Written]:
    """What `ask` gives for each slot, without those that failed for good; both are noted. `then` are the models that
    the row asks afterwards: a proposer that is not among them is given up with its last answer. None: it may ask any.

    Raises:
        CallError: fewer than `least` are left, or a failure may pass.
        ModelAbsent: raised after every call that can be made now was made.
    """
    results = await gather_calls(_giving_up(asked, ask, asker, then))
    found: list[Written] = []
    why = ""
    for slot, result in zip(asked, results, strict=True):
        path, model = slot.at(asker).path, slot.proposer.model
        if isinstance(result, CallError):
            why = why or f"; the first that failed: {model} ({result.reason}): {result}"
            notes.absent.append(AbsentProposal(path=path, model=model, reason=str(result.reason)))
            continue
        notes.proposals.append(ProposalRecord(path=path, model=model, text=result))
        found.append(Written(result, model))
    if len(found) < least:
        raise CallError(
            TOO_FEW_PROPOSALS,
            f"{asker.path}: {len(found)} of {len(asked)} proposals are usable and minProposals is {least}{why}",
        )
    return found


def _giving_up(
    asked: Sequence[Slot],
    ask: Callable[[Slot], Coroutine[Any, Any, str]],
    asker: Asker,
    then: frozenset[str] | None,
) -> Iterator[Coroutine[Any, Any, str]]:
    """`ask` of each slot, which narrows what the row may still ask once the outcome is known for good."""
    waiting = list(asked)

    def known(slot: Slot) -> None:
        waiting.remove(slot)
        if then is not None:
            asker.only(then.union(one.proposer.model for one in waiting))

    async def answered(slot: Slot) -> str:
        try:
            text = await ask(slot)
        except CallError as error:
            if error.reason not in TRANSIENT:
                known(slot)
            raise
        known(slot)
        return text

    return (answered(slot) for slot in asked)
