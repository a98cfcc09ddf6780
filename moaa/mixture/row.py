"""One conversation through the mixture: layers of proposers, then the aggregator, turn by turn (paper §3.1).

A row needs nothing but an `Asker`. Equal replies give an equal result, whatever the timing. Calls
are named `turn<t>/layer<l>/p<i>/s<j>` and `turn<t>/aggregate`, all counted from 0; two identical proposers have
different names, so they never share an answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from moaa.api.mixture import Layer, Mixture, Proposer
from moaa.api.prompts import marker_line
from moaa.asking.asker import Asker
from moaa.asking.cut import ENDED_MARK, ended, shown, unless_cut
from moaa.asking.gather import gather_calls
from moaa.asking.reasons import Reason
from moaa.asking.windows import CUT_MARK
from moaa.conversation import Conversation, Message
from moaa.errors import CallError
from moaa.mixture.prompts import aggregate_messages
from moaa.mixture.turns import EVERY_TURN, Turns, answer_turns
from moaa.rows import AbsentProposal, ConversationRow, ProposalRecord

TOO_FEW_PROPOSALS = "too-few-proposals"
"""Reason of a row whose layer has fewer usable proposals than `minProposals`."""


@dataclass(frozen=True)
class Answered:
    """A conversation that the mixture has answered."""

    messages: list[Message]
    """Ends with an assistant turn."""
    proposals: list[ProposalRecord]
    absent: list[AbsentProposal]
    """Proposals that failed for good, over all turns and layers."""
    shortened: int
    """Proposals that were shortened for a reader, counted once for each reader."""

    def row(self, id: str) -> ConversationRow:
        return ConversationRow(
            id=id,
            messages=self.messages,
            proposals=self.proposals,
            missing=len(self.absent),
            absent=self.absent,
            shortened=self.shortened,
        )


@dataclass
class _Notes:
    """Counts of one conversation."""

    proposals: list[ProposalRecord] = field(default_factory=list)
    absent: list[AbsentProposal] = field(default_factory=list)
    shortened: int = 0


async def answer_conversation(
    messages: Conversation, mixture: Mixture, asker: Asker, turns: Turns = EVERY_TURN
) -> Answered:
    """Answer every user turn of `messages`, or those of `turns`, with the mixture.

    `mixture` names models as the asker's caller knows them (`$student` is replaced).

    Raises:
        CallError: the row fails: too few proposals in a layer, a proposal's failure that may pass, the aggregator's
            call, or its answer when that is cut and `whenCut` says Fail.
        ModelAbsent: raised after every call that can be made now was made.
    """
    notes = _Notes()

    async def answer(turn: int, history: Conversation) -> str:
        here = asker.at(f"turn{turn}")
        proposals: list[str] = []
        for number, layer in enumerate(mixture.layers):
            proposals = await _run_layer(
                layer, history, proposals, here.at(f"layer{number}"), least=mixture.min_proposals, notes=notes
            )
        aggregator = mixture.aggregator
        written = await here.at("aggregate").ask_fitted(
            aggregator.model,
            proposals,
            lambda texts: aggregate_messages(history, texts, asker.prompts),
            aggregator,
        )
        notes.shortened += written.shortened
        text = ended(written.reply.text, turns.until)
        if text == written.reply.text:
            unless_cut(written.reply, aggregator, model=aggregator.model)
        _check_own_words(text, history, asker.prompts, model=aggregator.model)
        return text

    answered = await answer_turns(messages, answer, turns)
    return Answered(answered, notes.proposals, notes.absent, notes.shortened)


def _check_own_words(text: str, history: Conversation, prompts: Mapping[str, str], *, model: str) -> None:
    """An aggregator that copies a draft may copy the lines around it, too, and a student would learn to write them. A
    line that the conversation itself holds is no copy of ours.

    Raises:
        CallError: `copied-mark`.
    """
    mark = next((m.strip() for m in (ENDED_MARK, CUT_MARK) if m.strip() in text), None) or marker_line(text, prompts)
    if mark is not None and not any(mark in message["content"] for message in history):
        raise CallError(
            Reason.COPIED_MARK,
            f"model {model!r}: the answer holds the line {mark!r}, which stood at a draft; name an aggregator that "
            "writes an answer of its own, or change prompts.proposal",
        )


async def _run_layer(
    layer: Layer, history: Conversation, previous: Sequence[str], asker: Asker, *, least: int, notes: _Notes
) -> list[str]:
    """The usable proposals of one layer, in the order of proposers and samples; `previous` are the layer before's."""
    asked = [
        (asker.at(f"p{i}").at(f"s{j}"), proposer)
        for i, proposer in enumerate(layer.proposers)
        for j in range(proposer.samples)
    ]

    async def propose(here: Asker, proposer: Proposer) -> tuple[str, int]:
        if not previous:
            reply = await here.ask(proposer.model, history, proposer)
            return shown(unless_cut(reply, proposer, model=proposer.model)), 0
        written = await here.ask_fitted(
            proposer.model, previous, lambda texts: aggregate_messages(history, texts, asker.prompts), proposer
        )
        return shown(unless_cut(written.reply, proposer, model=proposer.model)), written.shortened

    results = await gather_calls(propose(here, proposer) for here, proposer in asked)
    usable: list[str] = []
    why = ""
    for (here, proposer), result in zip(asked, results, strict=True):
        if isinstance(result, CallError):
            why = why or f"; the first that failed: {proposer.model} ({result.reason}): {result}"
            notes.absent.append(AbsentProposal(path=here.path, model=proposer.model, reason=str(result.reason)))
            continue
        text, shortened = result
        notes.shortened += shortened
        notes.proposals.append(ProposalRecord(path=here.path, model=proposer.model, text=text))
        usable.append(text)
    if len(usable) < least:
        raise CallError(
            TOO_FEW_PROPOSALS,
            f"{asker.path}: {len(usable)} of {len(asked)} proposals are usable and minProposals is {least}{why}",
        )
    return usable
